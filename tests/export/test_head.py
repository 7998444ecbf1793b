"""Heads: every pooling mode and step, in graphs of both batches, against the truth."""

import json
import math
import shutil

import numpy as np
import pytest
from onnxruntime import InferenceSession
from safetensors.numpy import load_file, save_file

import seeded
from embedge import Embedder
from embedge.batches import pad
from embedge.engine.session import OnnxSession
from embedge.errors import SourceError
from embedge_export.export import export_pack
from embedge_export.graph.attention import Heads
from embedge_export.graph.builder import FLOAT, GraphBuilder
from embedge_export.graph.causal import CausalBatch
from embedge_export.graph.head import finish, pool
from embedge_export.graph.packed import PackedBatch
from embedge_export.graph.weight_file import WeightFile
from embedge_export.head.head import ACTIVATIONS, MODES, Dense, Head, LayerNorm, Normalize
from embedge_export.head.truth import vectors
from embedge_export.hub_folder import export_hub_folders
from embedge_export.merged import write_merged
from embedge_export.model import open_model, reference
from embedge_export.precision import PRECISIONS
from embedge_export.source.folder import open_source
from support.heads import DROPOUT, LAYER_NORM, NORMALIZE, dense, write_head

KINDS = {
    "bert": seeded.write_bert,
    "eurobert": seeded.write_eurobert,
    "qwen3": lambda folder: seeded.write_decoder(folder, "qwen3"),
}
JOINED = ("weightedmean", "last_token", "max")
STEPS = [
    dense(48, "GELU"),
    DROPOUT,
    NORMALIZE,
    dense(48, "ReLU", use_residual=True),
    LAYER_NORM,
    dense(40, "Identity", bias=False, use_residual=True),
    NORMALIZE,
]


class Held:
    """Weights in memory."""

    def __init__(self, **tensors):
        self.tensors = {key.replace("__", "."): np.float32(value) for key, value in tensors.items()}

    def read(self, key):
        return self.tensors[key]


def test_modes_are_what_their_names_say():
    """Of rows that a reader can sum: two texts, of three tokens and of one."""
    rows = np.array([[1, -8], [3, 0], [2, 5], [7, 7]], np.float32)
    bounds = np.array([0, 3, 4])
    expected: dict[str, list[list[float]]] = {
        "cls": [[1, -8], [7, 7]],
        "max": [[3, 5], [7, 7]],
        "mean": [[2, -1], [7, 7]],
        "mean_sqrt_len_tokens": [[6 / 3**0.5, -3 / 3**0.5], [7, 7]],
        "weightedmean": [[13 / 6, 7 / 6], [7, 7]],
        "last_token": [[2, 5], [7, 7]],
    }
    assert list(expected) == list(MODES)
    for mode, want in expected.items():
        got = vectors(rows, bounds, Head(2, (mode,)))
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-6)
    joined = vectors(rows, bounds, Head(2, ("max", "cls")))
    np.testing.assert_array_equal(joined, [[3, 5, 1, -8], [7, 7, 7, 7]])


