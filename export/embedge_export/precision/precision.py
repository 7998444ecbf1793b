"""What every precision provides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import onnx_ir as ir

from embedge_export.graph.builder import FLOAT, GraphBuilder
from embedge_export.graph.layers import Activation, Linear, Table


@dataclass(frozen=True, slots=True)
class Operand:
    """Rows made ready to be multiplied, by as many linears as read them.

    Attributes:
        values: (…, width), in whatever a precision multiplies.
        scales: float32 (…, 1), what each row's products have to be multiplied by; None for 1.
        block: the rows' blocks of this size were multiplied by a Hadamard matrix; 1 if not.
    """

    values: ir.Value
    scales: ir.Value | None = None
    block: int = 1


class Precision(Protocol):
    """How weights are stored and multiplied.

    Attributes:
        name: as in the manifest.
        rotates: whether the residual stream is rotated first (rotation.py).
        calibrates: whether it wants to see what each linear reads (calibration.py).
        minimum_cosine: the bar: the lowest cosine to the reference over the gate's texts.
        wanted_cosine: the bar with a margin, for texts that the gate does not see and other CPUs:
            below it, what can be had at little cost is taken.
        largest_difference: the bar: the largest difference of any component of a vector of
            length 1, or None.
        batch_difference: the bar: how far a text's vector may be from its own in a batch. Float
            kernels may sum in another order, integer ones may not.
        cpu_only: whether its graphs run on CPUs alone, so that attention may be an operator which
            other devices lack.
        head: how matrices behind the pooling are stored, where there is one row a text.
        norms: the dtype of a norm's rows between two products, where gain and bias are folded away.
        aligned: whether its products are quick only where widths are multiples of 8.
    """

    name: ClassVar[str]
    rotates: ClassVar[bool]
    calibrates: ClassVar[bool]
    minimum_cosine: ClassVar[float]
    wanted_cosine: ClassVar[float]
    largest_difference: ClassVar[float | None]
    batch_difference: ClassVar[float]
    cpu_only: ClassVar[bool] = False
    head: ClassVar[ir.DataType] = FLOAT
    norms: ClassVar[ir.DataType] = FLOAT
    aligned: ClassVar[bool] = False

    def embedding(self, graph: GraphBuilder, ids: ir.Value, table: Table) -> ir.Value:
        """The table's rows: int64 ids (…) -> float32 (…, width)."""
        ...

    def prepare(
        self, graph: GraphBuilder, activation: Activation, readers: Sequence[Linear]
    ) -> Operand:
        """Makes rows ready to be multiplied by `readers`."""
        ...

    def multiply(
        self, graph: GraphBuilder, operand: Operand, linear: Linear, *, scaled: bool = True
    ) -> ir.Value:
        """(…, in) -> (…, out), in the dtype that this precision computes attention in.

        With `scaled` false, the operand's scales are left out of the product, which must have no
        bias: for what divides by a row's size anyway, or is multiplied by the scales later.
        """
        ...

    def balance(self, up: Linear, down: Linear) -> tuple[Linear, Linear]:
        """The two halves of a SwiGLU with a factor moved between them, the same function.

        What stands between them is linear in `up`: silu(gate) * up, which `down` reads.
        """
        return up, down


@runtime_checkable
class Refinable(Precision, Protocol):
    """A precision that can keep linears in a finer form, and notes what each of them loses."""

    def keeping(self, names: Sequence[str], *, floats: Sequence[str] = ()) -> "Refinable":
        """This precision with these linears in a finer form.

        Args:
            names: of linears; `sensitivity.TABLE` for the table.
            floats: those of them that are kept in float32, where all that read the same rows are.
        """
        ...
