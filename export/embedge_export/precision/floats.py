"""fp32 and fp16: the weights as they are, transposed once for the product.

In fp16 only weights, products and attention are half precision. The residual stream and the
norms stay float32: massive activations pass 65,504 in some models, and an overflow that a norm
absorbs leaves finite, wrong numbers. SwiGLU's products tower as well, where no rotation reaches:
there a power of two is moved from the weights before them to those after.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from embedge_export.graph.builder import FLOAT, FLOAT16, GraphBuilder
from embedge_export.graph.layers import Activation, Linear, Table
from embedge_export.numbers.calibration import Inputs
from embedge_export.precision.precision import Operand, Precision

_LARGEST = float(np.finfo(np.float16).max)  # 65,504
_HEADROOM = 16  # how far a text may go beyond the largest value of the sample rows


class _Float(Precision):
    """Both float precisions; they differ in a dtype, the rotation and the bars."""

    _dtype: ir.DataType

    def embedding(self, graph: GraphBuilder, ids: ir.Value, table: Table) -> ir.Value:
        """See Precision."""
        dtype = self._dtype.numpy()
        stored = graph.weight(
            "embedding", lambda: table.read().astype(dtype, copy=False), shared=table.shared
        )
        return graph.cast(graph.op("Gather", stored, ids, axis=0), FLOAT)

    def prepare(
        self, graph: GraphBuilder, activation: Activation, readers: Sequence[Linear]
    ) -> Operand:
        """See Precision."""
        assert activation.scales is None  # floats need none, so nobody has any
        return Operand(graph.cast(activation.value, self._dtype))

    def multiply(
        self, graph: GraphBuilder, operand: Operand, linear: Linear, *, scaled: bool = True
    ) -> ir.Value:
        """See Precision."""
        dtype = self._dtype.numpy()
        weight = graph.weight(
            f"{linear.name}.weight", lambda: linear.weight.T.astype(dtype), shared=linear.shared
        )
        y = graph.op("MatMul", operand.values, weight)
        if linear.bias is not None:
            y = graph.op("Add", y, graph.constant(f"{linear.name}.bias", linear.bias.astype(dtype)))
        return y


class Float32(_Float):
    """The reference precision: the same numbers as the checkpoint's own code."""

    name = "fp32"
    rotates = False
    calibrates = False
    minimum_cosine = wanted_cosine = 0.999999
    largest_difference = 1e-5
    batch_difference = 1e-6
    _dtype = FLOAT


class Float16(_Float):
    """Half precision for CUDA."""

    name = "fp16"
    calibrates = True
    rotates = True  # spreads massive activations, so that fewer digits are lost to them
    minimum_cosine = wanted_cosine = 0.9999
    largest_difference = None
    batch_difference = 1e-3
    head = norms = _dtype = FLOAT16
    aligned = True  # a GPU's products read 16 bytes at a time

    def balance(self, up: Linear, down: Linear) -> tuple[Linear, Linear]:
        """See Precision. Afterwards the sample rows leave room below 65,504.

        A power of two costs no digits, except where a weight of `up` falls below 2^-14: so it is
        the smallest that helps, and none where none is needed.
        """
        if down.inputs is None:
            return up, down
        product, weight = (float(np.abs(x).max()) for x in (down.inputs.rows, down.weight))
        if product * _HEADROOM <= _LARGEST or weight == 0:
            return up, down
        wanted = math.ceil(math.log2(product * _HEADROOM / _LARGEST))
        exponent = min(wanted, math.floor(math.log2(_LARGEST / weight)))
        if exponent <= 0:
            return up, down
        factor = np.float32(2.0**exponent)
        bias = None if up.bias is None else up.bias / factor
        # Tasks share what has the same factor: their sample rows may ask for different ones.
        return (
            replace(up, name=f"{up.name}.less_{exponent}", weight=up.weight / factor, bias=bias),
            replace(
                down,
                name=f"{down.name}.more_{exponent}",
                weight=down.weight * factor,
                inputs=Inputs(down.inputs.rows / factor),
            ),
        )
