"""The int8 linear against the same integer arithmetic in NumPy."""

import numpy as np
import onnx
import onnxruntime
import pytest

from embedge.engine.kernels import integer_kernel
from embedge_export.graph.builder import FLOAT, INT64, GraphBuilder
from embedge_export.graph.layers import Activation, Linear, Rows, Table
from embedge_export.graph.weight_file import WeightFile
from embedge_export.numbers.calibration import Inputs
from embedge_export.numbers.rotation import Rotation, hadamard
from embedge_export.numbers.sensitivity import TABLE
from embedge_export.precision import PRECISIONS

INT8 = PRECISIONS["int8"]


def session(path):
    options = onnxruntime.SessionOptions()
    if integer_kernel().value != "uint8 x int8":
        options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_linear(folder, linear, x, *, precision=INT8, spread=False, scaled=True, scales=None):
    """What one linear gives for x."""
    with WeightFile(folder / "own.data") as own, WeightFile(folder / "shared.data") as shared:
        graph = GraphBuilder("linear", own=own, shared=shared)
        value = graph.input("x", FLOAT, ("rows", x.shape[1]))
        lead = graph.op("Shape", value, dtype=INT64, start=0, end=1)
        rows = Rows(1, graph.op("Concat", lead, graph.numbers(1), axis=0))
        waiting = None if scales is None else graph.constant("scales", scales)
        activation = Activation(value, rows, outliers=spread, scales=waiting)
        operand = precision.prepare(graph, activation, [linear])
        y = precision.multiply(graph, operand, linear, scaled=scaled)
        graph.save(folder / "g.onnx", {"y": y}, ("rows", "out"))
    return session(folder / "g.onnx").run(None, {"x": x})[0]


def integers(x, weight):
    """What the graph should compute, in exact integers: float64 (rows, out)."""
    row_scale = (np.abs(x).max(axis=1) * np.float32(1 / 127)).astype(np.float32)
    column_scale = np.abs(weight).max(axis=1) / np.float32(127)
    left = np.rint(x / row_scale[:, None]).astype(np.int64)
    right = np.rint(weight / column_scale[:, None]).astype(np.int64)
    return (left @ right.T) * row_scale[:, None].astype(np.float64) * column_scale


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((9, 128)).astype(np.float32)


@pytest.fixture
def weight():
    return np.random.default_rng(2).standard_normal((40, 128)).astype(np.float32)


def test_sums_are_exact_integers_on_this_cpu(tmp_path, x, weight):
    # All of one sign and full scale: what saturates where pairs are added in 16 bits.
    x, weight = np.abs(x), np.abs(weight)
    y = run_linear(tmp_path, Linear("l", weight), x)
    np.testing.assert_allclose(y, integers(x, weight), rtol=1e-5)


def test_a_bias_is_added_in_float(tmp_path, x, weight):
    bias = np.linspace(-5, 5, 40, dtype=np.float32)
    y = run_linear(tmp_path, Linear("l", weight, bias), x)
    np.testing.assert_allclose(y, integers(x, weight) + bias, rtol=1e-4, atol=1e-4)


def test_a_row_never_sees_another(tmp_path, x, weight):
    linear = Linear("l", weight)
    (tmp_path / "a").mkdir()
    alone = run_linear(tmp_path / "a", linear, x[3:4])
    x[0] *= 10_000
    (tmp_path / "b").mkdir()
    together = run_linear(tmp_path / "b", linear, x)
    np.testing.assert_array_equal(together[3:4], alone)


def test_a_row_of_zeros_gives_zeros(tmp_path, x, weight):
    x[4] = 0
    np.testing.assert_array_equal(run_linear(tmp_path, Linear("l", weight), x)[4], 0)


def test_spreading_saves_what_one_huge_channel_would_cost(tmp_path, x, weight):
    x[:, 17] *= 300
    exact = x.astype(np.float64) @ weight.T
    errors = {}
    for spread in (False, True):
        folder = tmp_path / str(spread)
        folder.mkdir()
        y = run_linear(folder, Linear("l", weight), x, spread=spread)
        errors[spread] = np.abs(y - exact).mean()
    assert errors[True] < errors[False] / 2


def test_a_product_without_its_scales_is_a_multiple_of_each_row(tmp_path, x, weight):
    whole = run_linear(tmp_path, Linear("l", weight), x)
    bare = run_linear(tmp_path, Linear("l", weight), x, scaled=False)
    factors = np.abs(x).max(axis=1, keepdims=True) / 127
    np.testing.assert_allclose(bare * factors, whole, rtol=1e-5)


def test_scales_that_wait_are_multiplied_in(tmp_path, x, weight):
    whole = run_linear(tmp_path, Linear("l", weight), x)
    waiting = np.linspace(0.01, 3, len(x), dtype=np.float32)[:, None]
    late = run_linear(tmp_path, Linear("l", weight), x, scales=waiting)
    np.testing.assert_allclose(late, whole * waiting, rtol=1e-5)


