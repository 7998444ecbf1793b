"""Graphs against the NumPy reference, for every kind of network; what batches may not change."""

import json
import sys
from functools import partial

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import quantize_dynamic
from safetensors.numpy import load_file, save_file

import seeded
from embedge import Embedder
from embedge.batches import LONG, Limits, pad, plan
from embedge.engine.session import OnnxSession
from embedge.pack.manifest import MemoryCost
from embedge.pack.reading import read_manifest
from embedge_export.families.family import TextTask
from embedge_export.gate.compare import compare
from embedge_export.graph.builder import BOOL, FLOAT16, GraphBuilder
from embedge_export.graph.layers import Linear
from embedge_export.graph.weight_file import WeightFile
from embedge_export.model import calibration, open_model, reference
from embedge_export.numbers.calibration import Inputs
from embedge_export.precision import PRECISIONS
from embedge_export.precision.floats import Float16, Float32
from embedge_export.precision.precision import Operand
from embedge_export.source.folder import open_source
from support import massive


class Rotated32(Float32):
    """fp32 numbers through the rotated graph: what rotating alone changes."""

    rotates = True


def write(model, precision, folder, task, samples=None):
    name = f"{task}.{precision.name}"
    path = folder / f"{name}.onnx"
    with (
        WeightFile(folder / f"{name}.data") as own,
        WeightFile(folder / f"shared.{name}.data") as shared,
    ):
        graph = GraphBuilder(name, own=own, shared=shared)
        [pooled] = model.family.write(
            model.config,
            TextTask(
                weights=model.weights(task),
                head=model.source.head,
                adapted=model.adapted,
                samples=samples or {},
            ),
            [(precision, graph)],
            advance=lambda label: None,
        )
        graph.save(path, {"sentence_embedding": pooled}, ("batch", model.source.head.width))
    return OnnxSession(path, device="cpu", threads=2)


MODELS = {
    "qwen3": partial(seeded.write_decoder, model_type="qwen3"),
    "qwen2": partial(seeded.write_decoder, model_type="qwen2"),
    "llama": partial(seeded.write_decoder, model_type="llama"),
    # Fewer key heads than query heads, a token on both sides, and the mean of all.
    "eurobert, mean": seeded.write_eurobert,
    "eurobert, last": partial(seeded.write_eurobert, pooling="lasttoken"),
    "eurobert, cls": partial(seeded.write_eurobert, pooling="cls_token"),
}


@pytest.mark.parametrize("precision", [Float32(), Rotated32()], ids=["plain", "rotated"])
@pytest.mark.parametrize("kind", list(MODELS))
def test_every_network_equals_the_reference(kind, precision, tmp_path):
    MODELS[kind](tmp_path / "source", seed=3)
    model = open_model(open_source(tmp_path / "source"))
    gate = reference(model)
    session = write(model, precision, tmp_path, "base")
    report = compare(session.run, gate.ids, gate.vectors["base"])
    assert report.cosine_min >= 0.999999
    assert report.difference_max <= 1e-5
    assert report.batch_difference <= 1e-6


