"""The shared vocabulary of graph pieces, on top of a precision.

Rows are tokens: between the pieces a batch travels as float32 (rows, width), the residual stream,
and no piece here looks from one row at another (attention.py does). A precision decides how a
linear or a table is written; here stands what is the same for all of them. Sources: RMSNorm arXiv
1910.07467, SwiGLU arXiv 2002.05202.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph import CONTRIB, FLOAT, GraphBuilder
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


def to_rows(graph: GraphBuilder, value: ir.Value, width: int) -> ir.Value:
    """(…, width) -> (rows, width)."""
    return graph.op("Reshape", value, graph.numbers(-1, width))


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


def layer_norm(
    graph: GraphBuilder, x: ir.Value, gain: ir.Value, bias: ir.Value, epsilon: float
) -> ir.Value:
    """LayerNorm over the last axis, float32 whatever x is."""
    return graph.op(
        "LayerNormalization", graph.cast(x, FLOAT), gain, bias, axis=-1, epsilon=epsilon
    )


def gelu(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """The exact one: x times the normal distribution's share below x."""
    return graph.op("Gelu", x, domain=CONTRIB)
