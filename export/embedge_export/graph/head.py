"""A head in a graph: a text's rows made its vector. The definitions are those of head/truth.py."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.graph import layers
from embedge_export.graph.attention import Batch
from embedge_export.graph.builder import FLOAT, GraphBuilder
from embedge_export.head.head import EPSILON, SHORTEST, Dense, Head, LayerNorm, Normalize


def pool(graph: GraphBuilder, batch: Batch, rows: ir.Value, head: Head) -> ir.Value:
    """Each text's rows made one: float32 (rows, hidden) -> (B, head.pooled_width)."""
    parts = [batch.pool(rows, mode) for mode in head.modes]
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=-1)


def finish(graph: GraphBuilder, pooled: ir.Value, head: Head, *, stored: ir.DataType) -> ir.Value:
    """The steps behind the pooling: float32 (B, head.pooled_width) -> (B, head.width).

    Sums are float32 whatever the weights are stored as: there is one row a text, so that speed does
    not count here, and the last digits of a vector do.

    Args:
        graph: where to.
        pooled: one row a text.
        head: its steps; those that the runtime does are left out.
        stored: dtype of matrices in the data file.
    """
    x = pooled
    for index, step in enumerate(head.computed):
        name = f"head.{index}"
        if isinstance(step, Normalize):
            x = _normalize(graph, x)
        elif isinstance(step, LayerNorm):
            gain, bias = (
                graph.constant(f"{name}.{key}", step.weights.read(f"norm.{key}"))
                for key in ("weight", "bias")
            )
            x = layers.layer_norm(graph, x, gain, bias, EPSILON)
        else:
            x = _dense(graph, x, name, step, stored)
    return x


def _normalize(graph: GraphBuilder, x: ir.Value) -> ir.Value:
    length = graph.op("ReduceL2", x, graph.numbers(-1), keepdims=1)
    shortest = graph.constant("shortest", np.float32(SHORTEST))
    return graph.op("Div", x, graph.op("Max", length, shortest))


def _dense(
    graph: GraphBuilder, x: ir.Value, name: str, step: Dense, stored: ir.DataType
) -> ir.Value:
    def product(key: str) -> ir.Value:
        def transposed() -> NDArray[np.floating]:
            return step.weights.read(f"{key}.weight").T.astype(stored.numpy())

        # The head is one for all tasks.
        weight = graph.weight(f"{name}.{key}", transposed, shared=True)
        return graph.op("MatMul", x, graph.cast(weight, FLOAT))

    y = product("linear")
    if step.bias:
        y = graph.op("Add", y, graph.constant(f"{name}.bias", step.weights.read("linear.bias")))
    y = _activate(graph, y, step.activation)
    if step.residual:
        y = graph.op("Add", y, x if step.inputs == step.outputs else product("residual"))
    return y


def _activate(graph: GraphBuilder, x: ir.Value, name: str) -> ir.Value:
    if name == "GELU":
        return layers.gelu(graph, x)
    if name == "SiLU":
        return layers.silu(graph, x)
    kind = {"Identity": None, "ReLU": "Relu", "Sigmoid": "Sigmoid", "Tanh": "Tanh"}[name]
    return x if kind is None else graph.op(kind, x)
