"""The shared vocabulary of graph pieces, on top of a precision.

Rows are tokens: between the pieces a batch travels as float32 (…, width), the residual stream, in
whichever shape attention.py keeps its rows, and no piece here looks from one row at another. A
precision decides how a linear or a table is written; here stands what is the same for all of them.
Sources: RMSNorm arXiv 1910.07467, SwiGLU arXiv 2002.05202.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph.builder import CONTRIB, FLOAT, GraphBuilder
from embedge_export.numbers.calibration import Inputs
from embedge_export.numbers.exact import product
from embedge_export.numbers.rotation import Rotation, rotate_blocks


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x W^T + b, in the layout of the checkpoint.

    Attributes:
        name: unique in the graph.
        weight: float32 (out, in).
        bias: float32 (out,), or None.
        shared: whether every task has these very values.
        inputs: rows that it reads on the calibration texts, where a precision wants to see them.
    """

    name: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None = None
    shared: bool = False
    inputs: Inputs | None = None

    def absorbing_norm(
        self, gain: NDArray[np.float32], bias: NDArray[np.float32] | None = None
    ) -> "Linear":
        """The same function of a norm's rows without its gain and bias: W diag(g), c + W b."""
        own = self.bias
        if bias is not None:
            added = product(self.weight, bias[None])[:, 0]
            own = added if own is None else own + added
        inputs = None if self.inputs is None else self.inputs.unnormed(gain, bias)
        return replace(self, weight=self.weight * gain, bias=own, inputs=inputs)

    def for_rotated_input(self, rotation: Rotation) -> "Linear":
        """The same function of a rotated stream: W Q."""
        inputs = None if self.inputs is None else self.inputs.rotated(rotation)
        return replace(self, weight=rotation.apply(self.weight), inputs=inputs)

    def with_rotated_output(self, rotation: Rotation) -> "Linear":
        """The same function with its output rotated: Q^T W, b Q."""
        return self._output(rotation.apply)

    def for_mixed_input(self, block: int) -> "Linear":
        """The same function of an input whose blocks are multiplied by a Hadamard matrix."""
        inputs = None if self.inputs is None else self.inputs.blocks(block)
        return replace(self, weight=rotate_blocks(self.weight, block), inputs=inputs)

    def with_mixed_output(self, block: int) -> "Linear":
        """The same function with blocks of its output multiplied by a Hadamard matrix."""
        return self._output(lambda x: rotate_blocks(x, block))

    def _output(self, turn: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> "Linear":
        weight = np.ascontiguousarray(turn(np.ascontiguousarray(self.weight.T)).T)
        return replace(self, weight=weight, bias=None if self.bias is None else turn(self.bias))


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
class Rows:
    """In which shape a batch keeps its rows.

    Attributes:
        axes: how many axes stand before the last one, the width.
        column: int64 (axes + 1,), the shape of one number for each row: (…, 1).
    """

    axes: int
    column: ir.Value

    def apart(self, graph: GraphBuilder, *sizes: int) -> ir.Value:
        """The shape that cuts each row into pieces, for Reshape; a 0 keeps an axis."""
        return graph.numbers(*(0,) * self.axes, *sizes)


@dataclass(frozen=True, slots=True)
class Activation:
    """Rows that linears read.

    Attributes:
        value: (…, width).
        rows: their shape.
        outliers: whether fixed channels have outliers that no rotation folded into weights reaches,
            so that integer precisions should spread them first.
        scales: what `value` is still to be multiplied by, float32 (…, 1); None for 1.
    """

    value: ir.Value
    rows: Rows
    outliers: bool = False
    scales: ir.Value | None = None


def gain_of(
    graph: GraphBuilder, name: str, gain: NDArray[np.float32] | None, width: int
) -> ir.Value:
    """The gain of a norm; one where it is folded into what follows."""
    if gain is None:
        return graph.constant(f"ones_{width}", np.ones(width, np.float32))
    return graph.constant(name, gain)


def rms_norm(graph: GraphBuilder, x: ir.Value, gain: ir.Value, epsilon: float) -> ir.Value:
    """Gives x / sqrt(mean(x^2) + epsilon) * gain over the last axis.

    In the gain's dtype whatever x is; sums are float32.
    """
    x = graph.cast(x, gain.dtype or FLOAT)
    return graph.op("SimplifiedLayerNormalization", x, gain, axis=-1, epsilon=epsilon)


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
    graph: GraphBuilder,
    x: ir.Value,
    gain: NDArray[np.float32],
    *,
    name: str,
    rows: Rows,
    heads: int,
    head_dim: int,
    epsilon: float,
) -> ir.Value:
    """RMSNorm over each head: (…, heads * head_dim) -> the same shape and dtype.

    `name` is the gain's in the graph.
    """
    kind = (x.dtype or FLOAT).numpy()
    value = graph.constant(name, gain.astype(kind))
    apart = graph.op("Reshape", x, rows.apart(graph, heads, head_dim))
    normed = rms_norm(graph, apart, value, epsilon)
    return graph.op("Reshape", normed, rows.apart(graph, -1))


def silu(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """Gives x * sigmoid(x), as QuickGelu with alpha 1: one pass over memory."""
    return graph.op("QuickGelu", x, domain=CONTRIB, alpha=1.0)


def layer_norm(
    graph: GraphBuilder, x: ir.Value, gain: ir.Value, bias: ir.Value | None, epsilon: float
) -> ir.Value:
    """LayerNorm over the last axis, in the dtype of its gain whatever x is; sums are float32."""
    weights = (gain,) if bias is None else (gain, bias)
    x = graph.cast(x, gain.dtype or FLOAT)
    return graph.op("LayerNormalization", x, *weights, axis=-1, epsilon=epsilon)


def gelu(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    """The exact one: x times the normal distribution's share below x."""
    return graph.op("Gelu", x, domain=CONTRIB)
