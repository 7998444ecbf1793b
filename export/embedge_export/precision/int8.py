"""int8 for CPUs: weights per output channel, activations with one scale per token row.

A row of the input never sees another row, so a text's vector is the same to the last bit alone
and in any batch. The residual stream comes rotated (rotate.py); inputs that it does not reach
(the MLP's product) are spread by Hadamard blocks at run time, whose inverse is folded into the
weight. Activations are uint8 around 128, because uint8 x int8 is what CPUs have kernels for; the
runtime sees to CPUs whose kernel saturates (embedge/engine.py).
"""

from functools import cache

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph import CONTRIB, FLOAT, INT64, GraphBuilder
from embedge_export.layers import Linear, Table, to_rows
from embedge_export.precision.base import Precision
from embedge_export.rotate import block_of, mixer, rotate_blocks

_INT8 = ir.DataType.INT8
_UINT8 = ir.DataType.UINT8
_LEVELS = np.float32(127)  # symmetric: -127..127, so that no sign is favoured
_SMALLEST = np.float32(1e-30)  # a scale for rows of zeros
_LARGEST_BLOCK = 64  # of the Hadamard blocks; 128 gained nothing and cost twice


class Int8(Precision):
    """See the module."""

    name = "int8"
    rotates = True
    minimum_cosine = 0.995
    largest_difference = None
    batch_difference = 0.0

    def embedding(self, graph: GraphBuilder, ids: ir.Value, table: Table) -> ir.Value:
        """See Precision. One scale per row of the table."""

        @cache
        def quantised() -> tuple[NDArray[np.int8], NDArray[np.float32]]:
            rows = table.read()
            scale = _scales(rows)
            return _quantise(rows, scale), scale

        stored = graph.weight("embedding", lambda: quantised()[0], shared=table.shared)
        scales = graph.weight("embedding.scale", lambda: quantised()[1], shared=table.shared)
        rows = graph.cast(graph.op("Gather", stored, ids, axis=0), FLOAT)
        row_scales = graph.op("Gather", scales, ids, axis=0)
        return graph.op("Mul", to_rows(graph, rows, table.width), to_rows(graph, row_scales, 1))

    def linear(self, graph: GraphBuilder, x: ir.Value, linear: Linear) -> ir.Value:
        """See Precision. float32 in and out."""
        width = linear.weight.shape[1]
        weight = linear.weight
        if linear.spread:
            block = block_of(width, _LARGEST_BLOCK)
            weight = rotate_blocks(weight, block)
            factor = graph.constant(f"mixer_{block}", mixer(block))
            x = to_rows(graph, graph.op("MatMul", to_rows(graph, x, block), factor), width)
        scale = _scales(weight)  # (out,)
        quantised, row_scale = _quantise_rows(graph, x)
        y = graph.op(
            "MatMulIntegerToFloat",
            quantised,
            graph.weight(
                f"{linear.name}.weight", lambda: _quantise(weight, scale).T, shared=linear.shared
            ),
            graph.constant("float_1", np.float32(1)),
            graph.weight(f"{linear.name}.scale", lambda: scale, shared=linear.shared),
            _zero_point(graph),
            # 0 is the default, but to convert the weights for CPUs whose kernel saturates, ONNX
            # Runtime 1.23 needs the zero point spelt out, and every version one to each weight.
            graph.constant(f"{linear.name}.zero_point", np.int8(0)),
            dtype=FLOAT,
            domain=CONTRIB,
        )
        y = graph.op("Mul", y, row_scale)
        if linear.bias is not None:
            y = graph.op("Add", y, graph.constant(f"{linear.name}.bias", linear.bias))
        return y


def _quantise_rows(graph: GraphBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """(rows, width) -> uint8 of the same shape around 128, and its scales (rows, 1)."""
    largest = graph.op("ReduceMax", graph.op("Abs", x), graph.numbers(-1), keepdims=0)
    largest = graph.op("Max", largest, graph.constant("smallest", _SMALLEST))
    scale = graph.op("Mul", largest, graph.constant("per_level", 1 / _LEVELS))
    rows = graph.op("Shape", scale, dtype=INT64)
    zero_points = graph.op("Expand", _zero_point(graph), rows)
    quantised = graph.op("QuantizeLinear", x, scale, zero_points, dtype=_UINT8, axis=0)
    return quantised, graph.op("Unsqueeze", scale, graph.numbers(-1))


def _zero_point(graph: GraphBuilder) -> ir.Value:
    return graph.constant("uint8_128", np.uint8(128))


def _scales(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale per row."""
    largest = np.maximum(matrix.max(axis=1), -matrix.min(axis=1))
    return np.asarray(np.maximum(largest, _SMALLEST) / _LEVELS, np.float32)


def _quantise(matrix: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.int8]:
    levels = matrix / scale[:, None]
    np.rint(levels, out=levels)
    return np.asarray(levels, np.int8)
