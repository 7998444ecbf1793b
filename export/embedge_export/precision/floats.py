"""fp32 and fp16: the weights as they are, transposed once for the product.

In fp16 only weights, products and attention are half precision. The residual stream and the
norms stay float32: massive activations pass 65,504 in some models, and an overflow that a norm
absorbs leaves finite, wrong numbers.
"""

import onnx_ir as ir

from embedge_export.graph import FLOAT, FLOAT16, GraphBuilder
from embedge_export.layers import Linear, Table, to_rows
from embedge_export.precision.base import Precision


class _Float(Precision):
    """Both float precisions; they differ in a dtype, the rotation and the bars."""

    _dtype: ir.DataType

    def embedding(self, graph: GraphBuilder, ids: ir.Value, table: Table) -> ir.Value:
        """See Precision."""
        dtype = self._dtype.numpy()
        stored = graph.weight(
            "embedding", lambda: table.read().astype(dtype, copy=False), shared=table.shared
        )
        rows = graph.op("Gather", stored, ids, axis=0)
        return graph.cast(to_rows(graph, rows, table.width), FLOAT)

    def linear(self, graph: GraphBuilder, x: ir.Value, linear: Linear) -> ir.Value:
        """See Precision."""
        dtype = self._dtype.numpy()
        weight = graph.weight(
            f"{linear.name}.weight", lambda: linear.weight.T.astype(dtype), shared=linear.shared
        )
        y = graph.op("MatMul", graph.cast(x, self._dtype), weight)
        if linear.bias is not None:
            y = graph.op("Add", y, graph.constant(f"{linear.name}.bias", linear.bias.astype(dtype)))
        return y


class Float32(_Float):
    """The reference precision: the same numbers as the checkpoint's own code."""

    name = "fp32"
    rotates = False
    minimum_cosine = 0.999999
    largest_difference = 1e-5
    batch_difference = 1e-6
    _dtype = FLOAT


class Float16(_Float):
    """Half precision for CUDA."""

    name = "fp16"
    rotates = True  # spreads massive activations, so that fewer digits are lost to them
    minimum_cosine = 0.9999
    largest_difference = None
    batch_difference = 1e-3
    _dtype = FLOAT16
