"""What every precision provides."""

from typing import Protocol

import onnx_ir as ir

from embedge_export.graph import GraphBuilder
from embedge_export.layers import Linear, Table


class Precision(Protocol):
    """How weights are stored and multiplied.

    Attributes:
        name: as in the manifest.
        rotates: whether the residual stream is rotated first (rotate.py).
        minimum_cosine: the bar: the lowest cosine to the reference over the gate's texts.
        largest_difference: the bar: the largest difference of any component of a vector of
            length 1, or None.
        batch_difference: the bar: how far a text's vector may be from its own in a batch. Float
            kernels may sum in another order, integer ones may not.
    """

    name: str
    rotates: bool
    minimum_cosine: float
    largest_difference: float | None
    batch_difference: float

    def embedding(self, graph: GraphBuilder, ids: ir.Value, table: Table) -> ir.Value:
        """The table's rows: ids (B, S) -> float32 (B * S, width)."""
        ...

    def linear(self, graph: GraphBuilder, x: ir.Value, linear: Linear) -> ir.Value:
        """(rows, in) -> (rows, out), in the dtype that this precision computes attention in."""
        ...