@pytest.mark.parametrize("precision", [Float32(), Rotated32()], ids=["plain", "rotated"])
def test_biases_of_every_projection_are_carried_through(precision, tmp_path):
    """Llama with attention_bias and mlp_bias: a bias on a writer of the stream is rotated too."""
    source = tmp_path / "source"
    seeded.write_decoder(source, model_type="llama", seed=3)
    tensors = load_file(source / "model.safetensors")
    generator = np.random.default_rng(0)
    for key in [key for key in tensors if key.endswith("_proj.weight")]:
        bias = 0.3 * generator.standard_normal(len(tensors[key]))
        tensors[key.replace(".weight", ".bias")] = bias.astype(tensors[key].dtype)
    save_file(tensors, source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    config |= {"attention_bias": True, "mlp_bias": True}  # without, they would be refused
    (source / "config.json").write_text(json.dumps(config))
    model = open_model(open_source(source))
    gate = reference(model)
    session = write(model, precision, tmp_path, "base")
    report = compare(session.run, gate.ids, gate.vectors["base"])
    assert report.failures(Float32()) == []


@pytest.mark.parametrize("precision", [Float32(), Rotated32()], ids=["plain", "rotated"])
@pytest.mark.parametrize("source", ["tiny_source", "nano_source"])
def test_adapters_reach_the_graph(source, precision, tmp_path, request):
    model = open_model(open_source(request.getfixturevalue(source)))
    gate = reference(model)
    session = write(model, precision, tmp_path, "clustering")
    own = compare(session.run, gate.ids, gate.vectors["clustering"])
    other = compare(session.run, gate.ids, gate.vectors["retrieval"])
    assert own.difference_max <= 1e-5
    assert other.cosine_min < 0.999


def test_int8_survives_massive_activations_that_break_one_scale_per_tensor(tmp_path):
    seeded.write_v5_text_small(tmp_path / "source", size="tiny", seed=5, outliers=True)
    model = open_model(open_source(tmp_path / "source"))
    gate = reference(model)
    session = write(model, PRECISIONS["int8"], tmp_path, "retrieval")
    ours = compare(session.run, gate.ids, gate.vectors["retrieval"])
    write(model, PRECISIONS["fp32"], tmp_path, "retrieval")
    quantize_dynamic(
        tmp_path / "retrieval.fp32.onnx",
        tmp_path / "plain.onnx",
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    plain_session = OnnxSession(tmp_path / "plain.onnx", device="cpu", threads=2)
    plain = compare(plain_session.run, gate.ids, gate.vectors["retrieval"])
    assert 1 - ours.cosine_min < (1 - plain.cosine_min) / 10
    assert ours.rank_correlation > 0.99
    assert ours.batch_difference == 0
    assert plain.batch_difference > 0.01  # its vectors depend on the batch


def test_massive_activations_break_one_scale_per_tensor_and_not_ours(tmp_path):
    """The same vectors from weights whose activations tower, where every other one is as before."""
    size = seeded.Dimensions(
        hidden=256, layers=2, heads=4, kv_heads=4, head_dim=64, intermediate=1024, rank=8
    )
    vectors, plain = {}, {}
    for name in ("calm", "massive"):
        source = seeded.write_v5_text_nano(tmp_path / name / "source", size=size, seed=5)
        if name == "massive":
            massive.inject(source)
        model = open_model(open_source(source, tasks=["retrieval"]))
        gate = reference(model)
        vectors[name] = gate.vectors["retrieval"]
        ours = write(model, PRECISIONS["int8"], tmp_path / name, "retrieval")
        report = compare(ours.run, gate.ids, vectors[name])
        assert report.cosine_min >= 0.998
        assert report.batch_difference == 0
        write(model, PRECISIONS["fp32"], tmp_path / name, "retrieval")
        quantize_dynamic(
            tmp_path / name / "retrieval.fp32.onnx",
            tmp_path / name / "plain.onnx",
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        session = OnnxSession(tmp_path / name / "plain.onnx", device="cpu", threads=2)
        plain[name] = compare(session.run, gate.ids, vectors[name])
    np.testing.assert_array_equal(vectors["calm"], vectors["massive"])
    assert plain["calm"].cosine_min > 0.99
    assert plain["massive"].cosine_min < 0.8
    assert plain["massive"].batch_difference > 0.05


class Overflowing16(Float16):
    """fp16 as a GPU computes it: a CPU computes in float32 between casts, and hides overflows."""

    def prepare(self, graph, activation, readers):
        made = super().prepare(graph, activation, readers)
        return Operand(self._overflowed(graph, made.values))

    def multiply(self, graph, operand, linear, **about):
        return self._overflowed(graph, super().multiply(graph, operand, linear, **about))

    def _overflowed(self, graph, x):
        assert x.dtype == FLOAT16
        largest, infinity = (
            graph.constant(name, np.array(value, np.float16))
            for name, value in (("largest", 65504), ("infinity", np.inf))
        )
        over = graph.op("Greater", graph.op("Abs", x), largest, dtype=BOOL)
        return graph.op("Where", over, infinity, x, dtype=FLOAT16)


class Unbalanced16(Overflowing16):
    """Without the power of two between `up` and `down`."""

    def balance(self, up, down):
        return up, down


@pytest.mark.parametrize("channels", [slice(None), slice(5, 7)], ids=["all", "two"])
def test_products_that_pass_the_range_of_float16_are_balanced(channels, tmp_path):
    vectors, reports = {}, {}
    for name, factor in (("calm", 1.0), ("massive", 2.0**16)):
        source = seeded.write_decoder(tmp_path / name / "source", model_type="qwen3", seed=3)
        tensors = load_file(source / "model.safetensors")
        for key, value in tensors.items():
            if key.endswith("up_proj.weight"):
                value[channels] *= factor
            if key.endswith("down_proj.weight"):
                value[:, channels] /= factor
        save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
        model = open_model(open_source(source))
        gate = reference(model)
        vectors[name] = gate.vectors["base"]
        for precision in (Unbalanced16(), Overflowing16()):
            samples = calibration(model, "base")
            session = write(model, precision, tmp_path / name, "base", samples)
            report = compare(session.run, gate.ids, vectors[name])
            reports[name, type(precision)] = report
    np.testing.assert_array_equal(vectors["calm"], vectors["massive"])  # the same function
    assert reports["calm", Unbalanced16].failures(Float16()) == []
    assert not reports["massive", Unbalanced16].finite
    assert reports["massive", Overflowing16].failures(Float16()) == []


def test_in_half_precision_norms_of_heads_are_half_too(tmp_path):
    """Their sums are float32 within the operator: nothing is cast to them or back."""
    source = seeded.write_decoder(tmp_path / "source", model_type="qwen3", seed=3)
    model = open_model(open_source(source))
    write(model, PRECISIONS["fp16"], tmp_path, "base", None)
    [path] = tmp_path.glob("*.onnx")
    graph = onnx.load(path, load_external_data=False).graph
    makers = {name: node for node in graph.node for name in node.output}
    kinds = {one.name: one.data_type for one in graph.initializer}
    heads = [
        node
        for node in graph.node
        if node.op_type == "SimplifiedLayerNormalization" and node.input[1].endswith("_gain")
    ]
    assert len(heads) == 2 * model.config.num_hidden_layers
    assert {kinds[node.input[1]] for node in heads} == {onnx.TensorProto.FLOAT16}
    casts = [makers[node.input[0]].op_type for node in graph.node if node.op_type == "Cast"]
    assert "Reshape" not in casts
    readers = {r.op_type for n in heads for r in graph.node if n.output[0] in r.input}
    assert readers == {"Reshape"}


def test_a_model_without_towering_products_keeps_its_fp16_bytes(tmp_path):
    source = seeded.write_decoder(tmp_path / "source", model_type="qwen3", seed=3)
    model = open_model(open_source(source))
    files = []
    for name, samples in (("with", calibration(model, "base")), ("without", None)):
        (tmp_path / name).mkdir()
        write(model, PRECISIONS["fp16"], tmp_path / name, "base", samples)
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("largest", "weight", "exponent"),
    [
        (0, 1, 0),
        (4094, 1, 0),
        (4095, 1, 1),
        (8188, 1, 1),
        (200_000, 1, 6),
        (200_000, 20_000, 1),  # `down` times 4 would overflow instead
        (200_000, 40_000, 0),
        (200_000, 0, 0),
    ],
)
def test_balancing_moves_a_power_of_two_exactly(largest, weight, exponent):
    generator = np.random.default_rng(0)
    ones = np.ones((2, 3), np.float32)
    bias = generator.standard_normal(3).astype(np.float32)
    up = Linear("up", generator.standard_normal((3, 2)).astype(np.float32), bias, shared=True)
    rows = np.array([[0, -largest, 1]], np.float32)
    down = Linear("down", ones * weight, ones[:, 0], shared=True, inputs=Inputs(rows))
    kept = up.weight.copy(), down.weight.copy()
    half, double = PRECISIONS["fp16"].balance(up, down)
    factor = np.float32(2**exponent)
    np.testing.assert_array_equal(half.weight * factor, up.weight)
    np.testing.assert_array_equal(half.bias * factor, up.bias)
    np.testing.assert_array_equal(double.weight, down.weight * factor)
    np.testing.assert_array_equal(double.bias, down.bias)
    np.testing.assert_array_equal(double.inputs.rows * factor, rows)
    # Other precisions write the same layer, and other tasks may need another factor.
    np.testing.assert_array_equal((up.weight, down.weight.T), (kept[0], kept[1].T))
    assert (half.name != "up") == (double.name != "down") == (exponent > 0)
    for name in ("fp32", "int8"):
        assert PRECISIONS[name].balance(up, down) == (up, down)


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("int8", 0.0)])
@pytest.mark.parametrize("pack", ["tiny_pack", "nano_pack"])
def test_a_text_is_the_same_alone_in_any_batch_in_any_order(pack, precision, tolerance, request):
    folder = request.getfixturevalue(pack)
    manifest = read_manifest(folder)
    graph = manifest.graph(task="retrieval", precision=precision)
    session = OnnxSession(folder / graph.file, device="cpu", threads=2)
    either = manifest.text.padding == "either"

    @settings(max_examples=40, deadline=None)
    @given(LENGTHS, st.integers(0, 2**32 - 1), st.integers(0, 30))
    def check(lengths, seed, extra):
        generator = np.random.default_rng(seed)
        texts = [generator.integers(0, 250, n).astype(np.int32) for n in lengths]
        order = generator.permutation(len(texts))
        ids, mask = pad([texts[i] for i in order], 0)
        # Padding beyond the longest text, holding ids that must not be seen.
        ids = np.pad(ids, ((0, 0), (0, extra)), constant_values=9)
        mask = np.pad(mask, ((0, 0), (0, extra)))
        if either:  # some texts start later, some have padding between their tokens
            for row in range(len(ids)):
                places = np.argsort(generator.random(mask.shape[1]) < 0.5, kind="stable")
                places = (np.arange(mask.shape[1]), np.argsort(mask[row]), places)[row % 3]
                kept = ids[row][mask[row] == 1]
                mask[row] = mask[row][places]
                ids[row] = 9
                ids[row][mask[row] == 1] = kept
        together = session.run(ids, mask)
        for row, index in enumerate(order):
            alone = session.run(*pad([texts[index]], 0))[0]
            scale = np.linalg.norm(alone)
            assert np.abs(together[row] - alone).max() <= tolerance * scale

    check()


