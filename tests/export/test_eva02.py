"""Packs of two towers: the image graph, its gate, what is refused."""

import dataclasses
import json
import math
import shutil
from collections import Counter

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

import seeded
from embedge import Embedder
from embedge.cli import main
from embedge.engine.loading import load_runtime
from embedge.errors import GateError, SourceError
from embedge.images.gate_images import gate_images
from embedge.pack.reading import dump_manifest, read_manifest
from embedge.pack.verification import IMAGE_TOWER
from embedge_export import export, precision
from embedge_export.corpus.images import calibration_images
from embedge_export.export import export_pack
from embedge_export.families.eva02.blocks import added_columns, read_block, rotary_angles
from embedge_export.families.eva02.writer import write as write_tower
from embedge_export.gate import refine
from embedge_export.gate.compare import compare_image_graph
from embedge_export.graph.builder import GraphBuilder
from embedge_export.graph.weight_file import WeightFile
from embedge_export.model import open_model, reference
from embedge_export.numbers.rotation import Rotation
from embedge_export.output.reuse import RECIPES
from embedge_export.precision.floats import Float32
from embedge_export.precision.int8 import Int8
from embedge_export.recheck import verify_pack
from embedge_export.source.folder import open_source
from support import massive

PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return seeded.write_jina_clip(tmp_path_factory.mktemp("clip") / "source", seed=2)


@pytest.fixture(scope="module")
def pack(source):
    out = source.with_name("pack")
    export_pack(source, out=out, precisions=PRECISIONS)
    return out


@pytest.fixture
def copy(source, tmp_path):
    return shutil.copytree(source, tmp_path / "copy")


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def session_of(pack, name):
    name = str(pack / f"image.{name}.onnx")
    return load_runtime().InferenceSession(name, providers=["CPUExecutionProvider"])


def run(session, pixels):
    return session.run(["sentence_embedding"], {"pixel_values": pixels})[0]


def test_a_pack_holds_both_towers_in_files_of_their_own(source, pack):
    manifest = read_manifest(pack)
    assert manifest.precisions() == PRECISIONS
    assert manifest.image.size == 60
    assert manifest.image.mean[0] == 0.48145466
    stored = load_file(source / "model.safetensors")["logit_scale"]
    assert manifest.image.logit_scale == pytest.approx(math.exp(float(stored)))
    assert manifest.tasks == ("retrieval.query",)
    raised = {name: manifest.source["recipes"][name] - RECIPES[name] for name in PRECISIONS}
    assert raised == {"fp32": raised["int8"], "fp16": raised["int8"] + 1, "int8": raised["int8"]}
    files = {}
    for graph in manifest.graphs:
        files.setdefault(graph.tower, set()).update((graph.file, *graph.data))
    assert not files["text"] & files["image"]
    for report in manifest.verification.values():
        assert report.passed
        assert report.image.cosine_min >= report.bars.cosine_min


def test_the_text_tower_works_by_itself(pack, tmp_path):
    """No file of the image tower is touched for a text, and no instruction unless asked for."""
    alone = shutil.copytree(pack, tmp_path / "alone")
    text = "a red circle"
    with Embedder(alone, precision="fp32", threads=1) as embedder:
        for path in alone.glob("image.*"):
            path.unlink()
        plain = embedder.encode(text)
        np.testing.assert_array_equal(plain, embedder.encode(text, prompt=""))
        asked = embedder.encode(text, task="retrieval.query")
        assert float(plain @ asked) < 0.9999
        np.testing.assert_array_equal(asked, embedder.encode_query(text))


def test_an_image_is_the_same_in_any_batch_in_int8(pack, source):
    pixels = open_model(open_source(source)).image.pixels()
    session = session_of(pack, "int8")
    together = run(session, pixels)
    for index in range(len(pixels)):
        np.testing.assert_array_equal(run(session, pixels[index : index + 1])[0], together[index])


def test_pixels_that_no_patch_covers_are_not_seen(pack):
    """60 pixels hold four patches of 14; the last 4 rows and columns are left over."""
    session = session_of(pack, "fp32")
    generator = np.random.default_rng(0)
    pixels = generator.standard_normal((1, 3, 60, 60), np.float32)
    changed = pixels.copy()
    changed[:, :, 56:, :] = changed[:, :, :, 56:] = 5
    np.testing.assert_array_equal(run(session, pixels), run(session, changed))
    changed[:, :, 55, 0] += 1
    assert np.abs(run(session, pixels) - run(session, changed)).max() > 0


