"""int4 for small disks: weights of 4 bits in blocks of 32 columns, the table in int8.

ONNX Runtime's MatMulNBits multiplies them (accuracy level 4: it rounds activations to 8 bits in the
same blocks, each row by itself, where the CPU has a kernel for that, and multiplies in float32
elsewhere). The residual stream comes rotated and the MLP's product spread, as for int8. Four bits
lose far more than eight, so that the bar is lower and the runtime prefers every other precision.

A row never sees another, but whether its sums come in the same order alone and in a batch is the
kernel's choice. On x86 with AVX-512 VNNI they do, and a text's vector is the same to the last bit.
On AVX2 a single row has a kernel of its own, which differs by some 7e-7 in one product; the next
rounding of activations widens that. Such noise put into every product of a 30-layer model
(SmolLM2-135M) moved components of vectors of length 1 by up to 7e-3 (cosine 0.9998).
"""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph.builder import CONTRIB, FLOAT, GraphBuilder
from embedge_export.graph.layers import Activation, Linear, Table
from embedge_export.numbers.rounding import SMALLEST, compensate
from embedge_export.precision.integers import int8_rows, spread_out
from embedge_export.precision.precision import Operand, Precision

_Number = TypeVar("_Number", np.int8, np.float32)
BLOCK = 32  # columns with one scale, as MatMulNBits has them at the least that all kernels take
_LOWEST, _HIGHEST = np.float32(-8), np.float32(7)  # levels around the zero point 8
# What a block's largest value is divided by: less than 8 cuts off a little for finer steps.
_SHRINKS = np.linspace(1, 0.7, 7, dtype=np.float32)


class Int4(Precision):
    """See the module."""

    name = "int4"
    rotates = True
    calibrates = True
    cpu_only = True
    minimum_cosine = wanted_cosine = 0.95
    largest_difference = None
    batch_difference = 2e-2  # three times what the module tells of

    def embedding(self, graph: GraphBuilder, ids: ir.Value, table: Table) -> ir.Value:
        """See Precision."""
        return int8_rows(graph, ids, table)

    def prepare(
        self, graph: GraphBuilder, activation: Activation, readers: Sequence[Linear]
    ) -> Operand:
        """See Precision."""
        assert activation.scales is None  # the operator takes floats, so nobody has any
        if not activation.outliers:
            return Operand(activation.value)
        mixed, block = spread_out(graph, activation, readers[0].weight.shape[1])
        return Operand(mixed, block=block)

    def multiply(
        self, graph: GraphBuilder, operand: Operand, linear: Linear, *, scaled: bool = True
    ) -> ir.Value:
        """See Precision. float32 out."""
        name, shared = linear.name, linear.shared
        turned = linear.for_mixed_input(operand.block) if operand.block > 1 else linear
        size, width = turned.weight.shape

        @cache
        def rounded() -> tuple[NDArray[np.int8], NDArray[np.float32]]:
            return quantize(turned)

        y = graph.op(
            "MatMulNBits",
            operand.values,
            graph.weight(f"{name}.weight", lambda: pack_nibbles(rounded()[0]), shared=shared),
            graph.weight(f"{name}.scale", lambda: rounded()[1].reshape(-1), shared=shared),
            dtype=FLOAT,
            domain=CONTRIB,
            K=width,
            N=size,
            bits=4,
            block_size=BLOCK,
            accuracy_level=4,
        )
        if linear.bias is not None:
            y = graph.op("Add", y, graph.constant(f"{name}.bias", linear.bias))
        return y


def quantize(linear: Linear) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight's levels, -8 to 7, int8 (out, in), and its scales, float32 (out, blocks)."""
    weight = linear.weight
    width = weight.shape[1]
    importance = np.ones(width, np.float32)
    if linear.inputs is not None:
        importance = np.square(linear.inputs.rows).mean(axis=0)
    scale = _scales(weight, importance)
    each = np.repeat(scale, BLOCK, axis=1)[:, :width]
    # Blocks of zeros stay zeros, whatever levels the columns before them ask for.
    stored = np.where(np.abs(scale) <= SMALLEST, np.float32(0), scale)
    if linear.inputs is not None:
        levels = compensate(weight, each, linear.inputs, lowest=_LOWEST, highest=_HIGHEST)
        return levels, stored
    return np.clip(np.rint(weight / each), _LOWEST, _HIGHEST).astype(np.int8), stored


def pack_nibbles(levels: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Levels (out, in) as MatMulNBits takes them: uint8 (out, blocks, 16), low nibble first."""
    blocks = _blocks(levels) + np.int8(8)  # what fills the last block is the zero point
    pairs = blocks.astype(np.uint8).reshape(*blocks.shape[:2], BLOCK // 2, 2)
    return np.asarray(pairs[..., 0] | pairs[..., 1] << 4, np.uint8)


def _scales(weight: NDArray[np.float32], importance: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale a block, (out, blocks): of a few, that of the least error that inputs see.

    The value farthest from zero becomes level -8, whichever sign it has: scales may be negative.
    """
    blocks = _blocks(weight)
    seen = _blocks(importance[None])
    farthest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
    whole = farthest / _LOWEST
    whole = np.where(np.abs(whole) < SMALLEST, SMALLEST, whole)  # (out, blocks, 1)
    best, least = whole, np.full(whole.shape, np.inf, np.float32)
    for shrink in _SHRINKS:
        scale = whole * shrink
        levels = np.clip(np.rint(blocks / scale), _LOWEST, _HIGHEST)
        error = (np.square(levels * scale - blocks) * seen).sum(axis=2, keepdims=True)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return np.ascontiguousarray(best[..., 0], np.float32)


def _blocks(matrix: NDArray[_Number]) -> NDArray[_Number]:
    """(rows, columns) -> (rows, blocks, 32), zeros at the end of the last."""
    rest = -matrix.shape[1] % BLOCK
    return np.pad(matrix, ((0, 0), (0, rest))).reshape(len(matrix), -1, BLOCK)