def test_steps_are_what_their_names_say():
    row, bounds = np.array([[3, -4]], np.float32), np.array([0, 1])

    def after(*steps):
        return vectors(row, bounds, Head(2, ("mean",), steps))[0]

    weights = Held(
        linear__weight=[[1, 0], [0, 1], [1, 1]],
        linear__bias=[0.5, 0, -1],
        residual__weight=[[0, 1], [0, 0], [10, 0]],
        norm__weight=[2, 1],
        norm__bias=[0, 5],
    )
    about = {"inputs": 2, "outputs": 3, "weights": weights}

    def linear(activation, *, bias=True, residual=False):
        return Dense(activation=activation, bias=bias, residual=residual, **about)

    by_name = {
        "Identity": lambda x: x,
        "Tanh": math.tanh,
        "ReLU": lambda x: max(x, 0),
        "GELU": lambda x: x * (1 + math.erf(x / 2**0.5)) / 2,
        "SiLU": lambda x: x / (1 + math.exp(-x)),
        "Sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    }
    assert set(by_name) == set(ACTIVATIONS)
    for name, function in by_name.items():
        np.testing.assert_allclose(
            after(linear(name)), [function(x) for x in (3.5, -4, -2)], rtol=2e-6, atol=1e-7
        )
    np.testing.assert_array_equal(after(linear("Identity", bias=False)), [3, -4, -1])
    np.testing.assert_array_equal(after(linear("ReLU", residual=True)), [-0.5, 0, 30])
    np.testing.assert_allclose(
        after(Normalize(), linear("Identity", bias=False)), [0.6, -0.8, -0.2]
    )
    np.testing.assert_allclose(after(LayerNorm(width=2, weights=weights)), [2, 4], atol=1e-5)
    assert Head(2, ("mean", "max"), (linear("Tanh"), Normalize())).width == 3


def test_what_the_runtime_does_is_not_computed_twice():
    """Normalize at the end; elsewhere it is a step as any other."""
    step = LayerNorm(width=2, weights=Held())
    head = Head(2, ("mean",), (Normalize(), step, Normalize(), Normalize()))
    assert head.computed == (Normalize(), step)
    assert head.normalizes
    assert not Head(2, ("mean",), (Normalize(), step)).normalizes


# -- graphs


TABLE = np.random.default_rng(0).standard_normal((300, 24)).astype(np.float32)
HEADS = Heads(query=1, key_value=1, width=16, rotary=None)
LENGTHS = (5, 1, 12, 3, 33)


def graph_of(folder, head, batch, stored=FLOAT):
    """A graph whose rows are those of a table; and its path."""
    path = folder / "head.onnx"
    with WeightFile(folder / "head.data") as file:
        graph = GraphBuilder("head", own=file, shared=file)
        texts = batch(graph, HEADS)
        rows = graph.op("Gather", graph.constant("table", TABLE), texts.ids, axis=0)
        vector = finish(graph, pool(graph, texts, rows, head), head, stored=stored)
        graph.save(path, {"sentence_embedding": vector}, ("batch", head.width))
    return path


def texts_of(lengths):
    generator = np.random.default_rng(1)
    return [generator.integers(0, len(TABLE), length).astype(np.int32) for length in lengths]


@pytest.mark.parametrize("batch", [PackedBatch, CausalBatch])
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), JOINED], ids="+".join)
def test_every_mode_equals_the_truth(modes, batch, tmp_path):
    """And a text's vector has the same bits, whatever is in the batch beside it."""
    head, texts = Head(TABLE.shape[1], modes), texts_of(LENGTHS)
    session = OnnxSession(graph_of(tmp_path, head, batch), device="cpu", threads=1)
    bounds = np.cumsum([0, *LENGTHS])
    ids, mask = pad(texts, 9)
    got = session.run(ids, mask)
    want = vectors(TABLE[np.concatenate(texts)], bounds, head)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)
    further = session.run(np.pad(ids, ((0, 0), (0, 40))), np.pad(mask, ((0, 0), (0, 40))))
    np.testing.assert_array_equal(further, got)
    for text, vector in zip(texts, got, strict=True):
        np.testing.assert_array_equal(session.run(*pad([text], 0))[0], vector)
    if batch is PackedBatch:  # padding may stand on the left there
        for row, length in enumerate(LENGTHS):
            ids[row], mask[row] = np.roll(ids[row], -length), np.roll(mask[row], -length)
        np.testing.assert_array_equal(session.run(ids, mask), got)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_equals_the_truth(activation, tmp_path):
    generator = np.random.default_rng(2)
    weights = Held(
        linear__weight=generator.standard_normal((32, 24)), linear__bias=np.arange(32) / 8 - 2
    )
    step = Dense(
        inputs=24, outputs=32, activation=activation, bias=True, residual=False, weights=weights
    )
    head, texts = Head(24, ("mean",), (step,)), texts_of(LENGTHS)
    session = OnnxSession(graph_of(tmp_path, head, PackedBatch), device="cpu", threads=1)
    want = vectors(TABLE[np.concatenate(texts)], np.cumsum([0, *LENGTHS]), head)
    np.testing.assert_allclose(session.run(*pad(texts, 0)), want, rtol=0, atol=5e-6)


def test_the_matrix_behind_the_pooling_is_half_precision_in_fp16_alone(tmp_path):
    """It is one row a text: integers would save nothing, and lose digits."""
    assert {name for name, p in PRECISIONS.items() if p.head != FLOAT} == {"fp16"}
    weights = Held(linear__weight=np.ones((32, 24)))
    step = Dense(
        inputs=24, outputs=32, activation="Tanh", bias=False, residual=False, weights=weights
    )
    for precision, size in (("fp32", 4), ("fp16", 2), ("int8", 4)):
        stored = PRECISIONS[precision].head
        graph_of(tmp_path, Head(24, ("mean",), (step,)), PackedBatch, stored)
        assert (tmp_path / "head.data").stat().st_size == size * 24 * 32


# -- whole packs


