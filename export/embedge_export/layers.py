"""The shared vocabulary of graph pieces, on top of a precision.

Rows are tokens: between the pieces a batch of B texts padded to S tokens travels as float32
(B * S, width), the residual stream. A precision decides how a linear or a table is written;
here stands what is the same for all of them. Sources: RMSNorm arXiv 1910.07467, SwiGLU arXiv
2002.05202, grouped queries arXiv 2305.13245, rotary positions arXiv 2104.09864.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph import CONTRIB, FLOAT, INT32, INT64, GraphBuilder
from embedge_export.rotate import Rotation


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x W^T + b, in the layout of the checkpoint.

    Attributes:
        name: unique in the graph.
        weight: float32 (out, in).
        bias: float32 (out,), or None.
        shared: whether every task has these very values.
        spread: whether the input has outliers in fixed channels that no residual rotation
            reaches, so that integer precisions should spread them first.
    """

    name: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None = None
    shared: bool = False
    spread: bool = False

    def reading(self, gain: NDArray[np.float32], rotation: Rotation) -> "Linear":
        """The same function of a rotated stream, with the norm's gain folded in: W diag(g) Q."""
        return replace(self, weight=rotation.apply(self.weight * gain))

    def writing(self, rotation: Rotation) -> "Linear":
        """The same function with its output rotated: Q^T W, b Q."""
        weight = np.ascontiguousarray(rotation.apply(self.weight.T).T)
        bias = None if self.bias is None else rotation.apply(self.bias)
        return replace(self, weight=weight, bias=bias)


@dataclass(frozen=True, slots=True)
class Table:
    """An embedding table, read when it is first written.

    Attributes:
        width: of a row.
        read: gives float32 (vocabulary, width).
        shared: whether every task has these very values.
    """

    width: int
    read: Callable[[], NDArray[np.float32]]
    shared: bool


@dataclass(frozen=True, slots=True)
class TextInputs:
    """The graph's inputs and what every layer needs of them."""

    ids: ir.Value  # int64 (B, S)
    mask: ir.Value  # int64 (B, S)
    batch: ir.Value  # int64 (1,): B
    length: ir.Value  # int64 (1,): S
    last: ir.Value  # int32 (B,): valid tokens of each text less one
    row_shape: ir.Value  # int64 (3,): B, S, -1


def text_inputs(graph: GraphBuilder) -> TextInputs:
    """Declares input_ids and attention_mask."""
    ids = graph.input("input_ids", INT64, ("batch", "sequence"))
    mask = graph.input("attention_mask", INT64, ("batch", "sequence"))
    batch = graph.op("Shape", ids, dtype=INT64, start=0, end=1)
    length = graph.op("Shape", ids, dtype=INT64, start=1, end=2)
    valid = graph.op("ReduceSum", mask, graph.numbers(1), keepdims=0)
    return TextInputs(
        ids=ids,
        mask=mask,
        batch=batch,
        length=length,
        last=graph.cast(graph.op("Sub", valid, graph.numbers(1)), INT32),
        row_shape=graph.op("Concat", batch, length, graph.numbers(-1), axis=0),
    )


def to_rows(graph: GraphBuilder, value: ir.Value, width: int) -> ir.Value:
    """(…, width) -> (rows, width)."""
    return graph.op("Reshape", value, graph.numbers(-1, width))


def to_batch(graph: GraphBuilder, value: ir.Value, inputs: TextInputs) -> ir.Value:
    """(B * S, width) -> (B, S, width)."""
    return graph.op("Reshape", value, inputs.row_shape)


def gain_of(
    graph: GraphBuilder, name: str, gain: NDArray[np.float32] | None, width: int
) -> ir.Value:
    """The gain of a norm; one where it is folded into what follows."""
    if gain is None:
        return graph.constant(f"ones_{width}", np.ones(width, np.float32))
    return graph.constant(name, gain)


def rms_norm(graph: GraphBuilder, x: ir.Value, gain: ir.Value, epsilon: float) -> ir.Value:
    """Gives x / sqrt(mean(x^2) + epsilon) * gain over the last axis, float32 whatever x is."""
    return graph.op(
        "SimplifiedLayerNormalization", graph.cast(x, FLOAT), gain, axis=-1, epsilon=epsilon
    )


def add_and_norm(
    graph: GraphBuilder, stream: ir.Value, update: ir.Value, gain: ir.Value, epsilon: float
) -> tuple[ir.Value, ir.Value]:
    """The stream plus an update, and its norm: (normed, stream), both float32."""
    normed, _, _, added = graph.multi(
        "SkipSimplifiedLayerNormalization",
        (stream, graph.cast(update, FLOAT), gain),
        (FLOAT, None, None, FLOAT),
        domain=CONTRIB,
        epsilon=epsilon,
    )
    return normed, added


