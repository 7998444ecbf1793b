"""A graph under construction: nodes, small constants, and weights that stream to disk.

Takes operator names and values, gives onnx_ir values with their dtype known. Weights go straight
into a data file as they are made, so that a graph of gigabytes is built in the memory of one
layer; the graph holds references only. Knows nothing of networks or precisions.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph.weight_file import SharedWeights, WeightFile

# Opset 21 is what operators need here, but for those of _SINCE, which only some graphs have: other
# programs' runtimes may be older. The oldest of ours, 1.23, loads both, and IR version 10.
OPSET = 21
_SINCE = {"Attention": 23}
IR_VERSION = 10
CONTRIB = "com.microsoft"

BOOL = ir.DataType.BOOL
FLOAT = ir.DataType.FLOAT
FLOAT16 = ir.DataType.FLOAT16
INT32 = ir.DataType.INT32
INT64 = ir.DataType.INT64


class GraphBuilder:
    """Collects nodes and initializers into one ONNX model.

    Args:
        name: the graph's name.
        own: data file of this graph alone.
        shared: data file of what several graphs hold bit for bit.

    Attributes:
        notes: figures of a piece, by its name, from the code that adds it.
    """

    def __init__(self, name: str, *, own: WeightFile, shared: SharedWeights) -> None:
        self._name = name
        self._own = own
        self._shared = shared
        self._nodes: list[ir.Node] = []
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []
        self._initializers: dict[str, ir.Value] = {}
        self._made: dict[str, ir.Value] = {}
        self._count = 0
        self._opset = OPSET
        self.notes: dict[str, float] = {}

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        """Declares an input; a string dimension is symbolic."""
        value = ir.val(name, dtype, shape)
        self._inputs.append(value)
        return value

    def output(self, name: str, value: ir.Value, shape: Sequence[int | str]) -> None:
        """Declares an output beside those of `save`; a string dimension is symbolic."""
        value.name, value.shape = name, ir.Shape(shape)
        self._outputs.append(value)

    def op(
        self,
        kind: str,
        *inputs: ir.Value | None,
        dtype: ir.DataType | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> ir.Value:
        """Adds a node with one output; its dtype is the first input's unless given."""
        first = next(value for value in inputs if value is not None)
        return self.multi(kind, inputs, (dtype or first.dtype,), domain=domain, **attributes)[0]

    def multi(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        dtypes: Sequence[ir.DataType | None],
        *,
        domain: str = "",
        **attributes: Any,
    ) -> Sequence[ir.Value]:
        """Adds a node with as many outputs as dtypes; a None dtype leaves an output unnamed."""
        self._count += 1
        if not domain:
            self._opset = max(self._opset, _SINCE.get(kind, OPSET))
        name = f"{kind}_{self._count}"
        outputs = [
            ir.val("" if dtype is None else f"{name}.{index}", dtype)
            for index, dtype in enumerate(dtypes)
        ]
        node = ir.node(kind, inputs, attributes, domain=domain, outputs=outputs, name=name)
        self._nodes.append(node)
        return node.outputs

    def once(self, name: str, make: Callable[[], ir.Value]) -> ir.Value:
        """What `make` adds at the first call with this name; not for use inside `either`."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def for_each(
        self,
        count: ir.Value,
        piece: Callable[[ir.Value], ir.Value],
        dtype: ir.DataType,
        *,
        axis: int = 0,
    ) -> ir.Value:
        """A loop at run time: the pieces of 0, 1, … count - 1, joined.

        Args:
            count: int64 scalar, at least 1.
            piece: adds the nodes of one round, from its number, an int64 scalar; gives the round's
                rows. It may use any value of the graph. Rounds may differ in their rows.
            dtype: of the rows.
            axis: along which they are joined: 0, one below the other.
        """
        self._count += 1
        name = f"round_{self._count}"
        rows = ir.SequenceType(ir.TensorType(dtype))
        number = ir.val(f"{name}.number", INT64, ())
        more = ir.val(f"{name}.more", BOOL, ())
        before = ir.val(f"{name}.before", type=rows)
        outside, self._nodes = self._nodes, []
        still = self.op("Identity", more)
        after = self.op("SequenceInsert", before, piece(number), dtype=dtype)
        body = ir.Graph([number, more, before], [still, after], nodes=self._nodes, name=name)
        self._nodes = outside
        (none,) = self.multi("SequenceEmpty", (), (dtype,), dtype=dtype.value)
        pieces = self.op("Loop", count, None, none, dtype=dtype, body=body)
        for value in (after, none, pieces):
            value.type = rows
        return self.op("ConcatFromSequence", pieces, dtype=dtype, axis=axis)

    def either(
        self,
        condition: ir.Value,
        then: Callable[[], ir.Value],
        otherwise: Callable[[], ir.Value],
        dtype: ir.DataType,
    ) -> ir.Value:
        """One of two values, chosen at run time; only the nodes of the chosen one run.

        Args:
            condition: bool scalar.
            then: adds the nodes of the first; they may use any value of the graph.
            otherwise: likewise of the second.
            dtype: of both.
        """
        branches: dict[str, Any] = {
            "then_branch": self.branch("then_branch", lambda: [then()]),
            "else_branch": self.branch("else_branch", lambda: [otherwise()]),
        }
        return self.op("If", condition, dtype=dtype, **branches)

    def branch(self, name: str, make: Callable[[], Sequence[ir.Value]]) -> ir.Graph:
        """A graph within a node, for its attribute of this name, without inputs of its own.

        Args:
            name: of the attribute.
            make: adds its nodes, which may use any value of the graph; gives its outputs.
        """
        outside, self._nodes = self._nodes, []
        results = make()
        self._count += 1
        graph = ir.Graph([], results, nodes=self._nodes, name=f"{name}_{self._count}")
        self._nodes = outside
        return graph

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> ir.Value:
        """A small constant inside the graph file; the same name gives the same value."""
        return self._initializer(name, lambda: ir.tensor(np.asarray(value), name=name))

    def numbers(self, *values: int) -> ir.Value:
        """A constant int64 vector, such as axes, a shape or split sizes."""
        name = "numbers_" + "_".join(map(str, values))
        return self.constant(name, np.array(values, np.int64))

    def weight(self, name: str, make: Callable[[], NDArray[Any]], *, shared: bool) -> ir.Value:
        """A constant in a data file; `make` is called only if it is not written yet."""

        def tensor() -> ir.ExternalTensor:
            file = self._own
            if shared:
                if (held := self._shared.get(name)) is not None:
                    return held
                if isinstance(self._shared, WeightFile):  # else it stays as it is
                    file = self._shared
            return file.get(name) or file.add(name, make())

        return self._initializer(name, tensor)

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """The value as another dtype; nothing is added if it is that already."""
        if value.dtype == dtype:
            return value
        return self.op("Cast", value, dtype=dtype, to=dtype.value)

    def save(self, path: Path, outputs: Mapping[str, ir.Value], shape: Sequence[int | str]) -> None:
        """Writes the model file. Each of these outputs is given its name and the same shape."""
        for name, value in outputs.items():
            self.output(name, value, shape)
        graph = ir.Graph(
            self._inputs,
            self._outputs,
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports={"": self._opset, CONTRIB: 1},
            name=self._name,
        )
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="embedge")
        ir.save(model, path)

    def _initializer(self, name: str, make: Callable[[], ir.TensorProtocol]) -> ir.Value:
        if name not in self._initializers:
            tensor = make()
            self._initializers[name] = ir.val(
                name, tensor.dtype, tensor.shape.numpy(), const_value=tensor
            )
        return self._initializers[name]
