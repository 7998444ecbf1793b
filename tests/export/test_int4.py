"""The int4 linear against the same integers in NumPy, and its road from export to runtime."""

import numpy as np
import onnxruntime
import pytest

from embedge import Embedder
from embedge.pack.files import open_pack, verify_files
from embedge_export.export import export_pack
from embedge_export.graph.builder import FLOAT, INT64, GraphBuilder
from embedge_export.graph.layers import Activation, Linear, Rows
from embedge_export.graph.weight_file import WeightFile
from embedge_export.numbers.calibration import Inputs
from embedge_export.numbers.rounding import LEVELS, compensate, nearest, scales
from embedge_export.precision import PRECISIONS
from embedge_export.precision.int4 import BLOCK, pack_nibbles, quantize

INT4 = PRECISIONS["int4"]


def run_linear(folder, linear, x, *, spread=False):
    """What one linear gives for x."""
    folder.mkdir(exist_ok=True)
    with WeightFile(folder / "own.data") as own, WeightFile(folder / "shared.data") as shared:
        graph = GraphBuilder("linear", own=own, shared=shared)
        value = graph.input("x", FLOAT, ("rows", x.shape[1]))
        lead = graph.op("Shape", value, dtype=INT64, start=0, end=1)
        rows = Rows(1, graph.op("Concat", lead, graph.numbers(1), axis=0))
        operand = INT4.prepare(graph, Activation(value, rows, outliers=spread), [linear])
        y = INT4.multiply(graph, operand, linear)
        graph.save(folder / "g.onnx", {"y": y}, ("rows", "out"))
    session = onnxruntime.InferenceSession(
        str(folder / "g.onnx"), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("width", [16, 64, 70, 96, 100, 576, 2730])
def test_products_are_those_of_the_integers(tmp_path, width):
    """Whole blocks or not. What may differ is the kernel's own rounding of activations."""
    x, weight = normal(1, 9, width), normal(2, 40, width)
    bias = np.linspace(-5, 5, 40, dtype=np.float32)
    levels, scale = quantize(Linear("l", weight))
    assert levels.min() >= -8
    assert levels.max() <= 7
    stored = levels * np.repeat(scale, BLOCK, axis=1)[:, :width]
    y = run_linear(tmp_path, Linear("l", weight, bias), x)
    # Half a step of each block's 8 bits, times the weights that it meets.
    blocks = np.pad(np.abs(x), ((0, 0), (0, -width % BLOCK))).reshape(len(x), -1, BLOCK)
    step = np.repeat(blocks.max(axis=2) / 127, BLOCK, axis=1)[:, :width]
    allowed = 0.5 * step @ np.abs(stored).T
    assert (np.abs(y - (x.astype(np.float64) @ stored.T + bias)) <= allowed * 1.01 + 1e-4).all()
    # And the integers are not far from the weight: half a step, but where a block was cut off.
    assert np.square(stored - weight).mean() < 0.01


def test_nibbles_stand_low_first_and_the_rest_is_the_zero_point():
    levels = np.arange(-8, 8, dtype=np.int8)[None].repeat(2, axis=0)  # (2, 16)
    stored = pack_nibbles(levels)
    assert stored.shape == (2, 1, 16)
    assert stored[0, 0, :8].tolist() == [0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]
    assert set(stored[0, 0, 8:].tolist()) == {0x88}


@pytest.mark.parametrize("inputs", [None, Inputs(normal(3, 200, 64) @ normal(4, 64, 64))])
def test_zeros_give_zeros(tmp_path, inputs):
    x, weight = normal(1, 3, 64), normal(2, 8, 64)
    x[1] = weight[5] = weight[6, :BLOCK] = weight[7, BLOCK:] = 0
    _, scale = quantize(Linear("l", weight, inputs=inputs))
    assert ((scale == 0) == [[False] * 2] * 5 + [[True] * 2, [True, False], [False, True]]).all()
    y = run_linear(tmp_path, Linear("l", weight, inputs=inputs), x)
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(y[1], 0)
    np.testing.assert_array_equal(y[:, 5], 0)


def test_a_row_never_sees_another(tmp_path):
    x, linear = normal(1, 9, 128), Linear("l", normal(2, 40, 128))
    alone = run_linear(tmp_path / "a", linear, x[3:4])
    x[0] *= 10_000
    together = run_linear(tmp_path / "b", linear, x)
    np.testing.assert_allclose(together[3:4], alone, rtol=1e-4, atol=1e-4)


def test_rounding_fits_the_inputs_it_was_shown(tmp_path):
    weight, mixing = normal(2, 40, 128), normal(3, 12, 128)
    seen, unseen = normal(4, 200, 12) @ mixing, normal(5, 200, 12) @ mixing
    exact = unseen.astype(np.float64) @ weight.T
    errors = [
        np.square(run_linear(tmp_path, Linear("l", weight, inputs=inputs), unseen) - exact).mean()
        for inputs in (None, Inputs(seen))
    ]
    assert errors[1] < errors[0] * 0.7


def transcribed(weight, step, inputs):
    """The algorithm for one scale a row, as int8 has had it since its first recipe."""
    feedback, columns = inputs.feedback.T, np.ascontiguousarray(weight.T)
    errors, levels = np.zeros_like(columns), np.empty(columns.shape, np.int8)
    for start in range(0, len(columns), 32):
        stop = start + 32
        wanted = columns[start:stop] + feedback[:start, start:stop].T @ errors[:start]
        for column, target in enumerate(wanted, start):
            if column > start:
                target += feedback[start:column, column] @ errors[start:column]
            rounded = np.clip(np.rint(target / step), -127, 127)
            levels[column] = rounded
            errors[column] = columns[column] - rounded * step
    return levels.T


@pytest.mark.parametrize("width", [20, 128, 150])
def test_int8_rounds_as_before_blocks_had_scales(width):
    """The same levels, given one scale a row or that scale for every column.

    Sums on a grid differ in their last bits from those in float32: a value half way between two
    levels may take the other one.
    """
    weight, inputs = normal(2, 40, width), Inputs(normal(3, 200, width) @ normal(4, width, width))
    scale = scales(weight)
    expected = transcribed(weight, scale, inputs)
    assert (expected != nearest(weight, scale)).any()
    assert np.abs(expected).max() == LEVELS
    got = compensate(weight, scale, inputs)
    assert np.mean(got != expected) < 0.002
    each = np.repeat(scale[:, None], width, axis=1)
    np.testing.assert_array_equal(compensate(weight, each, inputs), got)


def test_a_pack_of_int4_alone_passes_and_is_chosen_with_its_reason(tiny_source, tmp_path):
    sizes = {}
    for precision in ("int8", "int4"):
        out = tmp_path / precision
        manifest = export_pack(
            tiny_source, out=out, tasks=["retrieval"], precisions=(precision,), threads=1
        )
        assert manifest.passed_gate(precision)
        assert verify_files(open_pack(out)) == []
        sizes[precision] = sum((out / name).stat().st_size for name in manifest.graphs[0].data)
    assert sizes["int4"] < sizes["int8"]
    texts = ["a", "two words", "the quick brown fox jumps over the lazy dog " * 5]
    with Embedder(tmp_path / "int4", device="cpu") as embedder:
        assert embedder.precision == "int4"
        together = embedder.encode(texts)
        alone = np.stack([embedder.encode(text) for text in texts])
    np.testing.assert_allclose(together, alone, atol=INT4.batch_difference)
    with Embedder(tmp_path / "int8", device="cpu") as embedder:
        cosines = (embedder.encode(texts) * together).sum(axis=1)
    assert (cosines > INT4.minimum_cosine).all()
    assert cosines.min() < 0.9999  # it is not int8 by another name