def test_rotary_angles_are_stretched_to_the_trained_grid(source):
    config = open_model(open_source(source)).image.config
    angles = rotary_angles(config)
    assert angles.shape == (17, 16)
    np.testing.assert_array_equal(angles[0], 0)  # the class token
    patch = angles[1 + 2 * 4 + 3]  # row 2, column 3 of 4
    assert patch[0] == pytest.approx(2 / 4 * 16)
    assert patch[8] == pytest.approx(3 / 4 * 16)


def test_sample_images_are_the_same_everywhere():
    images = gate_images(32)
    assert images.dtype == np.uint8
    assert images.shape == (6, 32, 32, 3)
    np.testing.assert_array_equal(images, gate_images(32))
    assert len(np.unique(images[2])) > 200  # noise
    assert images.reshape(6, -1).std(axis=1).min() > 1  # none is flat


def test_no_calibration_image_is_among_the_gates():
    size = 64
    fitted, gate = calibration_images(size), gate_images(size)
    assert fitted.shape == (4, size, size, 3)
    assert fitted.dtype == np.uint8
    np.testing.assert_array_equal(fitted, calibration_images(size))
    assert fitted.reshape(4, -1).std(axis=1).min() > 1  # none is flat
    for one in fitted.astype(float):
        for other in gate.astype(float):
            assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.9