def head_norm(
    graph: GraphBuilder, x: ir.Value, gain: ir.Value, *, heads: int, head_dim: int, epsilon: float
) -> ir.Value:
    """RMSNorm over each head: (rows, heads * head_dim) -> the same shape and dtype."""
    normed = rms_norm(graph, to_rows(graph, x, head_dim), gain, epsilon)
    return to_rows(graph, graph.cast(normed, x.dtype or FLOAT), heads * head_dim)


def silu_gate(graph: GraphBuilder, gate_and_up: ir.Value, width: int) -> ir.Value:
    """silu(gate) * up, from both side by side: (rows, 2 * width) -> (rows, width)."""
    gate, up = graph.multi(
        "Split", (gate_and_up, graph.numbers(width, width)), (gate_and_up.dtype,) * 2, axis=-1
    )
    # QuickGelu with alpha 1 is x * sigmoid(x), in one pass over memory.
    return graph.op("Mul", graph.op("QuickGelu", gate, domain=CONTRIB, alpha=1.0), up)


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """Cosines and sines of every position, (positions, head_dim / 2)."""

    cosine: NDArray[np.float32]
    sine: NDArray[np.float32]


def rotary_tables(*, positions: int, head_dim: int, theta: float) -> RotaryTables:
    """Half-split rotary tables, the angles in float32 as the models' own code computes them."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = (1.0 / np.float32(theta) ** exponents).astype(np.float32)
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies)
    return RotaryTables(np.cos(angles), np.sin(angles))


def causal_attention(
    graph: GraphBuilder,
    inputs: TextInputs,
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    *,
    rotary: RotaryTables,
    heads: int,
    kv_heads: int,
) -> ir.Value:
    """Grouped-query attention with rotary positions, in memory linear in S.

    The operator counts a text's valid tokens from the left, so it takes right padding alone.

    Args:
        graph: where the nodes go.
        inputs: the graph's inputs.
        query: (rows, heads * head_dim).
        key: (rows, kv_heads * head_dim).
        value: as key.
        rotary: tables for every position.
        heads: query heads.
        kv_heads: key and value heads.

    Returns:
        (rows, heads * head_dim), of query's dtype.
    """
    dtype = query.dtype or FLOAT
    attended, *present = graph.multi(
        "GroupQueryAttention",
        (
            *(to_batch(graph, x, inputs) for x in (query, key, value)),
            None,
            None,
            inputs.last,
            graph.cast(inputs.length, INT32),
            graph.weight("rotary.cosine", lambda: rotary.cosine.astype(dtype.numpy()), shared=True),
            graph.weight("rotary.sine", lambda: rotary.sine.astype(dtype.numpy()), shared=True),
        ),
        # The present keys and values, (B, kv heads, S, head_dim), have to be named: ONNX Runtime
        # 1.23 refuses the node without them, and 1.28 to 1.31 work in blocks only with them.
        (dtype, dtype, dtype),
        domain=CONTRIB,
        num_heads=heads,
        kv_num_heads=kv_heads,
        do_rotary=1,
    )
    # It also keeps an output that nobody reads until the whole run ends: 8 kB a token and layer
    # here. So S is read off them, and each is freed at once.
    lengths = [graph.op("Shape", x, dtype=INT64, start=2, end=3) for x in present]
    rows = graph.op("Mul", inputs.batch, graph.op("Max", *lengths))
    return graph.op(
        "Reshape", attended, graph.op("Concat", rows, graph.numbers(-1), dtype=INT64, axis=0)
    )


def last_token(graph: GraphBuilder, inputs: TextInputs, rows: ir.Value) -> ir.Value:
    """The row of each text's largest position whose mask is 1: (B * S, width) -> (B, width)."""
    zero, one = (graph.constant(f"int64_{n}", np.int64(n)) for n in (0, 1))
    length = graph.op("Squeeze", inputs.length)
    positions = graph.op("Range", zero, length, one)
    last = graph.op(
        "ReduceMax", graph.op("Mul", inputs.mask, positions), graph.numbers(1), keepdims=0
    )
    starts = graph.op(
        "Mul", graph.op("Range", zero, graph.op("Squeeze", inputs.batch), one), length
    )
    return graph.op("Gather", rows, graph.op("Add", starts, last), axis=0)