def test_two_digits_lose_far_less_than_one(tmp_path, x, weight):
    exact = x.astype(np.float64) @ weight.T
    errors = [
        np.abs(run_linear(tmp_path, Linear("l", weight), x, precision=precision) - exact).max()
        for precision in (INT8, INT8.keeping(["l"]))
    ]
    assert errors[1] < errors[0] / 50


@pytest.mark.parametrize("precision", [INT8, INT8.keeping(["l"])])
def test_no_two_products_share_a_weight(tmp_path, x, weight, precision):
    """ONNX Runtime converts the weights of each for CPUs whose kernel saturates, and then fails."""
    run_linear(tmp_path, Linear("l", weight), x, precision=precision)
    graph = onnx.load(tmp_path / "g.onnx", load_external_data=False).graph
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    read = [node.input[1] for node in products] + [node.input[5] for node in products]
    assert len(read) == len(set(read)) >= 2


@pytest.mark.parametrize("spread", [False, True])
def test_float32_is_the_last_resort(tmp_path, x, weight, spread):
    """The plain product, with the rows' scales and the bias as for integers."""
    linear = Linear("l", weight, bias=np.arange(40, dtype=np.float32))
    precision = INT8.keeping(["l"], floats=["l"])
    y = run_linear(tmp_path, linear, x, precision=precision, spread=spread)
    np.testing.assert_allclose(y, x @ weight.T + linear.bias, atol=1e-4)
    waiting = np.full((9, 1), 3, np.float32)
    late = run_linear(tmp_path, Linear("l", weight), x, precision=precision, scales=waiting)
    np.testing.assert_allclose(late, 3 * (x @ weight.T), atol=1e-3)


def test_rounding_fits_the_inputs_it_was_shown(tmp_path, weight):
    """Inputs of few directions: what rounding does to the others costs nothing."""
    generator = np.random.default_rng(5)
    mixing = generator.standard_normal((12, 128))
    seen, unseen = (
        (generator.standard_normal((200, 12)) @ mixing).astype(np.float32) for _ in range(2)
    )
    exact = unseen.astype(np.float64) @ weight.T
    errors = [
        np.square(run_linear(tmp_path, Linear("l", weight, inputs=inputs), unseen) - exact).mean()
        for inputs in (None, Inputs(seen))
    ]
    assert errors[1] < errors[0] * 0.7


def test_inputs_follow_their_weight_through_gains_and_rotations(weight):
    generator = np.random.default_rng(6)
    rows = generator.standard_normal((30, 128)).astype(np.float32)
    gain = generator.uniform(0.5, 2, 128).astype(np.float32)
    gain[3] = rows[:, 3] = 0  # a channel that the norm shuts
    linear = Linear("l", weight, inputs=Inputs(rows))
    turned = linear.absorbing_norm(gain).for_rotated_input(Rotation(128)).for_mixed_input(32)
    # The rows are those after the gain: W of the rotated stream has it folded in.
    np.testing.assert_allclose(
        turned.inputs.rows @ turned.weight.T, rows @ weight.T, atol=1e-4, rtol=1e-4
    )
    shift = generator.standard_normal(128).astype(np.float32)
    shift[3] = 0
    own = generator.standard_normal(len(weight)).astype(np.float32)
    for bias in (None, own):
        linear = Linear("l", weight, bias, inputs=Inputs(rows))
        turned = linear.absorbing_norm(gain, shift).for_rotated_input(Rotation(128))
        np.testing.assert_allclose(
            turned.inputs.rows @ turned.weight.T + turned.bias,
            rows @ weight.T + (0 if bias is None else bias),
            atol=1e-4,
            rtol=1e-4,
        )


@pytest.mark.parametrize(("precision", "steps"), [(INT8, 127), (INT8.keeping([TABLE]), 127 * 254)])
def test_the_table_loses_at_most_half_a_step_of_each_row(tmp_path, precision, steps):
    table = np.random.default_rng(3).standard_normal((50, 32)).astype(np.float32)
    table[7] *= 1000  # another row's scale must not suffer
    with WeightFile(tmp_path / "own.data") as own, WeightFile(tmp_path / "shared.data") as shared:
        graph = GraphBuilder("table", own=own, shared=shared)
        ids = graph.input("ids", INT64, ("batch", "sequence"))
        rows = precision.embedding(graph, ids, Table(32, lambda: table, shared=True))
        graph.save(tmp_path / "g.onnx", {"rows": rows}, ("batch", "sequence", 32))
    read = np.arange(50).reshape(5, 10)
    got = session(tmp_path / "g.onnx").run(None, {"ids": read})[0].reshape(50, 32)
    half_step = np.abs(table).max(axis=1, keepdims=True) / steps / 2
    assert (np.abs(got - table) <= half_step * 1.02).all()  # float32 rounds as well


def test_hadamard_blocks_divide_every_width(tmp_path):
    x = np.ones((2, 96), np.float32)  # 96 = 32 * 3: the largest block is 32
    weight = np.random.default_rng(4).standard_normal((8, 96)).astype(np.float32)
    y = run_linear(tmp_path, Linear("l", weight), x, spread=True)
    np.testing.assert_allclose(y, x @ weight.T, atol=0.3)
    assert hadamard(32).shape == (32, 32)
