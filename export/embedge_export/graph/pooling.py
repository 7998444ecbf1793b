"""Pooling in a graph: each text's rows, one text below the other, made one.

Texts are taken one by one, so that no text's sums depend on its neighbors. The definitions are
those of head/truth.py.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from embedge_export.graph.builder import FLOAT, INT64, GraphBuilder
from embedge_export.head.head import CLS, LAST_TOKEN, MAX, MEAN, MEAN_SQRT_LENGTH, WEIGHTED_MEAN


@dataclass(frozen=True, slots=True)
class Spans:
    """Where each text's rows are: int64 (B,) each.

    Attributes:
        starts: the first row.
        ends: after the last row.
        lengths: how many rows.
    """

    starts: ir.Value
    ends: ir.Value
    lengths: ir.Value


def pool_rows(graph: GraphBuilder, rows: ir.Value, spans: Spans, mode: str) -> ir.Value:
    """Each text's rows made one by a mode of `head.MODES`: (rows, width) -> (B, width)."""
    if mode == LAST_TOKEN:
        return graph.op("Gather", rows, graph.op("Sub", spans.ends, graph.numbers(1)), axis=0)
    if mode == CLS:
        return graph.op("Gather", rows, spans.starts, axis=0)

    def text(number: ir.Value) -> ir.Value:
        start, end = entry(graph, spans.starts, number), entry(graph, spans.ends, number)
        own = graph.op("Slice", rows, start, end, graph.numbers(0))
        return _one(graph, own, mode)

    count = graph.op("Squeeze", graph.op("Shape", spans.lengths, dtype=INT64))
    return graph.for_each(count, text, rows.dtype or FLOAT)


def entry(graph: GraphBuilder, values: ir.Value, number: ir.Value) -> ir.Value:
    """The entry of that number: (n,) and a scalar -> (1,)."""
    return graph.op("Gather", values, graph.op("Unsqueeze", number, graph.numbers(0)), axis=0)


def _one(graph: GraphBuilder, rows: ir.Value, mode: str) -> ir.Value:
    """One text: (tokens, width) -> (1, width)."""
    first = graph.numbers(0)  # the axis
    if mode == MEAN:
        return graph.op("ReduceMean", rows, first, keepdims=1)
    if mode == MAX:
        return graph.op("ReduceMax", rows, first, keepdims=1)
    count = graph.op("Shape", rows, dtype=INT64, start=0, end=1)  # (1,)
    if mode == MEAN_SQRT_LENGTH:
        total = graph.op("ReduceSum", rows, first, keepdims=1)
        return graph.op("Div", total, graph.op("Sqrt", graph.cast(count, FLOAT)))
    assert mode == WEIGHTED_MEAN
    one = graph.constant("int64_1", np.int64(1))
    end = graph.op("Add", graph.op("Squeeze", count), one)
    weights = graph.cast(graph.op("Range", one, end, one), FLOAT)
    weights = graph.op("Unsqueeze", weights, graph.numbers(1))  # (tokens, 1)
    total = graph.op("ReduceSum", graph.op("Mul", rows, weights), first, keepdims=1)
    return graph.op("Div", total, graph.op("ReduceSum", weights, first, keepdims=1))
