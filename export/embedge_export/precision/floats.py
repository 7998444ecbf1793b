"""fp32 and fp16: the weights as they are, transposed once for the product.

In fp16 only weights, products and attention are half precision. The residual stream and the
norms stay float32: massive activations pass 65,504 in some models, and an overflow that a norm
absorbs leaves finite, wrong numbers.
"""

from collections.abc import Sequence

import onnx_ir as ir

from embedge_export.graph import FLOAT, FLOAT16, GraphBuilder
from embedge_export.layers import Linear, Rows, Table
from embedge_export.precision.base import Operand, Precision


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

    def operand(
        self,
        graph: GraphBuilder,
        x: ir.Value,
        *,
        readers: Sequence[Linear],
        rows: Rows,
        spread: bool = False,
        scales: ir.Value | None = None,
    ) -> Operand:
        """See Precision."""
        assert scales is None  # floats need none, so nobody has any
        return Operand(graph.cast(x, self._dtype))

    def linear(
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

    def keeping(self, names: Sequence[str]) -> Precision:
        """See Precision. Floats note no losses."""
        raise NotImplementedError


class Float32(_Float):
    """The reference precision: the same numbers as the checkpoint's own code."""

    name = "fp32"
    rotates = False
    samples = False
    minimum_cosine = 0.999999
    largest_difference = 1e-5
    batch_difference = 1e-6
    _dtype = FLOAT


class Float16(_Float):
    """Half precision for CUDA."""

    name = "fp16"
    samples = False
    rotates = True  # spreads massive activations, so that fewer digits are lost to them
    minimum_cosine = 0.9999
    largest_difference = None
    batch_difference = 1e-3
    _dtype = FLOAT16