def test_calibration_sees_every_row_that_is_rounded(source):
    tower = open_model(open_source(source)).image
    samples = tower.calibration(advance=lambda label: None)
    config = tower.config
    assert len(samples) == 4 * config.layers
    block = read_block(tower.weights, 0, dict(samples))
    for linear in (block.query, block.key, block.value, block.attention_output, block.gate):
        assert linear.inputs.rows.shape[1] == linear.weight.shape[1] == config.width
    assert block.up.inputs is block.gate.inputs
    assert block.down.inputs.rows.shape == (4 * -(-config.tokens // 5), config.inner)
    # Folded and rotated, the rows still give what the linear gave.
    turned = block.rotated(Rotation(config.width))
    for name in ("query", "gate", "value"):
        before, after = getattr(block, name), getattr(turned, name)
        np.testing.assert_allclose(
            after.inputs.rows @ after.weight.T + after.bias,
            before.inputs.rows @ before.weight.T + before.bias,
            atol=1e-3,
        )


def test_a_tower_that_misses_its_bar_keeps_its_worst_linears_finer(source, tmp_path, monkeypatch):
    """As a task does; the bar is raised above what one digit reaches, and two meet it."""
    monkeypatch.setattr(Int8, "minimum_cosine", 0.99999)
    monkeypatch.setattr(Int8, "wanted_cosine", 0.99999)
    monkeypatch.setattr(refine, "_WORST_LINEARS", (1, 1000))
    out = tmp_path / "pack"
    manifest = export_pack(source, out=out, precisions=("int8",), accept_failures=True)
    report = manifest.verification["int8"]
    assert IMAGE_TOWER not in report.failures
    figures = report.image
    assert len(figures.finer) == figures.linears
    assert all(name.startswith("blocks.") for name in figures.finer)
    assert max(figures.cosine_min_before) < 0.99999 <= figures.cosine_min
    assert figures.finer_bytes > 0


def test_a_tower_that_misses_its_bar_is_refused(source, tmp_path, monkeypatch):
    """The image tower's figures count as much as the texts'."""

    def worse(*arguments, **options):
        found = compare(*arguments, **options)
        return type(found)(**{name: getattr(found, name) for name in found.__slots__} | bad)

    bad = {"cosine_min": 0.9, "cosines": (0.9,)}
    compare = compare_image_graph
    monkeypatch.setattr(export, "compare_image_graph", worse)
    with pytest.raises(GateError, match=r"image tower: cosine 0\.9"):
        export_pack(source, out=tmp_path / "pack", precisions=("fp32",))


def test_progress_counts_both_towers(source, tmp_path):
    steps = []
    export_pack(source, out=tmp_path / "pack", precisions=("fp32",), progress=steps.append)
    assert [step.done for step in steps] == list(range(steps[0].total))
    assert {step.task for step in steps} == {"retrieval.query", "image"}


def test_verify_compares_both_towers_with_the_source(source, pack):
    report = verify_pack(pack, open_source(source), threads=1)
    assert report["fp32"].image.cosine_min >= 0.999999
    assert report["fp32"].passed


def test_a_rotated_stream_without_mean_computes_the_same(source, tmp_path, monkeypatch):
    """In float32, so that nothing but a wrong fold can show."""

    class Rotated32(Float32):
        rotates = True

    check_in_float32(Rotated32(), source, tmp_path, monkeypatch)


def test_an_mlp_made_wider_for_a_gpu_computes_the_same(source, tmp_path, monkeypatch):
    """In float32, so that nothing but a wrong column can show."""

    class Aligned32(Float32):
        rotates = aligned = True

    check_in_float32(Aligned32(), source, tmp_path, monkeypatch)
    weights = products(tmp_path / "pack" / "image.fp32.onnx")
    assert weights["blocks.0.down.weight"] == [384, 128]


def check_in_float32(precision_, source, tmp_path, monkeypatch):
    monkeypatch.setitem(precision.PRECISIONS, "fp32", precision_)
    manifest = export_pack(source, out=tmp_path / "pack", precisions=("fp32",))
    assert manifest.verification["fp32"].image.cosine_min >= 0.999999
    assert manifest.verification["fp32"].image.difference_max <= 1e-5


def products(path):
    """The shape of every matrix that a graph multiplies with."""
    graph = onnx.load(path, load_external_data=False).graph
    named = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    return {one.name: list(one.dims) for one in graph.initializer if one.name in named}


def test_in_half_precision_every_row_begins_where_a_gpu_reads(source, pack):
    """At a multiple of 16 bytes, though this MLP is 341 wide; other precisions keep its width."""
    config = open_model(open_source(source)).image.config
    assert config.inner == 341
    half = products(pack / "image.fp16.onnx")
    assert half["blocks.0.gate.weight"] == [128, 384]
    unaligned = {name for name, shape in half.items() if np.mod(shape, 8).any()}
    assert unaligned <= {"patches.weight"}  # float32 in all precisions
    assert products(pack / "image.fp32.onnx")["blocks.0.gate.weight"] == [128, 341]
    assert [added_columns(width) for width in (2730, 2736, 2752, 341)] == [22, 0, 0, 43]


def test_in_half_precision_only_the_stream_is_cast(pack):
    """The stream's rows to half before products, their updates back: nothing between products."""
    graph = onnx.load(pack / "image.fp16.onnx", load_external_data=False).graph
    makers = {name: node for node in graph.node for name in node.output}
    blocks = 3
    casts = [node for node in graph.node if node.op_type == "Cast"]
    made = Counter(makers[node.input[0]].op_type for node in casts)
    readers = {
        reader.op_type for node in casts for reader in graph.node if node.output[0] in reader.input
    }
    assert made == {
        "SimplifiedLayerNormalization": 2,
        "SkipSimplifiedLayerNormalization": 3 * blocks - 3,
        "Gather": 1,
        "Add": blocks,
        "MatMul": blocks,
    }
    assert readers == {"MatMul", "SkipSimplifiedLayerNormalization"}
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    assert len(norms) == 2 * blocks
    assert not {node.output[0] for node in casts} & {name for n in norms for name in n.input}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rope_embeddings", False, "rope_embeddings"),
        ("naive_swiglu", False, "naive_swiglu"),
        ("subln", False, "subln"),
        ("post_norm", True, "post_norm"),
        ("intp_freq", False, "intp_freq"),
        ("ls_init_value", 0.1, "ls_init_value"),
        ("qkv_bias", False, "qkv_bias"),
        ("layers", 4, "lack the tensor 'vision_model.blocks.3"),
        ("layers", 2, "does not use"),
        ("mlp_ratio", 4.0, "has shape"),
        ("head_width", 48, "head_width"),
        ("image_size", 74, "has shape"),
        ("image_size", 61, "size is 60"),
        ("width", None, "width"),
        ("embed_dim", 64, "embed_dim"),
        ("layers", 10**9, "lack the tensor"),
        ("image_size", 10**9, "more than|has shape"),
        ("mlp_ratio", "2", "mlp_ratio is '2'"),
        ("mlp_ratio", 1e9, "mlp_ratio is 1000000000"),
        ("naive_swiglu", 1, "naive_swiglu is 1"),
    ],
)
def test_another_vision_config_is_refused(copy, field, value, message):
    edit(copy / "config.json", lambda config: config["vision_config"].update({field: value}))
    with pytest.raises(SourceError, match=message):
        open_model(open_source(copy))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("resize_mode", "longest"),
        ("interpolation", "bilinear"),
        ("mean", [0.5]),
        ("std", [1, 0, 1]),
        ("fill_color", 300),
        ("fill_color", True),
        ("fill_color", [0, 0, 0]),
        ("std", [1e300, 1.0, 1.0]),
        ("do_center_crop", True),
        ("do_normalize", False),
        ("rescale_factor", 0.5),
        ("image_mean", [0.5, 0.5, 0.5]),
        ("size", 224),
    ],
)
def test_another_preprocessing_is_refused(copy, field, value):
    edit(copy / "preprocessor_config.json", lambda settings: settings.update({field: value}))
    with pytest.raises(SourceError, match=field):
        open_model(open_source(copy))


