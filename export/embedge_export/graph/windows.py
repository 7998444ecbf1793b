"""Attention of a token to those near it alone, in work and memory linear in a text's length.

Takes queries, keys and values of texts of one padded length, already turned by their positions.
There are three ways, chosen at run time by that length. Texts that the window covers need nothing.
Somewhat longer ones add a number to every score, which hides what is too far. Long ones are cut
into blocks as long as the window reaches: the queries of a block see the keys of three, the one
before, their own and the one after, again with a number added.

Milliseconds of one layer of 12 heads of 64 that reaches 64 tokens, alone on 2 threads (ONNX Runtime
1.32, CPU), with all scores and in blocks: 0.4 and 0.8 at 128 tokens, 8.1 and 7.9 at 512, 116 and 32
at 2,048. At 8,192 blocks take 130, and attention to the whole text takes 1,100. Blocks of twice the
length are no faster. Source: ModernBERT, arXiv 2412.13663.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph.attention import Window
from embedge_export.graph.builder import BOOL, FLOAT, INT64, GraphBuilder
from embedge_export.graph.distances import distance_bias, first_distances
from embedge_export.graph.multi_head import Attend

_HIDDEN = -3e4  # added to a score of what is not seen: its exponential is 0, and float16 holds it
# Up to how many times the reach a text's scores are all computed.
_SQUARE = 8

Rows = tuple[ir.Value, ir.Value, ir.Value]


def window_bytes(*, reach: int, heads: int, hidden: int) -> int:
    """What this attention takes of memory for each token, beside what any other takes.

    Either all scores of a text, or those of three blocks, with keys and values three times over and
    that twice: joined, and as the operator lays them out. Runs of ModernBERT-base's sizes were
    measured to take 62 kB a token with texts of 512 tokens, and 85 kB with longer ones; this and
    the MLP's share are 92 kB.

    Args:
        reach: of the window, in tokens.
        heads: of a layer.
        hidden: width of a row.
    """
    square = _SQUARE * reach * heads
    blocks = 3 * reach * heads + 3 * 2 * 2 * hidden
    return 4 * max(square, blocks)


def band(graph: GraphBuilder, window: Window, longest: ir.Value) -> ir.Value:
    """What is added to the scores of texts up to `_SQUARE` times the reach: float32 (1, 1, S, S).

    Args:
        graph: where the nodes go.
        window: which distances are seen.
        longest: int64 (1,), tokens of the longest text.
    """
    most = _SQUARE * window.reach
    line = _hidden(np.abs(np.arange(-most, most)) > window.reach)
    return distance_bias(graph, line[None], graph.op("Min", longest, graph.numbers(most)))


def attend_near(
    graph: GraphBuilder,
    attend: Attend,
    rows: Rows,
    *,
    window: Window,
    length: ir.Value,
    near: ir.Value,
) -> ir.Value:
    """Attention of texts that all have one length: three times (texts, length, width) -> the same.

    Args:
        graph: where the nodes go.
        attend: the operator.
        rows: queries, keys and values.
        window: which distances are seen.
        length: int64 (1,).
        near: what `band` gave.
    """
    dtype = rows[0].dtype or FLOAT

    def longer() -> ir.Value:
        return graph.either(
            _up_to(graph, length, _SQUARE * window.reach),
            lambda: attend(*rows, bias=first_distances(graph, near, length)),
            lambda: attend_in_blocks(graph, attend, rows, window=window, lengths=length),
            dtype,
        )

    covered = _up_to(graph, length, window.reach + 1)
    return graph.either(covered, lambda: attend(*rows), longer, dtype)


def attend_padded(
    graph: GraphBuilder,
    attend: Attend,
    rows: Rows,
    *,
    window: Window,
    lengths: ir.Value,
    valid: ir.Value,
) -> ir.Value:
    """Attention of padded texts, in one operator: three times (texts, S, width) -> the same.

    Args:
        graph: where the nodes go.
        attend: the operator.
        rows: queries, keys and values.
        window: which distances are seen.
        lengths: int64 (texts,), the first tokens of S that a text has.
        valid: the same, in the form that the operator takes.
    """
    size = graph.op("Shape", rows[0], dtype=INT64, start=1, end=2)
    return graph.either(
        _up_to(graph, size, window.reach + 1),
        lambda: attend(*rows, valid=valid),
        lambda: attend_in_blocks(graph, attend, rows, window=window, lengths=lengths),
        rows[0].dtype or FLOAT,
    )


def attend_in_blocks(
    graph: GraphBuilder, attend: Attend, rows: Rows, *, window: Window, lengths: ir.Value
) -> ir.Value:
    """Attention within blocks: three times (texts, S, width) -> the same.

    Args:
        graph: where the nodes go.
        attend: the operator.
        rows: queries, keys and values.
        window: which distances are seen; its reach is a block's length.
        lengths: int64 (texts,), or (1,) for all: the first tokens of S that a text has.
    """
    query, key, value = rows
    reach = window.reach
    one, reaching = graph.numbers(1), graph.numbers(reach)
    texts = graph.op("Shape", query, dtype=INT64, start=0, end=1)
    size = graph.op("Shape", query, dtype=INT64, start=1, end=2)
    width = graph.op("Shape", query, dtype=INT64, start=2, end=3)
    count = graph.op("Div", graph.op("Add", size, graph.numbers(reach - 1)), reaching)
    rest = graph.op("Sub", graph.op("Mul", count, reaching), size)

    def shape(*sizes: ir.Value) -> ir.Value:
        return graph.op("Concat", *sizes, axis=0)

    def blocks(x: ir.Value, before: ir.Value, after: ir.Value) -> ir.Value:
        """(texts, S, width) with zeros around it -> (texts, blocks, reach, width)."""
        around = shape(graph.numbers(0), before, graph.numbers(0, 0), after, graph.numbers(0))
        longer = graph.op("Pad", x, around)
        return graph.op("Reshape", longer, shape(texts, graph.numbers(-1), reaching, width))

    def threes(x: ir.Value) -> ir.Value:
        """The three blocks that each block of queries sees: (texts * blocks, 3 * reach, width)."""
        all_blocks = blocks(x, reaching, graph.op("Add", rest, reaching))
        parts = [
            graph.op("Slice", all_blocks, graph.numbers(start), graph.op("Add", count, end), one)
            for start, end in ((n, graph.numbers(n)) for n in range(3))
        ]
        seen = graph.op("Concat", *parts, axis=2)
        return graph.op("Reshape", seen, shape(graph.numbers(-1, 3 * reach), width))

    cut = graph.op(
        "Reshape", blocks(query, graph.numbers(0), rest), shape(graph.numbers(-1, reach), width)
    )
    bias = _block_bias(graph, window, texts, count, lengths, query.dtype or FLOAT)
    attended = attend(cut, threes(key), threes(value), bias=bias)
    joined = graph.op("Reshape", attended, shape(texts, graph.numbers(-1), width))
    return graph.op("Slice", joined, graph.numbers(0), size, one)


def _up_to(graph: GraphBuilder, length: ir.Value, most: int) -> ir.Value:
    """Whether a length, int64 (1,), is at most this: a bool scalar."""
    limit = graph.constant(f"int64_{most}", np.int64(most))
    return graph.op("LessOrEqual", graph.op("Squeeze", length), limit, dtype=BOOL)


def _block_bias(
    graph: GraphBuilder,
    window: Window,
    texts: ir.Value,
    count: ir.Value,
    lengths: ir.Value,
    dtype: ir.DataType,
) -> ir.Value:
    """Hides keys that are too far, and those of no token: (texts * blocks, 1, reach, 3 * reach)."""
    reach = window.reach
    keys = np.arange(3 * reach) - reach  # places, counted from the block's first query
    far = np.abs(np.arange(reach)[:, None] - keys) > reach
    zero, one = (graph.constant(f"int64_{n}", np.int64(n)) for n in (0, 1))
    numbers = graph.op("Range", zero, graph.op("Squeeze", count), one)
    firsts = graph.op("Mul", numbers, graph.numbers(reach))  # (blocks,)
    places = graph.op(
        "Add", graph.op("Unsqueeze", firsts, graph.numbers(1)), graph.constant("near_keys", keys)
    )  # (blocks, 3 * reach)
    ends = graph.op("Unsqueeze", lengths, graph.numbers(1, 2))
    inside = graph.op(
        "And",
        graph.op("GreaterOrEqual", places, zero, dtype=BOOL),
        graph.op("Less", places, ends, dtype=BOOL),
    )  # (texts or 1, blocks, 3 * reach)
    values = (np.zeros((), np.float32), _hidden(np.ones((), bool)))
    seen, hidden = (
        graph.constant(f"{name}.{dtype.name.lower()}", value.astype(dtype.numpy()))
        for name, value in zip(("seen", "hidden"), values, strict=True)
    )
    edges = graph.op("Where", inside, seen, hidden, dtype=dtype)
    near = graph.constant(f"near.{dtype.name.lower()}", _hidden(far).astype(dtype.numpy()))
    bias = graph.op("Min", graph.op("Unsqueeze", edges, graph.numbers(2)), near)
    whole = graph.op("Concat", texts, count, graph.numbers(reach, 3 * reach), axis=0)
    bias = graph.op("Expand", bias, whole)
    return graph.op("Reshape", bias, graph.numbers(-1, 1, reach, 3 * reach))


def _hidden(where: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(where, np.float32(_HIDDEN), np.float32(0))