@pytest.mark.parametrize(
    ("kind", "precisions"),
    [("bert", ("fp32", "fp16")), ("eurobert", ("int8",)), ("qwen3", ("fp32", "int8"))],
)
def test_every_step_of_every_network_passes_its_gate(kind, precisions, tmp_path):
    """Rows of a rotated stream are turned back first, where a mode is not linear in them."""
    source = write_head(KINDS[kind](tmp_path / "source"), JOINED, STEPS)
    manifest = export_pack(source, out=tmp_path / "pack", precisions=precisions)
    assert (manifest.pooling, manifest.dimension) == ("weightedmean+last_token+max", 40)
    reports = {name: report.tasks["base"] for name, report in manifest.verification.items()}
    if "fp32" in reports:
        assert reports["fp32"].cosine_min >= 0.999999
    if "int8" in reports:
        assert reports["int8"].batch_difference == 0
    with Embedder(tmp_path / "pack") as embedder:
        assert embedder.encode(["one", "two texts"]).shape == (2, 40)


def test_a_single_mode_of_a_rotated_decoder_passes_its_gate(tmp_path):
    """Its rows are pooled before they are turned back, which is cheaper."""
    source = write_head(KINDS["qwen3"](tmp_path / "source"), ("weightedmean",))
    manifest = export_pack(source, out=tmp_path / "pack", precisions=("int8",))
    assert manifest.verification["int8"].passed


# -- reading


@pytest.fixture
def folder(tmp_path):
    return write_head(seeded.write_bert(tmp_path / "source"), ("cls",), [dense(16), LAYER_NORM])


def test_the_steps_are_read_in_their_order(folder):
    source = open_source(folder)
    first, second = source.head.steps
    assert isinstance(first, Dense)
    assert (first.inputs, first.outputs, first.activation) == (source.head.hidden_size, 16, "Tanh")
    assert (first.bias, first.residual) == (True, False)
    assert isinstance(second, LayerNorm)
    assert source.head.width == second.width == 16
    for place in ("2_Dense", "3_LayerNorm"):
        assert {f"{place}/config.json", f"{place}/model.safetensors"} <= set(source.files)


def test_the_width_of_a_vector_is_that_of_the_last_module(folder):
    """Where a width is asked for, the network's own would be too much."""
    for name, value, message in (
        ("config.json", {"matryoshka_dimensions": [32]}, "not a list of widths up to 16"),
        ("config_sentence_transformers.json", {"truncate_dim": 8}, "all 16 numbers"),
    ):
        path = folder / name
        before = path.read_text() if path.exists() else "{}"
        path.write_text(json.dumps(json.loads(before) | value))
        with pytest.raises(SourceError, match=message):
            open_source(folder)
        path.write_text(before)


def edit(path, **changes):
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v != "left out"}))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("2_Dense", {"in_features": 7}, r"2_Dense/config\.json: in_features is 7, and what stands"),
        ("2_Dense", {"in_features": True}, "in_features is True, it must be a positive whole"),
        ("2_Dense", {"out_features": "left out"}, "out_features is None, it must be a positive"),
        ("2_Dense", {"out_features": 10**6}, "out_features is 1000000, more than 65536"),
        ("2_Dense", {"out_features": 8}, r"safetensors: tensor 'linear\.weight' has shape \(16, "),
        ("2_Dense", {"bias": False}, "'linear.bias' that a Dense module of its config.json does"),
        ("2_Dense", {"bias": 1}, "bias is 1, it must be true or false"),
        ("2_Dense", {"use_residual": True}, "lack the tensor 'residual.weight'"),
        ("2_Dense", {"activation_function": "torch.nn.Mish"}, "Mish', which is not supported; tor"),
        ("2_Dense", {"activation_function": "torch.nn.functional.tanh"}, "which is not supported"),
        ("2_Dense", {"activation_function": "own.Tanh"}, "'own.Tanh', which is not supported"),
        ("2_Dense", {"activation_function": None}, "activation_function is None, which is not"),
        ("2_Dense", {"module_input_name": "token_embeddings"}, "module_input_name is 'token_embe"),
        ("2_Dense", {"module_output_name": "other"}, "module_output_name is 'other', which is not"),
        ("2_Dense", {"scale": 2}, "'scale' is not known, and may change the vectors"),
        ("3_LayerNorm", {"dimension": 8}, "dimension is 8, and what stands before it gives 16"),
        ("3_LayerNorm", {"eps": 1e-3}, "'eps' is not known"),
    ],
)
def test_settings_that_are_not_reproduced_are_named(folder, name, changes, message):
    edit(folder / name / "config.json", **changes)
    with pytest.raises(SourceError, match=message):
        open_source(folder)


@pytest.mark.parametrize("name", ["torch.nn.Tanh", "left out"])
def test_other_names_of_the_same_activation(folder, name):
    before = open_source(folder).head
    edit(folder / "2_Dense/config.json", activation_function=name)
    assert open_source(folder).head == before


