"""BERT-like encoders: their layouts, their adapters among the weights, what is refused."""

import dataclasses
import json
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import seeded
from embedge import Embedder, TaskWarning
from embedge.engine.session import OnnxSession
from embedge.errors import AdapterError, SourceError
from embedge.pack.reading import read_manifest
from embedge.vectors import normalize
from embedge_export.export import export_pack
from embedge_export.families.bert.blocks import CALIBRATED, read_bert_layer
from embedge_export.families.bert.config import BertConfig
from embedge_export.families.bert.truth import bert_vectors
from embedge_export.families.family import TextTask
from embedge_export.model import calibration, open_model, reference
from embedge_export.numbers.calibration import Inputs
from embedge_export.numbers.rounding import compensate, nearest, scales
from embedge_export.output.reuse import RECIPES
from embedge_export.source.folder import open_source
from seeded.bert_layouts import INSTRUCTIONS, V3_TASKS

KINDS = {
    "v3": seeded.write_v3,
    "v3, no prefix": lambda folder: seeded.write_v3(folder, prefix=""),
    "native": seeded.write_v3_native,
    "bert": seeded.write_bert,
    "bert, cls, prefix": lambda folder: seeded.write_bert(
        folder, pooling="cls_token", prefix="bert."
    ),
    "xlm-roberta": lambda folder: seeded.write_bert(folder, "xlm-roberta"),
    "mpnet": lambda folder: seeded.write_bert(folder, "mpnet"),
    "distilbert, prefix": lambda folder: seeded.write_bert(
        folder, "distilbert", prefix="distilbert."
    ),
}


@pytest.fixture(scope="module", params=list(KINDS))
def source(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp("bert") / "source")


@pytest.fixture(scope="module")
def v3(tmp_path_factory):
    return seeded.write_v3(tmp_path_factory.mktemp("v3") / "source")


@pytest.fixture
def copy(v3, tmp_path):
    return shutil.copytree(v3, tmp_path / "copy")


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_every_precision_passes_its_gate(source, tmp_path):
    """The gate's bars are the ones of every other network; int8 is the same in any batch."""
    manifest = export_pack(source, out=tmp_path / "pack", precisions=("fp32", "fp16", "int8"))
    assert manifest.text.padding == "either"
    for report in manifest.verification.values():
        assert report.passed
    for figures in manifest.verification["int8"].tasks.values():
        assert figures.batch_difference == 0.0


@pytest.mark.parametrize("kind", ["xlm-roberta", "mpnet"])
def test_padding_tokens_within_a_text_are_not_counted(kind, tmp_path):
    """They take the padding's position, as in fairseq; and int8 is the same in any batch."""
    folder = seeded.write_bert(tmp_path / "source", kind)
    precisions = ("fp32", "fp16", "int8")
    export_pack(folder, out=tmp_path / "pack", precisions=precisions)
    model = open_model(open_source(folder))
    assert isinstance(model.config, BertConfig)
    assert model.config.padding_id == 1
    plain = np.array([0, 40, 50, 60, 70, 2], np.int32)
    texts = [np.insert(plain, at, 1) for at in (1, 3, [2, 2, 4], 5)] + [plain]
    expected = bert_vectors(model.config, model.weights("base"), texts, head=model.source.head)
    without = dataclasses.replace(model.config, padding_id=None)
    counted = bert_vectors(without, model.weights("base"), texts, head=model.source.head)
    assert np.abs(expected - counted).max() > 0.01  # it does make a difference
    ids = np.full((len(texts), 12), 1, np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):  # padding at either side
        places = slice(0, len(text)) if row % 2 else slice(12 - len(text), 12)
        ids[row, places], mask[row, places] = text, 1
    for precision, bar in zip(precisions, (1e-5, 0.02, 0.1), strict=True):
        session = OnnxSession(tmp_path / "pack" / f"base.{precision}.onnx", device="cpu", threads=1)
        got = session.run(ids, mask)
        np.testing.assert_allclose(normalize(got), normalize(expected), rtol=0, atol=bar)
        for row, text in enumerate(texts):
            alone = session.run(text[None].astype(np.int64), np.ones((1, len(text)), np.int64))
            if precision == "int8":
                np.testing.assert_array_equal(alone[0], got[row])


