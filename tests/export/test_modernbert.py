"""ModernBERT: windows at every length, the rotated stream, both spellings, what is refused."""

import dataclasses
import json
import shutil
from collections import Counter

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

import seeded
from embedge.engine.session import OnnxSession
from embedge.errors import SourceError
from embedge.pack.reading import read_manifest
from embedge.vectors import normalize
from embedge_export.export import export_pack
from embedge_export.families.family import TextTask
from embedge_export.families.modernbert.config import ModernBertConfig
from embedge_export.families.modernbert.truth import modernbert_vectors
from embedge_export.graph.builder import GraphBuilder
from embedge_export.graph.weight_file import WeightFile
from embedge_export.model import open_model, reference
from embedge_export.precision.floats import Float32
from embedge_export.source.folder import open_source

KINDS = {
    "first": {},
    "biases": {"biases": True, "newer": True, "prefix": "", "pooling": "cls_token"},
}
# The seeded window reaches 8 tokens: up to 9 it covers a text, up to 64 scores are all computed.
LENGTHS = (1, 2, 9, 10, 10, 16, 63, 64, 65, 65, 72, 73, 200, 1030)


@pytest.fixture(scope="module", params=list(KINDS))
def source(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("modernbert") / "source"
    return seeded.write_modernbert(folder, **KINDS[request.param])


@pytest.fixture(scope="module")
def pack(source):
    out = source.with_name("pack")
    export_pack(source, out=out, precisions=("fp32", "fp16", "int8", "int4"))
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return seeded.write_modernbert(tmp_path_factory.mktemp("modernbert") / "plain")


@pytest.fixture
def copy(plain, tmp_path):
    return shutil.copytree(plain, tmp_path / "copy")


def edit(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def padded(texts, width):
    """Every other text on the left."""
    ids = np.full((len(texts), width), 3, np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        places = slice(0, len(text)) if row % 2 else slice(width - len(text), width)
        ids[row, places], mask[row, places] = text, 1
    return ids, mask


def test_every_precision_passes_its_gate(pack):
    manifest = read_manifest(pack)
    assert manifest.family == "modernbert"
    assert manifest.text.padding == "either"
    for report in manifest.verification.values():
        assert report.passed
    for figures in manifest.verification["int8"].tasks.values():
        assert figures.batch_difference == 0.0
        assert figures.cosine_min > 0.9995


def test_a_window_hides_what_is_too_far(plain):
    """The truth itself: a wider one, or none, gives other vectors, but not of short texts."""
    model = open_model(open_source(plain))
    config, weights = model.config, model.weights("base")
    assert isinstance(config, ModernBertConfig)
    assert config.local_layers == (False, True, True, False)
    texts = [np.arange(10, 10 + n, dtype=np.int32) for n in (9, 10, 40)]

    def vectors(**changes):
        changed = dataclasses.replace(config, **changes)
        return normalize(modernbert_vectors(changed, weights, texts, head=model.source.head))

    expected = vectors()
    for changes in ({"reach": 9}, {"reach": 100}, {"local_layers": (False,) * 4}):
        if "reach" in changes:
            np.testing.assert_array_equal(vectors(**changes)[0], expected[0])
        differences = np.abs(vectors(**changes) - expected).max(axis=1)
        assert (differences[1:] > 1e-4).all(), changes
    assert np.abs(vectors(local_theta=500.0) - expected).max() > 1e-4
    assert np.abs(vectors(global_theta=500.0) - expected).max() > 1e-4


@pytest.mark.parametrize(("precision", "bar"), [("fp32", 1e-5), ("fp16", 3e-3), ("int8", 0.03)])
def test_texts_of_all_lengths_in_one_padded_batch(source, pack, precision, bar):
    """Each against the truth; in int8 to the last bit as it is alone, wherever its padding is."""
    model = open_model(open_source(source))
    generator = np.random.default_rng(0)
    texts = [generator.integers(5, 400, n).astype(np.int32) for n in LENGTHS]
    expected = normalize(
        modernbert_vectors(model.config, model.weights("base"), texts, head=model.source.head)
    )
    session = OnnxSession(pack / f"base.{precision}.onnx", device="cpu", threads=1)
    got = session.run(*padded(texts, max(LENGTHS) + 2))
    np.testing.assert_allclose(normalize(got), expected, rtol=0, atol=bar)
    for row, text in enumerate(texts):
        alone = session.run(text[None].astype(np.int64), np.ones((1, len(text)), np.int64))
        np.testing.assert_allclose(normalize(alone)[0], expected[row], rtol=0, atol=bar)
        if precision == "int8":
            np.testing.assert_array_equal(alone[0], got[row])


class Rotated32(Float32):
    """A rotated stream without any rounding."""

    rotates = True


def test_a_rotated_stream_is_the_same_function(source, tmp_path):
    """Its mean too, which the first layer alone reads."""
    model = open_model(open_source(source))
    gate = reference(model)
    with WeightFile(tmp_path / "rotated.data") as file:
        graph = GraphBuilder("rotated", own=file, shared=file)
        [vectors] = model.family.write(
            model.config,
            TextTask(weights=model.weights("base"), head=model.source.head, adapted=model.adapted),
            [(Rotated32(), graph)],
            advance=lambda label: None,
        )
        graph.save(
            tmp_path / "rotated.onnx",
            {"sentence_embedding": vectors},
            ("batch", model.source.head.width),
        )
    session = OnnxSession(tmp_path / "rotated.onnx", device="cpu", threads=1)
    for ids, want in zip(gate.ids, gate.vectors["base"], strict=True):
        got = session.run(ids[None].astype(np.int64), np.ones((1, len(ids)), np.int64))
        np.testing.assert_allclose(normalize(got)[0], normalize(want[None])[0], rtol=0, atol=1e-5)


def test_local_layers_alone_have_three_ways(plain, tmp_path):
    export_pack(plain, out=tmp_path / "pack", precisions=("fp32",))
    graph = onnx.load(tmp_path / "pack" / "base.fp32.onnx", load_external_data=False).graph
    found = Counter()

    def walk(nodes, depth):
        for node in nodes:
            if node.op_type == "MultiHeadAttention":
                found[depth, len(node.input) > 5] += 1
            for attribute in node.attribute:
                inner = depth + (node.op_type == "If")
                walk(attribute.g.node, inner)

    walk(graph.node, 0)
    # Inside the choice between one length and several: two global layers, each twice; two local
    # ones, each twice without a bias, and deeper twice with every score and twice in blocks.
    assert found == {(1, False): 4, (2, False): 4, (3, True): 8}


def test_both_spellings_are_one_network(tmp_path):
    vectors = []
    for newer in (False, True):
        folder = seeded.write_modernbert(tmp_path / str(newer), newer=newer)
        vectors.append(reference(open_model(open_source(folder))).vectors["base"])
    np.testing.assert_array_equal(*vectors)


def test_massive_activations_lose_nothing_in_int8(plain, copy, tmp_path):
    """Channels that tower where no rotation reaches and where one does; the same vectors."""
    make_massive(copy)
    calm, massive = (reference(open_model(open_source(x))).vectors["base"] for x in (plain, copy))
    np.testing.assert_allclose(normalize(massive), normalize(calm), rtol=0, atol=1e-6)
    manifest = export_pack(copy, out=tmp_path / "pack", precisions=("int8",))
    figures = manifest.verification["int8"].tasks["base"]
    assert figures.cosine_min > 0.9995
    assert figures.batch_difference == 0


def make_massive(folder, factor=2.0**6):
    """Gains and halves of the MLP, and the weights behind them lowered by as much."""
    tensors = {k: v.astype(np.float32) for k, v in load_file(folder / "model.safetensors").items()}
    generator = np.random.default_rng(1)
    for key in [key for key in tensors if key.endswith(("attn_norm.weight", "mlp_norm.weight"))]:
        chosen = generator.choice(len(tensors[key]), 2, replace=False)
        tensors[key][chosen] *= factor
        reader = "attn.Wqkv" if "attn_norm" in key else "mlp.Wi"
        layer = key.rpartition(".")[0].rpartition(".")[0]
        tensors[f"{layer}.{reader}.weight"][:, chosen] /= factor
    for key in [key for key in tensors if key.endswith("mlp.Wo.weight")]:
        inner = tensors[key].shape[1]
        chosen = generator.choice(inner, 2, replace=False)
        tensors[key][:, chosen] /= factor
        tensors[key.replace("Wo", "Wi")][inner + chosen] *= factor
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_activation": "gelu_new"}, "hidden_activation is 'gelu_new'"),
        ({"norm_eps": None}, "norm_eps"),
        ({"norm_bias": True}, "lack the tensor 'embeddings.norm.bias'"),
        ({"attention_bias": True}, r"lack the tensor 'layers\.0\.attn\.q\.bias'"),
        ({"mlp_bias": "yes"}, "mlp_bias is 'yes', it must be true or false"),
        ({"local_attention": 1}, "local_attention is 1, and half of it"),
        ({"local_attention": -1}, "local_attention is -1"),
        ({"sliding_window": 64}, "sliding_window is 64"),
        ({"global_attn_every_n_layers": 0}, "global_attn_every_n_layers is 0"),
        ({"layer_types": ["full_attention"] * 4}, "layer_types is .* 3 says otherwise"),
        ({"layer_types": ["full_attention"] * 3}, "layer_types is .*not as many"),
        ({"layer_types": ["chunked_attention"] * 4}, "layer_types is .*it must be a list of"),
        ({"layer_types": 5}, "layer_types is 5"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 10+, and the weights have fewer"),
        ({"num_hidden_layers": 5}, "lack the tensor"),
        ({"num_hidden_layers": 3}, "does not use"),
        ({"num_attention_heads": 3}, "not a multiple"),
        ({"num_attention_heads": 128}, "have no pairs"),
        ({"local_rope_theta": None}, "local_rope_theta"),
        ({"global_rope_theta": -1}, "global_rope_theta"),
        ({"rope_theta": 10000.0}, "rope_theta is 10000.0"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling"),
        ({"rope_parameters": {"rope_theta": 5.0}}, "rope_parameters is .* an object of full_att"),
        ({"rope_parameters": {"full_attention": 5}}, "its full_attention must be an object"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 5.0}}}, "global_rope_theta is 16"),
        (
            {"rope_parameters": {"sliding_attention": {"rope_type": "yarn", "factor": 4.0}}},
            "rope_type 'yarn' is not supported",
        ),
    ],
)
def test_a_config_that_does_not_fit_is_refused(copy, changes, message):
    edit(copy, **changes)
    with pytest.raises(SourceError, match=message):
        open_model(open_source(copy))