def test_weights_that_are_not_there_or_pickled(folder):
    path = folder / "2_Dense/model.safetensors"
    path.unlink()
    with pytest.raises(SourceError, match=r"2_Dense has no model\.safetensors\. With sentence-tr"):
        open_source(folder)
    (folder / "2_Dense/pytorch_model.bin").write_bytes(b"")
    with pytest.raises(SourceError, match=r"\(pytorch_model\.bin is pickle, which can run code"):
        open_source(folder)


def test_weights_that_are_damaged_or_not_finite(folder):
    path = folder / "2_Dense/model.safetensors"
    tensors = load_file(path)
    tensors["linear.weight"][3, 1] = np.nan
    save_file(tensors, path)
    with pytest.raises(SourceError, match=r"2_Dense.*'linear\.weight' holds NaN .* \[3, 1\]"):
        reference(open_model(open_source(folder)))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(SourceError, match=r"2_Dense.* cannot be read as safetensors"):
        open_source(folder)


def test_a_head_before_the_pooling_is_refused(folder):
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    path.write_text(json.dumps([modules[0], modules[2], modules[1], modules[3]]))
    with pytest.raises(SourceError, match="Transformer, Dense, Pooling, LayerNorm; only a netw"):
        open_source(folder)


# -- plain folders


def test_a_plain_folder_has_the_head_of_its_source(tmp_path):
    """All of it: the order of joined modes, each module's files, and a norm only where one was."""
    for name, modes, steps in (("with", ("mean", "cls"), STEPS), ("without", ("cls",), STEPS[:-1])):
        source = write_head(KINDS["qwen3"](tmp_path / name), modes, steps)
        (folder,) = write_merged(open_source(source), tmp_path / f"{name}-plain", dtype="float32")
        before, after = open_source(source), open_source(folder)
        assert after.head == before.head
        assert after.head.normalizes == (name == "with")
        for ours, theirs in zip(after.head.steps, before.head.steps, strict=True):
            for key in () if isinstance(ours, Normalize) else ours.weights.keys():
                np.testing.assert_array_equal(ours.weights.read(key), theirs.weights.read(key))


def test_a_hub_folder_has_the_head_in_its_files_and_its_graph(tmp_path):
    """Programs that take rows pool them by the files; those that take vectors need no file."""
    source = write_head(KINDS["qwen3"](tmp_path / "source"), ("weightedmean", "max"), STEPS[:-1])
    made = export_hub_folders(source, out=tmp_path / "out", precisions=["fp32"])
    folder = made.folders["base"]
    model = open_model(open_source(folder))
    assert model.source.head == open_source(source).head
    ids = [np.array([7, 8, 9], np.int32), np.array([3, 200, 5, 6, 11], np.int32)]
    want = model.family.vectors(model.config, model.weights("base"), ids, head=model.source.head)
    session = InferenceSession(folder / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    feeds = dict(zip(("input_ids", "attention_mask"), pad(ids, 0), strict=True))
    left = {name: np.stack([np.roll(x[0], -3), x[1]]) for name, x in feeds.items()}
    for given in (feeds, left):  # padded on the right, and on the left
        (got,) = session.run(["sentence_embedding"], given)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return seeded.write_jina_clip(tmp_path_factory.mktemp("clip") / "source")


def test_modules_behind_a_text_tower_whose_images_would_not_pass_through_them(clip, tmp_path):
    folder = shutil.copytree(clip, tmp_path / "source")
    other = seeded.write_bert(tmp_path / "bert")
    width = json.loads((folder / "config.json").read_text())["projection_dim"]
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"hidden_size": width}))
    write_head(other, ("mean",), [dense(width)])
    for name in ("modules.json", "1_Pooling", "2_Dense"):
        (shutil.copytree if (other / name).is_dir() else shutil.copy)(other / name, folder / name)
    with pytest.raises(SourceError, match="its images would have to pass through them as well"):
        open_model(open_source(folder))


def test_towers_of_two_widths_are_refused(clip, tmp_path):
    """config.json holds no width of the text tower: its weights say it."""
    wide = seeded.write_jina_clip(
        tmp_path / "wide",
        text=seeded.EncoderSize(hidden=192, layers=1, heads=3, intermediate=128),
        vision=seeded.VisionSize(width=192, layers=1, head_width=64),
    )
    folder = shutil.copytree(clip, tmp_path / "source")
    tensors = {
        key: value
        for place, tower in ((clip, "vision_model."), (wide, "text_model."))
        for key, value in load_file(place / "model.safetensors").items()
        if key.startswith(tower)
    }
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((clip / "config.json").read_text())
    text = json.loads((wide / "config.json").read_text())["text_config"]
    (folder / "config.json").write_text(json.dumps(config | {"text_config": text}))
    with pytest.raises(SourceError, match=r"towers give vectors of 192 and 128 dimensions"):
        open_model(open_source(folder))
