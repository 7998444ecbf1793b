"""Graphs of a network that Optimum traced: its nodes, with the weights as every precision has them.

A traced graph takes a padded batch, and a text's last digits would depend on its neighbors. So it
becomes the body of a loop over the runs of texts of one length (`PackedBatch.each_length`), which
never sees padding. In it every product with a constant matrix is written by the precision, and so
is the table that tokens are looked up in. All other nodes stay as they are, in float32: attention
with its square of scores among them. Behind the loop stands the head of all families.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from embedge.errors import SourceError
from embedge_export.families.family import Targets, TextTask
from embedge_export.families.optimum.config import OptimumConfig
from embedge_export.families.optimum.constants import IDS, Constants, array
from embedge_export.families.optimum.traced import trace
from embedge_export.families.walk import finish_rows
from embedge_export.graph.builder import FLOAT, INT64, GraphBuilder
from embedge_export.graph.layers import Activation, Linear, Rows
from embedge_export.graph.packed import PackedBatch
from embedge_export.precision import Precision
from embedge_export.precision.precision import Operand

_SMALL = 4096  # bytes of a constant that the graph file itself holds


def write(
    config: OptimumConfig,
    task: TextTask,
    targets: Targets,
    *,
    steps: int,
    advance: Callable[[str], None],
) -> list[ir.Value]:
    """Writes a network's graph at every precision; arguments as of `Family.write`.

    Args:
        config: the network.
        task: as there.
        targets: as there.
        steps: how often `advance` is called.
        advance: called with a label.
    """
    advance("the graph, traced by Optimum")
    with tempfile.TemporaryDirectory(prefix="embedge-optimum-") as folder:
        with config.network.holding(task.weights):
            graph = trace(config.network, Path(folder))
            constants = Constants(config.network, graph, task.adapted, task.samples)
        progress = _Progress(advance, steps - 1, len(targets) * constants.count)
        vectors = []
        for precision, builder in targets:
            batch = PackedBatch(builder, None)
            copy = _Copy(constants, precision, builder, progress, config.hidden_size)
            hidden = batch.each_length(copy.rows, FLOAT)
            vectors.append(finish_rows(builder, batch, hidden, task, config.hidden_size))
        progress.finish()
    return vectors


@dataclass(slots=True)
class _Progress:
    """Shares out a number of calls among linears."""

    advance: Callable[[str], None]
    calls: int
    total: int
    _called: int = 0
    _written: int = 0

    def linear(self) -> None:
        """One more is written."""
        self._written += 1
        self._call_up_to(self.calls * self._written // self.total)

    def finish(self) -> None:
        """All are."""
        self._call_up_to(self.calls)

    def _call_up_to(self, wanted: int) -> None:
        while self._called < wanted:
            self._called += 1
            self.advance(f"linear {self._written} of {self.total}")


class _Copy:
    """Adds a traced graph's nodes to a graph, at one precision."""

    def __init__(
        self,
        constants: Constants,
        precision: Precision,
        graph: GraphBuilder,
        progress: _Progress,
        width: int,
    ) -> None:
        self._constants = constants
        self._precision = precision
        self._graph = graph
        self._progress = progress
        self._width = width  # of a row
        self._values: dict[ir.Value, ir.Value] = {}  # of the traced graph -> of this one
        self._operands: dict[ir.Value, Operand] = {}
        self._linears: dict[ir.Node, Linear] = {}  # read for an operand, and not yet multiplied
        self._shapes: dict[ir.Value, ir.Value] = {}

    def rows(self, ids: ir.Value) -> ir.Value:
        """The last hidden state of texts of one length: (n, L) -> float32 (n * L, hidden)."""
        graph, traced = self._graph, self._constants.graph
        for value in traced.inputs:
            self._values[value] = self._input(str(value.name), ids)
        (hidden,) = self._nodes(traced)
        return graph.op("Reshape", hidden, graph.numbers(-1, self._width))

    def _nodes(self, traced: ir.Graph) -> list[ir.Value]:
        """Adds the nodes of a graph, or of one within a node; gives its outputs."""
        for node in traced:
            if self._constants.is_bias(node):
                continue
            result = self._constants.result(node)
            if result is not None:
                self._values[result] = self._linear(node)
            elif self._constants.is_table(node):
                table = self._constants.table(node)
                ids = node.inputs[1]
                assert ids is not None
                rows = self._precision.embedding(self._graph, self._value(ids), table)
                self._values[node.outputs[0]] = rows
            else:
                self._copy(node)
        return [self._value(value) for value in traced.outputs]

    def _input(self, name: str, ids: ir.Value) -> ir.Value:
        """What texts without padding have for an input: int64 (n, L)."""
        graph = self._graph
        if name == IDS:
            return ids
        shape = graph.op("Shape", ids, dtype=INT64)
        if name == "attention_mask":
            return graph.op("Expand", graph.constant("int64_1", np.int64(1)), shape)
        if name == "token_type_ids":
            return graph.op("Expand", graph.constant("int64_0", np.int64(0)), shape)
        if name == "position_ids":
            zero, one = (graph.constant(f"int64_{n}", np.int64(n)) for n in (0, 1))
            length = graph.op("Squeeze", graph.op("Gather", shape, graph.numbers(1), axis=0))
            return graph.op("Expand", graph.op("Range", zero, length, one), shape)
        raise SourceError(
            f"Optimum's graph of this network wants the input {name!r}, which no text has; such a "
            "network cannot be exported"
        )

    def _linear(self, node: ir.Node) -> ir.Value:
        """A product with its bias, in the shape of the traced graph: float32 (…, out)."""
        graph, precision, read = self._graph, self._precision, node.inputs[0]
        assert read is not None
        if read not in self._operands:
            given = self._values[read]
            readers = {
                other: self._constants.linear(other) for other in self._constants.readers(read)
            }
            self._linears |= readers
            width = readers[node].weight.shape[1]
            flat = graph.op("Reshape", given, graph.numbers(-1, width))
            count = graph.op("Shape", flat, dtype=INT64, start=0, end=1)
            column = graph.op("Concat", count, graph.numbers(1), axis=0)
            activation = Activation(flat, Rows(1, column), outliers=True)
            self._operands[read] = precision.prepare(graph, activation, list(readers.values()))
            self._shapes[read] = graph.op("Shape", given, dtype=INT64, start=0, end=-1)
        linear = self._linears.pop(node)
        flat = graph.cast(precision.multiply(graph, self._operands[read], linear), FLOAT)
        size = graph.numbers(len(linear.weight))
        shape = graph.op("Concat", self._shapes[read], size, axis=0)
        self._progress.linear()
        return graph.op("Reshape", flat, shape)

    def _copy(self, node: ir.Node) -> None:
        """A node as it is."""
        attributes = {name: self._attribute(node, a) for name, a in node.attributes.items()}
        inputs = [None if value is None else self._value(value) for value in node.inputs]
        dtypes = [value.dtype if value.uses() or value.is_graph_output() else None
                  for value in node.outputs]  # fmt: skip
        outputs = self._graph.multi(node.op_type, inputs, dtypes, domain=node.domain, **attributes)
        self._values.update(zip(node.outputs, outputs, strict=True))

    def _attribute(self, node: ir.Node, attribute: ir.Attr) -> Any:
        """An attribute as it is; a graph in it is copied too."""
        if attribute.type != ir.AttributeType.GRAPH:
            return attribute
        inner = attribute.as_graph()
        if inner.inputs:
            raise SourceError(
                f"Optimum's graph of this network has a loop ({node.op_type}), which is not "
                "supported"
            )
        return self._graph.branch(attribute.name, lambda: self._nodes(inner))

    def _value(self, value: ir.Value) -> ir.Value:
        """A traced value here; constants are added when they are first read."""
        if value not in self._values:
            assert value.is_initializer(), value
            values = array(value)
            if values.nbytes <= _SMALL:
                made = self._graph.constant(f"traced.{value.name}", values)
            else:
                name, shared = self._constants.name(value)
                made = self._graph.weight(f"traced.{name}", lambda: values, shared=shared)
            self._values[value] = made
        return self._values[value]