def test_a_text_is_the_same_where_attention_changes_its_blocks(tiny_pack):
    """Kernels work in blocks of some hundred tokens; a block of one token is summed otherwise."""
    manifest = read_manifest(tiny_pack)
    graph = manifest.graph(task="retrieval", precision="int8")
    session = OnnxSession(tiny_pack / graph.file, device="cpu", threads=2)
    generator = np.random.default_rng(0)
    lengths = [255, 256, 257, 385, 513, LONG - 1, LONG, LONG + 1, LONG + 2, 1281, 1300, 1537]
    texts = [generator.integers(0, 250, n).astype(np.int32) for n in lengths]
    limits = Limits(
        token_budget=10**9,
        memory=MemoryCost(per_token=0, per_token_squared=0),
        memory_limit=None,
    )
    runs = plan(lengths, limits)
    assert len(runs) > 1
    for run in runs:
        together = session.run(*pad([texts[i] for i in run], 0))
        for row, index in enumerate(run):
            alone = session.run(*pad([texts[index]], 0))[0]
            np.testing.assert_array_equal(together[row], alone, err_msg=f"{lengths[index]} tokens")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("int8", 0.0)])
def test_a_budget_changes_no_vector(tiny_pack, precision, tolerance):
    """The default follows from the machine; an index that was written on another stays valid."""
    texts = ["word " * (1 + index % 37) for index in range(60)]

    def embed(budget):
        with Embedder(tiny_pack, precision=precision, token_budget=budget) as embedder:
            return embedder.encode(texts)

    expected = embed(1)
    for budget in (None, 192, 512, 4096):
        assert np.abs(embed(budget) - expected).max() <= tolerance


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells its CPU's kind")
def test_a_prepared_int8_graph_gives_the_same_bits(tiny_pack, tmp_path):
    texts = ["one", "two words", "a third text that is longer than the others"]
    with Embedder(tiny_pack, precision="int8") as plain:
        expected = plain.encode(texts, task="retrieval")
    for _ in range(2):
        with Embedder(tiny_pack, precision="int8", prepared=tmp_path) as mapped:
            np.testing.assert_array_equal(mapped.encode(texts, task="retrieval"), expected)