def test_only_the_graphs_that_changed_have_a_newer_recipe(tmp_path):
    """Packs of other families are kept as they are."""
    recipes = {}
    for kind in ("bert", "xlm-roberta"):
        folder = seeded.write_bert(tmp_path / kind, kind)
        manifest = export_pack(folder, out=tmp_path / f"{kind}-pack", precisions=("fp32",))
        recipes[kind] = manifest.source["recipes"]["fp32"]
    assert recipes == {"bert": RECIPES["fp32"], "xlm-roberta": RECIPES["fp32"] + 1}


def test_sample_rows_are_what_the_linears_read(source):
    """Each layer's rows follow from those of the layer before, by the network's definition."""
    model = open_model(open_source(source))
    task = model.source.tasks[-1]
    weights = model.weights(task)
    samples = calibration(model, task)
    layers = range(model.config.num_hidden_layers)
    assert set(samples) == {f"layers.{i}.{name}.weight" for i in layers for name in CALIBRATED}

    def after(rows, stream, index, linear, norm):
        weight, bias = (weights.read(f"layers.{index}.{linear}.{x}") for x in ("weight", "bias"))
        gain, shift = (weights.read(f"layers.{index}.{norm}.{x}") for x in ("weight", "bias"))
        x = stream + rows @ weight.T + bias
        x = x - x.mean(axis=1, keepdims=True)
        variance = np.square(x).mean(axis=1, keepdims=True)
        return x / np.sqrt(variance + model.config.layer_norm_eps) * gain + shift

    for index in layers:
        stream, attended, middle, inner = (
            samples[f"layers.{index}.{name}.weight"] for name in CALIBRATED
        )
        want = after(attended, stream, index, "self_attn.o_proj", "post_attention_layernorm")
        np.testing.assert_allclose(middle, want, atol=1e-5)
        if index + 1 in layers:
            want = after(inner, middle, index, "mlp.fc2", "post_mlp_layernorm")
            got = samples[f"layers.{index + 1}.{CALIBRATED[0]}.weight"]
            np.testing.assert_allclose(got, want, atol=1e-5)


def test_weights_are_rounded_to_fit_those_rows(tmp_path):
    """In the coordinates of the spread weight; other rows of the network know better than none."""
    model = open_model(open_source(seeded.write_bert(tmp_path / "source")))
    task = model.source.default_task
    samples = calibration(model, task)
    gate = {}
    bert_vectors(
        model.config,
        model.weights(task),
        reference(model).ids,
        head=model.source.head,
        observe=lambda key, rows: gate.setdefault(key, rows),
    )
    held_out = Inputs(gate["layers.1.mlp.fc2.weight"]).blocks(64).rows
    layer = read_bert_layer(
        TextTask(
            weights=model.weights(task),
            head=model.source.head,
            adapted=model.adapted,
            samples=samples,
        ),
        1,
    )
    assert not any(key.startswith("layers.1.") for key in samples)
    assert layer.key.inputs is layer.query.inputs
    assert layer.value.inputs is layer.query.inputs
    for linear in (layer.query, layer.key, layer.value, layer.inner, layer.outer):
        turned = linear.for_mixed_input(64)
        np.testing.assert_allclose(
            turned.inputs.rows @ turned.weight.T, linear.inputs.rows @ linear.weight.T, atol=1e-4
        )
    turned = layer.outer.for_mixed_input(64)
    step = scales(turned.weight)

    def error(levels):
        return np.square(held_out @ (levels * step[:, None] - turned.weight).T).sum()

    fitted = compensate(turned.weight, step, turned.inputs)
    assert error(fitted) < 0.9 * error(nearest(turned.weight, step))