def test_preprocessing_that_is_missing_is_refused(copy):
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(SourceError, match="preprocessor_config"):
        open_model(open_source(copy))


def test_stored_rotary_tables_are_compared(copy):
    """Some checkpoints hold them: the right ones are no stranger, other ones are refused."""
    angles = np.repeat(rotary_angles(open_model(open_source(copy)).image.config)[1:], 2, axis=1)

    def add(tensors):
        tensors["vision_model.rope.freqs_cos"] = np.cos(angles)
        tensors["vision_model.blocks.0.attn.rope.freqs_sin"] = np.sin(angles)

    edit_tensors(copy, add)
    open_model(open_source(copy))

    def spoil(tensors):
        tensors["vision_model.rope.freqs_cos"] = np.cos(angles[:, ::-1])

    edit_tensors(copy, spoil)
    with pytest.raises(SourceError, match="rotary"):
        open_model(open_source(copy))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("vision_model.blocks.1.attn.inner_attn_ln.weight", "inner_attn_ln"),
        ("vision_model.cls_token", "cls_token"),
        ("text_model.transformer.emb_ln.bias", "LayerNorm.bias"),
        (
            "text_model.transformer.encoder.layers.0.mlp.fc1.parametrizations.weight.0.lora_A",
            "lora",
        ),
    ],
)
def test_a_missing_tensor_is_an_error(copy, key, message):
    edit_tensors(copy, lambda tensors: tensors.pop(key))
    with pytest.raises(SourceError, match=message):
        open_model(open_source(copy))


def test_a_projection_is_no_stranger_to_leave_out(copy):
    edit_tensors(copy, lambda t: t.update({"text_projection.weight": np.ones((2, 2), np.float32)}))
    with pytest.raises(SourceError, match="text_projection"):
        open_model(open_source(copy))


def test_keys_with_another_segment_are_the_same_network(source, copy):
    def rename(tensors):
        for key in [key for key in tensors if key.startswith("text_model.transformer.")]:
            tensors[key.replace("transformer.", "transformer.roberta.", 1)] = tensors.pop(key)

    edit_tensors(copy, rename)
    a, b = (reference(open_model(open_source(folder))) for folder in (source, copy))
    np.testing.assert_array_equal(a.vectors["retrieval.query"], b.vectors["retrieval.query"])
    np.testing.assert_array_equal(a.image_vectors, b.image_vectors)


