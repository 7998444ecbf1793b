"""Graphs of ModernBERT encoders, layer by layer (walk.py).

Most layers see a window of the text alone (windows.py), with rotary positions of their own.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.families.family import Targets, TextTask
from embedge_export.families.modernbert.blocks import (
    ModernBertLayer,
    embeddings,
    norm_of,
    read_layer,
)
from embedge_export.families.modernbert.config import ModernBertConfig
from embedge_export.families.walk import finish_rows, multiply, takes_standard_attention, walk
from embedge_export.graph import layers
from embedge_export.graph.attention import Heads, RotaryTables, Window, rotary_tables
from embedge_export.graph.builder import GraphBuilder
from embedge_export.graph.head import pool
from embedge_export.graph.layer_norm import Norm, add_and_norm
from embedge_export.graph.layers import Activation, Table
from embedge_export.graph.packed import PackedBatch
from embedge_export.head.head import CLS, LAST_TOKEN
from embedge_export.numbers.rotation import Rotation
from embedge_export.precision import Precision


class ModernBertWriter:
    """Writes a network's graph, layer by layer, at one precision; a `Writer` of walk.py."""

    def __init__(
        self,
        config: ModernBertConfig,
        task: TextTask,
        precision: Precision,
        graph: GraphBuilder,
        *,
        rotation: Rotation,
    ) -> None:
        self._config = config
        self._task = task
        self._precision = precision
        self._graph = graph
        self._rotation = rotation if precision.rotates else None

        def tables(theta: float, name: str) -> RotaryTables:
            return rotary_tables(
                positions=config.max_position_embeddings,
                width=config.head_dim,
                theta=theta,
                name=name,
            )

        self._window = Window(config.reach, tables(config.local_theta, "local_rotary"))
        heads = Heads(
            query=config.num_attention_heads,
            key_value=config.num_attention_heads,
            width=config.head_dim,
            rotary=tables(config.global_theta, "rotary"),
        )
        standard = takes_standard_attention(task, precision)
        self._batch = PackedBatch(graph, heads, standard=standard)
        # The residual stream (rows, hidden) up to the last sum, and the update still to be added.
        self._stream: ir.Value | None = None
        self._update: ir.Value | None = None

    @property
    def rotates(self) -> bool:
        """See Writer."""
        return self._rotation is not None

    def start(self) -> None:
        """Starts the stream from the table, whose rows are normed already."""
        rotation = self._rotation

        def rows() -> NDArray[np.float32]:
            table = embeddings(self._config, self._task.weights)
            return table if rotation is None else rotation.apply(table)

        shared = not self._task.adapted("embeddings.tok_embeddings.weight")
        table = Table(self._config.hidden_size, rows, shared=shared)
        self._stream = self._precision.embedding(self._graph, self._batch.ids, table)

    def write(self, index: int, layer: ModernBertLayer) -> None:
        """Attention and MLP of one layer."""
        graph, precision = self._graph, self._precision
        assert self._stream is not None
        if index == 0:
            # The one reader of the stream without a norm, and so of its mean.
            normed, self._stream = self._stream, self._without_mean(self._stream)
        else:
            normed = self._add_and_norm(layer.attention_norm)
        activation = Activation(normed, self._batch.tokens)
        reads = (layer.query, layer.key, layer.value)
        query, key, value = multiply(graph, precision, activation, reads)
        window = self._window if self._config.local_layers[index] else None
        attended = self._batch.attend(query, key, value, window=window)
        rows = self._batch.tokens
        if index == self._config.num_hidden_layers - 1 and self._pools_early:
            # Nothing below looks from one row at another, so only the pooled rows are computed.
            attended, self._stream = (
                pool(graph, self._batch, x, self._task.head) for x in (attended, self._stream)
            )
            rows = self._batch.texts
        activation = Activation(attended, rows)
        [self._update] = multiply(graph, precision, activation, [layer.attention_output])
        normed = self._add_and_norm(layer.mlp_norm)
        half, down = precision.balance(layer.up, layer.down)
        operand = precision.prepare(graph, Activation(normed, rows), (layer.gate, half))
        # The next operand's rows are scaled by themselves: what scales `up` can wait until then.
        plain = half.bias is None
        gate = layers.gelu(graph, precision.multiply(graph, operand, layer.gate))
        up = precision.multiply(graph, operand, half, scaled=not plain)
        product = Activation(
            graph.op("Mul", gate, up),
            rows,
            outliers=True,
            scales=operand.scales if plain else None,
        )
        [self._update] = multiply(graph, precision, product, [down])

    def finish(self) -> ir.Value:
        """Each text's rows made one, normed and turned back: float32 (B, head.pooled_width)."""
        graph, rotation = self._graph, self._rotation
        norm = norm_of(self._config, self._task.weights, "final_norm")
        rows = self._add_and_norm(norm if rotation is None else None)
        return finish_rows(
            graph,
            self._batch,
            rows,
            self._task,
            self._config.hidden_size,
            turn_back=lambda rows: self._turned_back(rows, norm),
            turns_linearly=norm.bias is None,
            pooled=self._pools_early,
        )

    @property
    def _pools_early(self) -> bool:
        """Whether the last layer computes the pooled rows alone."""
        return self._task.head.modes in ((CLS,), (LAST_TOKEN,)) and not self._task.rows

    def _without_mean(self, stream: ir.Value) -> ir.Value:
        """A rotated stream less its mean, which lies in the direction of the rotated ones."""
        if self._rotation is None:
            return stream
        graph, width = self._graph, self._config.hidden_size
        ones = self._rotation.apply(np.full((1, width), width**-0.5, np.float32))
        along = graph.op("MatMul", stream, graph.constant("ones_rotated", ones.T))
        mean = graph.op("Mul", along, graph.constant("ones_rotated_row", ones))
        return graph.op("Sub", stream, mean)

    def _turned_back(self, rows: ir.Value, norm: Norm) -> ir.Value:
        """Normed rows out of the rotation, with the last norm's gain and bias: (…, hidden)."""
        if self._rotation is None:
            return rows
        rotation, graph = self._rotation, self._graph
        back = graph.weight("rotate_back", lambda: rotation.matrix().T * norm.gain, shared=True)
        rows = graph.op("MatMul", rows, back)
        if norm.bias is None:
            return rows
        return graph.op("Add", rows, graph.constant("final_bias", norm.bias))

    def _add_and_norm(self, norm: Norm | None) -> ir.Value:
        """The stream with the update added, normed; None: in a rotated stream, without gain."""
        graph, epsilon = self._graph, self._config.norm_eps
        assert self._stream is not None
        assert self._update is not None
        if norm is not None:
            result, self._stream = add_and_norm(graph, self._stream, self._update, norm, epsilon)
            return result
        ones = layers.gain_of(graph, "", None, self._config.hidden_size)
        result, self._stream = layers.add_and_norm(graph, self._stream, self._update, ones, epsilon)
        return result


def write(
    config: ModernBertConfig,
    task: TextTask,
    targets: Targets,
    *,
    advance: Callable[[str], None],
) -> list[ir.Value]:
    """Writes a network's graph at every precision; see `Family.write`."""
    rotation = Rotation(config.hidden_size)
    writers = [
        ModernBertWriter(config, task, precision, graph, rotation=rotation)
        for precision, graph in targets
    ]
    return walk(
        writers,
        count=config.num_hidden_layers,
        read=lambda index: read_layer(config, task, index),
        rotate=lambda layer: layer.rotated(rotation, config.head_dim),
        labels=("embedding table", "layer"),
        advance=advance,
    )