def test_int8_tells_what_each_linear_loses(source, tmp_path):
    """So that it can keep the worst ones finer, as for every other network."""
    manifest = export_pack(source, out=tmp_path / "pack", precisions=("int8",))
    for figures in manifest.verification["int8"].tasks.values():
        assert len(figures.worst_linears) > 0


def test_padding_on_the_left_is_counted_from_the_text(tmp_path):
    """A learned position belongs to the place in the text, not in the row."""
    from embedge.engine.session import OnnxSession

    source = seeded.write_bert(tmp_path / "source")
    export_pack(source, out=tmp_path / "pack", precisions=("fp32",))
    session = OnnxSession(tmp_path / "pack" / "base.fp32.onnx", device="cpu", threads=1)
    ids = np.array([[5, 6, 7, 8]])
    alone = session.run(ids, np.ones_like(ids))
    padded = np.array([[0, 0, 5, 6, 7, 8], [9, 9, 9, 9, 9, 9]])
    mask = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    np.testing.assert_allclose(session.run(padded, mask)[:1], alone, atol=1e-6)


def test_prefix_and_layout_do_not_change_the_network(tmp_path):
    """One network, saved with `roberta.` before its keys and without."""
    plain = seeded.write_v3(tmp_path / "plain", prefix="")
    other = shutil.copytree(plain, tmp_path / "other")
    tensors = load_file(plain / "model.safetensors")
    save_file({f"roberta.{k}": v for k, v in tensors.items()}, other / "model.safetensors")
    a, b = (reference(open_model(open_source(folder))) for folder in (plain, other))
    for task in V3_TASKS:
        np.testing.assert_array_equal(a.vectors[task], b.vectors[task])


def test_every_task_of_v3_is_another_network(v3):
    model = open_model(open_source(v3))
    assert model.source.tasks == V3_TASKS
    assert model.source.default_task == "text-matching"
    gate = reference(model)
    for one, other in pairwise(V3_TASKS):
        a, b = (gate.vectors[task] / np.linalg.norm(gate.vectors[task]) for task in (one, other))
        assert np.abs(a - b).max() > 1e-3


def test_tables_are_adapted_too(v3):
    """As the checkpoint stores it: rows are A @ B for a table, B @ A for a linear."""
    model = open_model(open_source(v3, tasks=["separation"]))
    weights = model.weights("separation")
    tensors = {k: v.astype(np.float32) for k, v in load_file(v3 / "model.safetensors").items()}
    stem = "roberta.embeddings.word_embeddings.parametrizations.weight"
    a, b = (tensors[f"{stem}.0.lora_{side}"][2] for side in "AB")
    expected = tensors[f"{stem}.original"] + a @ b / 4
    key = "embeddings.word_embeddings.weight"
    np.testing.assert_allclose(weights.read(key), expected, rtol=1e-6, atol=1e-6)
    stem = "roberta.encoder.layers.1.mixer.Wqkv.parametrizations.weight"
    a, b = (tensors[f"{stem}.0.lora_{side}"][2] for side in "AB")
    whole = tensors[f"{stem}.original"] + b @ a / 4
    for part, side in enumerate("qkv"):
        got = weights.read(f"layers.1.self_attn.{side}_proj.weight")
        np.testing.assert_allclose(got, np.split(whole, 3)[part], rtol=1e-6, atol=1e-6)


def test_rows_of_an_adapted_table_are_those_of_the_whole(v3):
    model = open_model(open_source(v3, tasks=["separation"]))
    weights = model.weights("separation")
    key = "embeddings.word_embeddings.weight"
    assert weights.touches(key)
    places = np.array([5, 3, 5, 0], np.int32)
    np.testing.assert_array_equal(weights.rows(key, places), weights.read(key)[places])