def test_info_and_verify_tell_of_the_image_tower(source, pack, capsys):
    assert main(["info", str(pack)]) == 0
    assert "60 x 60 pixels" in capsys.readouterr().out
    arguments = ["verify", str(pack), "--source", str(source), "--threads", "1", "--no-progress"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert told.count("image tower by source") == len(PRECISIONS)
    assert told.count(" images  ") == len(PRECISIONS)
    assert "none failed" in told


def test_verify_notices_an_image_graph_of_another_model(source, pack, tmp_path, capsys):
    """Right hashes, wrong weights: only the sample images can tell."""
    other = seeded.write_jina_clip(tmp_path / "other", seed=3)
    wrong = shutil.copytree(pack, tmp_path / "wrong")
    export_pack(other, out=tmp_path / "others", precisions=PRECISIONS)
    manifest, stranger = read_manifest(wrong), read_manifest(tmp_path / "others")
    names = [name for name in manifest.files if name.startswith("image.")]
    for name in names:
        shutil.copy(tmp_path / "others" / name, wrong / name)
    files = dict(manifest.files) | {name: stranger.files[name] for name in names}
    text = dump_manifest(dataclasses.replace(manifest, files=files))
    (wrong / "manifest.json").write_text(text)
    assert main(["verify", str(wrong), "--threads", "1"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert [line.split()[1:3] for line in failed] == [[p, "images"] for p in PRECISIONS]
    assert source.exists()


def test_an_image_that_is_encoded_has_the_reference_s_vector(source, pack):
    """From an array through Pillow to a vector, by the class that users hold."""
    model = open_model(open_source(source))
    pixels = model.image.pixels()
    want = model.image.reference(pixels, advance=lambda label: None)
    want = want / np.linalg.norm(want, axis=1, keepdims=True)
    with Embedder(pack, precision="fp32", threads=1) as embedder:
        got = embedder.encode_image(gate_images(60))
        np.testing.assert_allclose(got, want, atol=1e-5)
        assert embedder.similarity(embedder.encode("noise"), got).shape == (1, 6)


def test_int8_survives_massive_activations(source, copy, tmp_path):
    """The same network to the last bits; gains that are not folded would cost it its digits."""
    massive.inject_vision(copy)
    before, after = (open_model(open_source(folder)).image for folder in (source, copy))
    pixels = before.pixels()
    a, b = (tower.reference(pixels, advance=lambda label: None) for tower in (before, after))
    np.testing.assert_allclose(b, a, atol=1e-3 * np.abs(a).max())
    manifest = export_pack(copy, out=tmp_path / "pack", precisions=PRECISIONS, accept_failures=True)
    for name, bar in (("fp32", 0.999999), ("fp16", 0.9999), ("int8", 0.9995)):
        assert manifest.verification[name].image.cosine_min >= bar

    class Plain(Int8):
        rotates = False

        def prepare(self, graph, activation, readers):
            return Int8.prepare(
                self, graph, dataclasses.replace(activation, outliers=False), readers
            )

    file = WeightFile(tmp_path / "plain.data")
    with file:
        graph = GraphBuilder("plain", own=file, shared=file)
        [vectors] = write_tower(
            after.config, after.weights, [(Plain(), graph)], advance=lambda label: None
        )
    graph.save(tmp_path / "plain.onnx", {"sentence_embedding": vectors}, ("batch", 128))
    plain = compare_image_graph(tmp_path / "plain.onnx", pixels, b, threads=1)
    assert plain.cosine_min < 0.99


@pytest.mark.parametrize("value", [None, "retrieval.passage"])
def test_an_adapter_that_no_text_takes_by_default_is_refused(copy, value):
    """Then the bare network would be the default, and merging would change every vector."""
    change = {"default_lora_task": value}
    edit(copy / "config.json", lambda config: config["text_config"].update(change))
    with pytest.raises(SourceError, match="default_lora_task"):
        open_model(open_source(copy))


def test_an_instruction_that_every_text_takes_is_the_default_prompt(copy):
    change = {"default_instruction_task": "retrieval.query"}
    edit(copy / "config.json", lambda config: config["text_config"].update(change))
    assert open_source(copy).default_prompt == "retrieval.query"
    assert open_source(copy).license == "cc0-1.0"


@pytest.mark.parametrize(
    "change",
    [
        {"add_projections": True},
        {"projection_dim": 256},
        {"text_config": {"hf_model_name_or_path": "someone/else"}},
        {"text_config": {"hf_model_config_kwargs": {"rotary_emb_base": 10000.0}}},
        {"text_config": {"hf_model_config_kwargs": {"hidden_act": "gelu_new"}}},
        {"text_config": {"hf_model_config_kwargs": {"num_attention_heads": 4}}},
        {"text_config": {"hf_model_config_kwargs": {"use_reg_tokens": True}}},
        {"text_config": {"pooler_type": "cls_pooler"}},
        {"text_config": {"proj_type": "mlp"}},
    ],
)
def test_another_model_around_the_towers_is_refused(copy, change):
    """Also what config.json hands on to the text tower's own configuration."""

    def merge(config, change):
        for name, value in change.items():
            if isinstance(value, dict):
                merge(config[name], value)
            else:
                config[name] = value

    edit(copy / "config.json", lambda config: merge(config, change))
    name = change
    while isinstance(name, dict):
        field, name = next(iter(name.items()))
    with pytest.raises(SourceError, match=rf"config\.json: (\w+\.)*{field} is"):
        open_model(open_source(copy))