def test_what_a_config_leaves_out_is_as_the_class_has_it(copy):
    names = ["global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"]
    names += ["local_attention", "norm_bias", "attention_bias", "mlp_bias", "layer_types"]
    edit(copy, **dict.fromkeys(names, ...))
    config = open_model(open_source(copy)).config
    assert isinstance(config, ModernBertConfig)
    assert (config.global_theta, config.local_theta) == (160_000, 10_000)
    assert config.local_layers == (False, True, True, False)
    assert config.reach == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("layers.1.attn.Wqkv.weight", "are both 'layers.1.attn.q.weight'"),
        ("model.layers.1.attn.rotary.weight", "does not use"),
        ("model.layers.0.attn_norm.weight", "does not use"),
    ],
)
def test_a_tensor_too_many_is_an_error(copy, name, message):
    tensors = load_file(copy / "model.safetensors")
    tensors[name] = np.ones((384, 128), np.float32)
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(SourceError, match=message):
        open_model(open_source(copy))


@pytest.mark.parametrize("name", ["attn.Wqkv", "mlp.Wi"])
def test_a_joined_tensor_of_another_size_is_an_error(copy, name):
    tensors = load_file(copy / "model.safetensors")
    key = f"model.layers.1.{name}.weight"
    tensors[key] = np.ascontiguousarray(tensors[key][:-1])
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(SourceError, match="one below the other, so the number of its rows must"):
        open_model(open_source(copy))


def test_windows_are_reckoned_with_in_memory(plain):
    """By the token, and not by the square of a text's length."""
    model = open_model(open_source(plain))
    assert isinstance(model.config, ModernBertConfig)
    cost = model.family.memory_cost(model.config)
    assert cost.per_token_squared == 0
    # Keys and values three times over and that twice, 128 wide, and 3 * 8 scores of two heads.
    assert cost.per_token == 6 * 4 * (256 + 128) + 4 * (12 * 128 + 24 * 2)
    whole = dataclasses.replace(model.config, local_layers=(False,) * 4)
    assert model.family.memory_cost(whole).per_token == 6 * 4 * (256 + 128)