def test_a_task_that_is_asked_for_brings_its_instruction(v3, tmp_path):
    """As the model's own encode(): none where no task is named."""
    export_pack(v3, out=tmp_path / "pack", precisions=("fp32",))
    manifest = read_manifest(tmp_path / "pack")
    assert manifest.text.max_length == 8192
    assert manifest.matryoshka_dimensions == (32, 64, 128)
    with Embedder(tmp_path / "pack", precision="fp32", threads=1) as embedder:
        text = "Jupiter has a red spot."
        asked = embedder.encode(text, task="retrieval.passage")
        spelt = embedder.encode(
            INSTRUCTIONS["retrieval.passage"] + text, task="retrieval.passage", prompt=""
        )
        np.testing.assert_array_equal(asked, spelt)
        np.testing.assert_array_equal(asked, embedder.encode_document(text))
        np.testing.assert_array_equal(
            embedder.encode_query(text), embedder.encode(text, task="retrieval.query")
        )
        plain = embedder.encode(text, task="text-matching")
        with pytest.warns(TaskWarning, match="'text-matching'"):  # encode_query took another
            np.testing.assert_array_equal(embedder.encode(text), plain)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act"),
        ({"rotary_emb_base": None}, "rotary_emb_base is missing"),
        ({"rope_theta": 10000.0}, "contradictory"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"position_embedding_type": "absolute"}, "position_embeddings"),
        ({"num_attention_heads": 3}, "not a multiple"),
        ({"layer_norm_eps": None}, "layer_norm_eps"),
        ({"num_hidden_layers": 4}, "lack the tensor"),
        ({"num_hidden_layers": 2}, "does not use"),
        ({"is_decoder": True}, "is_decoder"),
        ({"lora_rank": 8}, "rank 8"),
        ({"lora_adaptations": ["one", "two"]}, "2 adapters"),
        ({"lora_adaptations": None}, "lora_adaptations"),
        ({"lora_alpha": "1"}, "lora_alpha"),
        ({"lora_adaptations": ["a/b", "c", "d", "e", "f"]}, "file name"),
        ({"lora_adaptations": ["a"] * 5}, "a name twice"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(copy, changes, message):
    edit(copy, **changes)
    with pytest.raises(SourceError, match=message):
        open_model(open_source(copy))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("encoder.layers.1.mlp.fc1.parametrizations.weight.0.lora_A", "lora_A of 'layers.1.mlp"),
        ("embeddings.token_type_embeddings.parametrizations.weight.0.lora_B", "lora_B of 'embed"),
        ("encoder.layers.0.mixer.Wqkv.parametrizations.weight.original", "without the weight"),
        ("encoder.layers.2.norm1.bias", "lack the tensor"),
        ("emb_ln.weight", "lack the tensor"),
    ],
)
def test_a_missing_tensor_is_an_error(copy, module, message):
    edit_tensors(copy, lambda tensors: tensors.pop(f"roberta.{module}"))
    with pytest.raises(SourceError, match=message):
        open_model(open_source(copy))


@pytest.mark.parametrize(
    ("kind", "prefix", "doubled"),
    [
        ("bert", "bert.", "embeddings.LayerNorm.weight"),
        ("xlm-roberta", "", "roberta.encoder.layer.0.output.LayerNorm.weight"),
    ],
)
def test_a_tensor_with_and_without_its_prefix_is_an_error(tmp_path, kind, prefix, doubled):
    folder = seeded.write_bert(tmp_path / "source", kind, prefix=prefix)
    edit_tensors(folder, lambda t: t.update({doubled: np.ones(128, np.float32)}))
    with pytest.raises(SourceError, match="are both"):
        open_model(open_source(folder))


