"""Runs of texts of one length among packed rows, and attention within each of them.

ONNX Runtime's CPU works in blocks, in memory linear in a text's length, only without a mask; and
with one, a text's last bits would depend on how far it is padded. So there is an operator for each
run, which needs none. embedge's runtime sorts texts by length, so that the runs are few, and a
batch without padding is one. Takes rows one below the other; gives rows in the same order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from embedge_export.graph.attention import Heads
from embedge_export.graph.builder import BOOL, FLOAT, INT64, GraphBuilder
from embedge_export.graph.multi_head import Attend, attend_squarely, repeat_heads, turn
from embedge_export.graph.pooling import entry

# Tokens; up to this length texts may take the operator that holds all scores: there they take less
# memory than the MLP's rows, and longer texts gain little.
_SQUARE = 256

Rows = Sequence[ir.Value]
# Adds the attention of one run, from its rows, its texts' length, int64 (1,), and whether it is the
# only run.
Attended = Callable[[Rows, ir.Value, bool], ir.Value]


@dataclass(frozen=True, slots=True)
class Groups:
    """Runs of texts of one length: int64 (groups,), and their count, an int64 scalar."""

    starts: ir.Value  # first rows
    ends: ir.Value
    lengths: ir.Value
    count: ir.Value


def find_groups(graph: GraphBuilder, ids: ir.Value, starts: ir.Value, lengths: ir.Value) -> Groups:
    """The runs among texts, of which each begins at a row of `ids` and has a length."""
    but_last = graph.op("Slice", lengths, graph.numbers(0), graph.numbers(-1))
    before = graph.op("Concat", graph.numbers(-1), but_last, axis=0)
    first = nonzero(graph, graph.op("Not", graph.op("Equal", lengths, before, dtype=BOOL)))
    starts = graph.op("Gather", starts, first, axis=0)
    rows = graph.op("Shape", ids, dtype=INT64)
    after_first = graph.op("Slice", starts, graph.numbers(1), graph.numbers(2**31))
    return Groups(
        starts,
        graph.op("Concat", after_first, rows, axis=0),
        graph.op("Gather", lengths, first, axis=0),
        graph.op("Squeeze", graph.op("Shape", first, dtype=INT64)),
    )


def each_group(
    graph: GraphBuilder,
    groups: Groups,
    rows: Rows,
    piece: Callable[[Rows, ir.Value], ir.Value],
    dtype: ir.DataType,
) -> ir.Value:
    """What `piece` adds for each run, from its rows and its texts' length, one below the other."""

    def group(number: ir.Value) -> ir.Value:
        start, end, length = (
            entry(graph, x, number) for x in (groups.starts, groups.ends, groups.lengths)
        )
        own = [graph.op("Slice", x, start, end, graph.numbers(0)) for x in rows]
        return piece(own, length)

    return graph.for_each(groups.count, group, dtype)


def attend_each(graph: GraphBuilder, groups: Groups, rows: Rows, attended: Attended) -> ir.Value:
    """Attention of each run; `rows` are the queries, keys and values of all texts."""
    dtype = rows[0].dtype or FLOAT
    return graph.either(
        _only_one(graph, groups),
        lambda: attended(rows, groups.lengths, True),  # a loop of one round would copy its rows
        lambda: each_group(graph, groups, rows, lambda own, n: attended(own, n, False), dtype),
        dtype,
    )


def attend_by_length(
    graph: GraphBuilder, groups: Groups, rows: Rows, *, heads: Heads, blockwise: Attend
) -> ir.Value:
    """Attention of each run, of short texts by the standard's operator.

    A text's operator depends on its own length alone, so that its bits do not depend on the batch.
    One run of short texts, such as a query alone, is asked for first: each choice costs time.

    Args:
        graph: where the nodes go.
        groups: the runs.
        rows: queries, keys and values of all texts.
        heads: their shape.
        blockwise: attention to longer texts, rotary positions included.
    """
    dtype = rows[0].dtype or FLOAT
    width = heads.query * heads.width
    most = graph.constant(f"int64_{_SQUARE}", np.int64(_SQUARE))

    def is_short(length: ir.Value) -> ir.Value:
        return graph.op("LessOrEqual", length, most, dtype=BOOL)

    def flat_rows(attended: ir.Value) -> ir.Value:
        return graph.op("Reshape", attended, graph.numbers(-1, width))

    def short(own: Rows, length: ir.Value) -> ir.Value:
        query, *others = own
        query = apart(graph, query, length, width)
        key, value = (apart(graph, x, length, heads.key_value * heads.width) for x in others)
        if heads.rotary is not None:
            query, key = turn(graph, query, key, heads.rotary)
        return flat_rows(attend_squarely(graph, query, key, value, heads=heads))

    def longer(own: Rows, length: ir.Value) -> ir.Value:
        query, *others = own
        repeated = (repeat_heads(graph, x, heads) for x in others)
        return flat_rows(blockwise(*(apart(graph, x, length, width) for x in (query, *repeated))))

    def attended(own: Rows, length: ir.Value, alone: bool) -> ir.Value:
        if alone:  # and not short
            return longer(own, length)
        fits = is_short(graph.op("Squeeze", length))
        return graph.either(fits, lambda: short(own, length), lambda: longer(own, length), dtype)

    def one_short_group() -> ir.Value:
        fits = is_short(graph.op("ReduceMax", groups.lengths, keepdims=0))
        return graph.op("And", _only_one(graph, groups), fits, dtype=BOOL)

    return graph.either(
        graph.once("one_short_group", one_short_group),
        lambda: short(rows, groups.lengths),
        lambda: attend_each(graph, groups, rows, attended),
        dtype,
    )


def apart(graph: GraphBuilder, rows: ir.Value, length: ir.Value, width: int) -> ir.Value:
    """(rows of texts of one length, width) -> (texts, length, width)."""
    shape = graph.op("Concat", graph.numbers(-1), length, graph.numbers(width), axis=0)
    return graph.op("Reshape", rows, shape)


def flat(graph: GraphBuilder, values: ir.Value) -> ir.Value:
    """The same values in one dimension."""
    return graph.op("Reshape", values, graph.numbers(-1))


def nonzero(graph: GraphBuilder, values: ir.Value) -> ir.Value:
    """The flat positions of what is not 0, int64 (n,)."""
    return flat(graph, graph.op("NonZero", flat(graph, values), dtype=INT64))


def _only_one(graph: GraphBuilder, groups: Groups) -> ir.Value:
    """Whether all texts have one length: a bool scalar."""
    one = graph.constant("int64_1", np.int64(1))
    return graph.once("one_group", lambda: graph.op("Equal", groups.count, one, dtype=BOOL))
