"""Two operators of attention, and what is done to their rows before.

They take queries, keys and values of texts of one padded length, each (texts, length, heads *
width). `attend` is ONNX Runtime's own: it has kernels on every device, works in blocks without a
mask, and takes the valid keys. `attend_squarely` is the standard's: on a CPU it holds all scores,
and is quicker with short texts. Sources: grouped queries arXiv 2305.13245, rotary positions arXiv
2104.09864, ONNX's operators Attention (opset 23) and com.microsoft.MultiHeadAttention.
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


def attend_squarely(
    graph: GraphBuilder,
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    *,
    heads: Heads,
    seen: ir.Value | None = None,
) -> ir.Value:
    """Attention with all scores in memory: rows as in `attend`, but key heads are not repeated.

    Args:
        graph: where to.
        query: rows that ask.
        key: rows that are asked.
        value: what they answer.
        heads: their shape.
        seen: which keys a query sees, bool (queries, keys); None: all.

    Milliseconds of one layer on 2 threads of a Zen 5, ONNX Runtime 1.32, the other
    operators' time before: a decoder's 16 heads of 128 with 8 of the keys, rotary positions
    included, 4.2 and 2.1 for 16 texts of 64 tokens, 2.4 and 1.5 for 4 of 128, 7.0 and 6.4 for one
    of 512; an encoder's 12 heads of 64 0.53 and 0.31 for 8 texts of 64 tokens, 1.3 and 1.1 for 2 of
    256, 8.8 and 10.4 for one of 1,024.
    """
    return graph.op(
        "Attention",
        *(query, key, value, *(() if seen is None else (seen,))),
        q_num_heads=heads.query,
        kv_num_heads=heads.key_value,
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
