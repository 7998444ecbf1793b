"""The operator of an encoder's attention, and what is done to its rows before.

Takes queries, keys and values of texts of one padded length, each (texts, length, heads * width).
Sources: grouped queries arXiv 2305.13245, rotary positions arXiv 2104.09864.
"""

from typing import Protocol

import onnx_ir as ir

from embedge_export.graph.attention import Heads, RotaryTables, rotary_weights
from embedge_export.graph.builder import CONTRIB, FLOAT, GraphBuilder


class Attend(Protocol):
    """The operator in a graph: (texts, queries, width) and two of (texts, keys, width)."""

    def __call__(
        self,
        query: ir.Value,
        key: ir.Value,
        value: ir.Value,
        *,
        valid: ir.Value | None = None,
        bias: ir.Value | None = None,
    ) -> ir.Value:
        """See `attend`."""
        ...


def attend(
    graph: GraphBuilder,
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    *,
    heads: int,
    valid: ir.Value | None = None,
    bias: ir.Value | None = None,
) -> ir.Value:
    """Attention: (texts, queries, width) and two of (texts, keys, width) -> as the first.

    Args:
        graph: where to.
        query: rows that ask.
        key: rows that are asked.
        value: what they answer.
        heads: how many each row is cut into.
        valid: int32, which keys count, in one of the forms that the operator takes.
        bias: added to the scores, (1 or texts, 1 or heads, queries, keys).
    """
    return graph.op(
        "MultiHeadAttention",
        *(query, key, value, None, valid, *(() if bias is None else (bias,))),
        domain=CONTRIB,
        num_heads=heads,
    )


def turn(
    graph: GraphBuilder, query: ir.Value, key: ir.Value, rotary: RotaryTables
) -> tuple[ir.Value, ir.Value]:
    """Queries and keys turned by their positions, which begin at 0."""
    tables = rotary_weights(graph, rotary, query.dtype or FLOAT)
    query, key = (
        graph.op("RotaryEmbedding", x, graph.numbers(0), *tables, domain=CONTRIB)
        for x in (query, key)
    )
    return query, key


def repeat_heads(graph: GraphBuilder, x: ir.Value, heads: Heads) -> ir.Value:
    """Repeats key or value heads: (rows, key heads * width) -> (rows, query heads * width)."""
    times = heads.query // heads.key_value
    if times == 1:
        return x
    apart = graph.op("Reshape", x, graph.numbers(-1, heads.key_value, 1, heads.width))
    repeated = graph.op("Expand", apart, graph.numbers(1, 1, times, 1))
    return graph.op("Reshape", repeated, graph.numbers(-1, heads.query * heads.width))