def test_a_long_text_costs_memory_by_its_length_and_not_by_its_square(tiny_pack):
    manifest = read_manifest(tiny_pack)
    path = tiny_pack / manifest.graph(task="retrieval", precision="int8").file
    nodes = onnx.load(path, load_external_data=False).graph.node
    choices = [node for node in nodes if node.op_type == "If"]
    assert len(choices) == 3  # one a layer
    for choice in choices:
        branches = {a.name: list(a.g.node) for a in choice.attribute}
        assert branches["then_branch"][-1].op_type == "Attention"  # of short texts
        [longer] = branches["else_branch"]
        branches = {a.name: [n.op_type for n in a.g.node] for a in longer.attribute}
        assert branches["then_branch"] == ["GroupQueryAttention"]
        assert branches["else_branch"][-3:] == ["SequenceEmpty", "Loop", "ConcatFromSequence"]


def test_floats_attend_by_an_operator_that_every_device_has(tiny_pack):
    path = tiny_pack / read_manifest(tiny_pack).graph(task="retrieval", precision="fp32").file
    nodes = onnx.load(path, load_external_data=False).graph.node
    for choice in (node for node in nodes if node.op_type == "If"):
        branches = {a.name: list(a.g.node) for a in choice.attribute}
        [long], [short] = branches["then_branch"], branches["else_branch"]
        assert long.op_type == short.op_type == "GroupQueryAttention"
        assert len(long.input) < len(short.input) == 12  # the sink holds the square of scores