@pytest.mark.parametrize(
    ("extra", "known"),
    [
        ("pooler.dense.weight", True),
        ("cls.predictions.transform.LayerNorm.gamma", True),
        ("cls.seq_relationship.bias", True),
        ("classifier.out_proj.weight", True),
        ("lm_head.layer_norm.bias", True),
        ("vocab_projector.weight", True),
        ("pre_classifier.bias", True),
        ("embeddings.position_ids", True),
        ("embeddings.distance_embedding.weight", False),
        ("encoder.layer.0.attention.self.distance_embedding.weight", False),
        ("encoder.layer.0.crossattention.self.query.weight", False),
        ("pooler.more.weight", False),
        ("classifier_of_another.weight", False),
        ("text_model.transformer.norm.weight", False),
    ],
)
def test_only_tensors_without_effect_may_be_left_out(tmp_path, extra, known):
    folder = seeded.write_bert(tmp_path / "source")
    dtype = np.int64 if extra.endswith("ids") else np.float32
    edit_tensors(folder, lambda t: t.update({extra: np.ones((1, 8), dtype)}))
    if known:
        open_model(open_source(folder))
        return
    with pytest.raises(
        SourceError, match=f"a tensor .*{re.escape(extra[-20:])}' that a bert network"
    ):
        open_model(open_source(folder))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("bert", {"position_embedding_type": "rotary"}, "position_embedding_type is 'rotary'"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("bert", {"add_cross_attention": True}, "add_cross_attention"),
        ("bert", {"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ("bert", {"hidden_act": "gelu_new"}, "'gelu_new', .* only 'gelu' or 'gelu_python' is"),
        ("bert", {"layer_norm_eps": "1e-12"}, "layer_norm_eps is '1e-12'"),
        ("bert", {"type_vocab_size": 3}, "has shape"),
        ("bert", {"num_hidden_layers": 10**8}, "lack the tensor"),
        ("xlm-roberta", {"pad_token_id": None}, "pad_token_id is None"),
        ("xlm-roberta", {"pad_token_id": 513}, "pad_token_id is 513|length limit is 0"),
        ("xlm-roberta", {"pad_token_id": "1"}, "pad_token_id"),
        ("xlm-roberta", {"use_reg_tokens": True}, "use_reg_tokens"),
        ("mpnet", {"relative_attention_num_buckets": 64}, "relative_attention_num_buckets is 64"),
        ("mpnet", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("mpnet", {"num_attention_heads": 4}, "relative_attention_bias.* has shape"),
        ("distilbert", {"activation": "relu"}, "activation is 'relu'"),
        ("distilbert", {"hidden_size": 128}, "hidden_size is 128"),
        ("distilbert", {"n_heads": 3}, "dim is 128, not a multiple of n_heads 3"),
        ("distilbert", {"dim": None}, "dim.* is None"),
    ],
)
def test_what_would_change_the_vectors_is_refused_by_name(tmp_path, kind, changes, message):
    folder = seeded.write_bert(tmp_path / "source", kind)
    edit(folder, **changes)
    with pytest.raises(SourceError, match=message):
        open_model(open_source(folder))


def test_a_tensor_that_nobody_reads_is_an_error(copy):
    def add(tensors):
        tensors["roberta.encoder.layers.0.mixer.gate.weight"] = np.ones((4, 4), np.float32)

    edit_tensors(copy, add)
    with pytest.raises(SourceError, match=r"mixer\.gate"):
        open_model(open_source(copy))


def test_an_adapter_of_nan_is_an_error(copy):
    key = "roberta.encoder.layers.0.mlp.fc2.parametrizations.weight.0.lora_B"

    def spoil(tensors):
        tensors[key] = tensors[key].astype(np.float32)
        tensors[key][3, 0, 0] = np.nan

    edit_tensors(copy, spoil)
    with pytest.raises(AdapterError, match="NaN"):
        open_model(open_source(copy))


def test_old_names_of_a_norm_are_known(tmp_path):
    """The first BERT checkpoints say gamma and beta."""
    source = seeded.write_bert(tmp_path / "source")
    before = reference(open_model(open_source(source))).vectors["base"]

    def rename(tensors):
        for key in [key for key in tensors if "LayerNorm" in key]:
            old = key.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta")
            tensors[old] = tensors.pop(key)

    edit_tensors(source, rename)
    after = reference(open_model(open_source(source))).vectors["base"]
    np.testing.assert_array_equal(before, after)
