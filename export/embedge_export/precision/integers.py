"""What precisions of integers have in common: the table, and outliers spread by Hadamard blocks."""

from functools import cache

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph.builder import FLOAT, GraphBuilder
from embedge_export.graph.layers import Activation, Table
from embedge_export.numbers.rotation import block_of, mixer
from embedge_export.numbers.rounding import DIGIT, nearest, scales

_LARGEST_BLOCK = 64  # of the Hadamard blocks; 512 would halve what is lost to them, and cost 5 %


def int8_rows(graph: GraphBuilder, ids: ir.Value, table: Table, *, finer: bool = False) -> ir.Value:
    """The table's rows, kept in int8 with one scale a row: int64 ids (…) -> float32 (…, width).

    With `finer`, in two digits; it is called TABLE among a precision's linears.
    """

    @cache
    def rounded() -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        rows = table.read()
        scale = scales(rows)
        return nearest(rows, scale), scale[:, None]

    def rest() -> NDArray[np.int8]:
        levels, step = rounded()
        return nearest(table.read() - levels * step, step[:, 0] / DIGIT)

    def rows_of(stored: ir.Value) -> ir.Value:
        return graph.cast(graph.op("Gather", stored, ids, axis=0), FLOAT)

    stored = graph.weight("embedding", lambda: rounded()[0], shared=table.shared)
    steps = graph.weight("embedding.scale", lambda: rounded()[1], shared=table.shared)
    rows = rows_of(stored)
    if finer:
        low = rows_of(graph.weight("embedding.low", rest, shared=table.shared))
        per_digit = graph.constant("per_digit", 1 / DIGIT)
        rows = graph.op("Add", rows, graph.op("Mul", low, per_digit))
    return graph.op("Mul", rows, graph.op("Gather", steps, ids, axis=0))


def spread_out(graph: GraphBuilder, activation: Activation, width: int) -> tuple[ir.Value, int]:
    """Rows (…, width) with their blocks multiplied by a Hadamard matrix, and the blocks' size."""
    rows = activation.rows
    block = block_of(width, _LARGEST_BLOCK)
    factor = graph.constant(f"mixer_{block}", mixer(block))
    apart = graph.op("Reshape", activation.value, rows.apart(graph, width // block, block))
    mixed = graph.op("MatMul", apart, factor)
    return graph.op("Reshape", mixed, rows.apart(graph, -1)), block
