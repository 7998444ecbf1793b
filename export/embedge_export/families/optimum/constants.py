"""What the constants of a traced graph are: which weight of the network each one is.

Tracing renames weights and turns matrices, so that a constant is known by its content alone. Takes
the network, with a task's weights in it, and its traced graph; gives linears and the table as the
writers of precisions take them. Knows no precision.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph.layers import Linear, Table
from embedge_export.numbers.calibration import CalibrationRows, Inputs

if TYPE_CHECKING:
    from embedge_export.families.optimum.network import Network

IDS = "input_ids"


@dataclass(frozen=True, slots=True)
class _Product:
    """Rows times a constant matrix, and the addition of a constant row behind it.

    Attributes:
        matrix: (in, out); (out, in) if it is turned.
        bias: (out,), or None.
        addition: the node that adds it, where it is another one.
    """

    matrix: ir.Value
    turned: bool
    bias: ir.Value | None
    addition: ir.Node | None


class Constants:
    """See the module.

    Attributes:
        graph: the traced one.

    Args:
        network: with the task's weights in it, for as long as this is made.
        graph: traced of it.
        adapted: whether a weight differs between tasks, by its key.
        samples: rows that linears read.
    """

    def __init__(
        self,
        network: "Network",
        graph: ir.Graph,
        adapted: Callable[[str], bool],
        samples: CalibrationRows,
    ) -> None:
        self.graph = graph
        self._names = network.names
        self._adapted = adapted
        self._no_adapters = not any(map(adapted, network.weights.keys()))
        self._samples = samples
        self._inputs: dict[int, Inputs] = {}  # by the rows' id
        self._keys: dict[bytes, str] = {}
        for key, tensor in network.module.state_dict().items():
            if key in network.names and tensor.ndim:
                values = tensor.numpy()
                self._keys.setdefault(_digest(values), key)
                if values.ndim == 2:
                    self._keys.setdefault(_digest(values.T), key)
        self._digests = {
            value: _digest(array(value)) for value in graph.initializers.values() if value.shape
        }
        table = _digest(network.table.weight.detach().numpy())
        self._tables = {value for value, digest in self._digests.items() if digest == table}
        self._products = {n: found for n in graph if (found := _product(n)) is not None}
        self._additions = {found.addition for found in self._products.values()}

    @property
    def count(self) -> int:
        """How many products there are."""
        return len(self._products)

    def is_bias(self, node: ir.Node) -> bool:
        """Whether a node adds what is a product's bias already."""
        return node in self._additions

    def is_table(self, node: ir.Node) -> bool:
        """Whether a node looks tokens up in the network's table."""
        if node.op_type != "Gather" or node.attributes.get_int("axis", 0) != 0:
            return False
        table, ids = node.inputs
        return table in self._tables and ids is not None and ids.name == IDS

    def result(self, node: ir.Node) -> ir.Value | None:
        """What a product gives, its bias added; None if the node is none."""
        found = self._products.get(node)
        if found is None:
            return None
        return (found.addition or node).outputs[0]

    def readers(self, value: ir.Value) -> list[ir.Node]:
        """The products that read a value, in the graph's order."""
        return [node for node in self._products if node.inputs[0] is value]

    def linear(self, node: ir.Node) -> Linear:
        """A product's weight and bias, with the rows that it reads."""
        found = self._products[node]
        matrix = array(found.matrix)
        weight = np.ascontiguousarray(matrix if found.turned else matrix.T, np.float32)
        name, shared = self.name(found.matrix)
        rows = self._samples.get(f"{name}.weight")
        inputs = None
        if rows is not None and rows.shape[1] == weight.shape[1]:
            inputs = self._inputs.setdefault(id(rows), Inputs(rows))
        bias = None if found.bias is None else array(found.bias).astype(np.float32).reshape(-1)
        return Linear(name, weight, bias, shared, inputs)

    def table(self, node: ir.Node) -> Table:
        """The table that a node looks tokens up in."""
        value = node.inputs[0]
        assert value is not None
        rows = array(value)
        return Table(rows.shape[1], lambda: rows.astype(np.float32), self.name(value)[1])

    def name(self, value: ir.Value) -> tuple[str, bool]:
        """What a large constant is called, and whether every task has it."""
        digest = self._digests.get(value) or _digest(array(value))
        key = self._keys.get(digest)
        if key is None:  # folded of several while tracing
            return f"constant.{digest.hex()[:16]}", self._no_adapters
        return self._names[key], self._no_adapters or not self._adapted(key)


def array(value: ir.Value) -> NDArray[Any]:
    """The values of a constant."""
    assert value.const_value is not None
    return value.const_value.numpy()


def _product(node: ir.Node) -> _Product | None:
    """A node that multiplies rows by a constant matrix of floats, as Linear layers do."""
    if node.op_type not in ("MatMul", "Gemm") or node.domain:
        return None
    matrix = node.inputs[1]
    if matrix is None or not _is_constant(matrix) or len(array(matrix).shape) != 2:
        return None
    if array(matrix).dtype != np.float32 or _is_constant(node.inputs[0]):
        return None
    if node.op_type == "Gemm":
        about = node.attributes
        plain = about.get_float("alpha", 1.0) == about.get_float("beta", 1.0) == 1.0
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        fits = bias is None or (_is_constant(bias) and array(bias).ndim == 1)
        if about.get_int("transA", 0) or not plain or not fits:
            return None
        return _Product(matrix, bool(about.get_int("transB", 0)), bias, None)
    uses = node.outputs[0].uses()
    if len(uses) == 1 and not node.outputs[0].is_graph_output():
        ((addition, place),) = uses
        other = addition.inputs[1 - place] if addition.op_type == "Add" else None
        if _is_constant(other) and array(other).shape == array(matrix).shape[1:]:
            return _Product(matrix, False, other, addition)
    return _Product(matrix, False, None, None)


def _is_constant(value: ir.Value | None) -> TypeGuard[ir.Value]:
    return value is not None and value.is_initializer()


def _digest(values: NDArray[Any]) -> bytes:
    """Of the content and its shape."""
    head = f"{values.dtype} {values.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).digest()
