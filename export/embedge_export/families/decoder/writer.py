"""Graphs of Qwen3, Qwen2 and Llama decoders and of EuroBERT encoders, layer by layer (walk.py).

Attention to both sides, in EuroBERT, is the choice of another batch (packed.py).
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.families.decoder.blocks import Gain, Layer, read_layer
from embedge_export.families.decoder.config import NetworkConfig
from embedge_export.families.family import Targets, TextTask
from embedge_export.families.walk import finish_rows, multiply, takes_standard_attention, walk
from embedge_export.graph import layers
from embedge_export.graph.attention import Batch, Heads, rotary_tables
from embedge_export.graph.builder import FLOAT, GraphBuilder
from embedge_export.graph.causal import CausalBatch
from embedge_export.graph.layers import Activation, Table
from embedge_export.graph.packed import PackedBatch
from embedge_export.head.head import LAST_TOKEN
from embedge_export.numbers.rotation import Rotation
from embedge_export.precision import Precision


class DecoderWriter:
    """Writes a network's graph, layer by layer, at one precision; a `Writer` of walk.py."""

    def __init__(
        self,
        config: NetworkConfig,
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
        rotary = rotary_tables(
            positions=config.max_position_embeddings,
            width=config.head_dim,
            theta=config.rope_theta,
        )
        heads = Heads(
            query=config.num_attention_heads,
            key_value=config.num_key_value_heads,
            width=config.head_dim,
            rotary=rotary,
        )
        standard = takes_standard_attention(task, precision)
        self._batch: Batch = (
            CausalBatch(graph, heads, turns=task.rows, standard=standard)
            if config.causal
            else PackedBatch(graph, heads, standard=standard)
        )
        # The residual stream (rows, hidden) up to the last sum, and the update still to be
        # added: the sum is done together with the next norm.
        self._stream: ir.Value | None = None
        self._update: ir.Value | None = None

    @property
    def rotates(self) -> bool:
        """See Writer."""
        return self._rotation is not None

    def start(self) -> None:
        """Starts the stream from the token table."""
        key, rotation = "embed_tokens.weight", self._rotation

        def rows() -> NDArray[np.float32]:
            table = self._task.weights.read(key)
            return table if rotation is None else rotation.apply(table)

        table = Table(self._config.hidden_size, rows, shared=not self._task.adapted(key))
        self._stream = self._precision.embedding(self._graph, self._batch.ids, table)

    def write(self, index: int, layer: Layer) -> None:
        """Attention and MLP of one layer."""
        graph, config, precision = self._graph, self._config, self._precision
        prefix = f"layers.{index}"
        normed = self._add_and_norm(f"{prefix}.input_gain", layer.input_gain)
        attended = self._attention(prefix, layer, normed)
        rows = self._batch.tokens
        if index == config.num_hidden_layers - 1 and self._pools_early:
            # Nothing below looks from one row at another, so only the pooled rows are computed.
            assert self._stream is not None
            attended, self._stream = (
                self._batch.pool(x, LAST_TOKEN) for x in (attended, self._stream)
            )
            rows = self._batch.texts
        activation = Activation(attended, rows)
        [self._update] = multiply(graph, precision, activation, [layer.attention_output])
        normed = self._add_and_norm(f"{prefix}.post_gain", layer.post_attention_gain)
        half, down = precision.balance(layer.up, layer.down)
        operand = precision.prepare(graph, Activation(normed, rows), (layer.gate, half))
        # The next operand's rows are scaled by themselves: what scales `up` can wait until then.
        plain = half.bias is None
        gate = layers.silu(graph, precision.multiply(graph, operand, layer.gate))
        up = precision.multiply(graph, operand, half, scaled=not plain)
        product = Activation(
            graph.op("Mul", gate, up),
            rows,
            outliers=True,
            scales=operand.scales if plain else None,
        )
        [self._update] = multiply(graph, precision, product, [down])

    @property
    def _pools_early(self) -> bool:
        """Whether the last layer computes the pooled rows alone."""
        return self._task.head.modes == (LAST_TOKEN,) and not self._task.rows

    def finish(self) -> ir.Value:
        """Each text's rows made one, normed and turned back: float32 (B, head.pooled_width)."""
        graph, config = self._graph, self._config
        gain = self._task.weights.read("norm.weight")
        assert self._stream is not None
        assert self._update is not None
        rows = graph.op("Add", self._stream, graph.cast(self._update, FLOAT))
        kept = gain if self._rotation is None else None  # else folded into the matrix below
        value = layers.gain_of(graph, "final_gain", kept, config.hidden_size)
        rows = layers.rms_norm(graph, rows, value, config.rms_norm_eps)
        return finish_rows(
            graph,
            self._batch,
            rows,
            self._task,
            config.hidden_size,
            turn_back=lambda rows: self._turned_back(rows, gain),
            pooled=self._pools_early,
        )

    def _turned_back(self, rows: ir.Value, gain: NDArray[np.float32]) -> ir.Value:
        """Normed rows out of the rotation, with the last norm's gain: (…, hidden)."""
        if self._rotation is None:
            return rows
        rotation, graph = self._rotation, self._graph
        back = graph.weight("rotate_back", lambda: rotation.matrix().T * gain, shared=True)
        return graph.op("MatMul", rows, back)

    def _add_and_norm(self, name: str, gain: Gain | None) -> ir.Value:
        graph, config = self._graph, self._config
        assert self._stream is not None
        value = layers.gain_of(graph, name, gain, config.hidden_size)
        if self._update is None:
            return layers.rms_norm(graph, self._stream, value, config.rms_norm_eps)
        normed, self._stream = layers.add_and_norm(
            graph, self._stream, self._update, value, config.rms_norm_eps
        )
        return normed

    def _attention(self, prefix: str, layer: Layer, normed: ir.Value) -> ir.Value:
        graph, config = self._graph, self._config
        readers = (layer.query, layer.key, layer.value)
        activation = Activation(normed, self._batch.tokens)
        operand = self._precision.prepare(graph, activation, readers)
        normed_heads = layer.query_gain is not None and layer.key_gain is not None
        query, key, value = (
            # A norm follows query and key: it divides by the row's scale, whatever that is.
            self._precision.multiply(
                graph, operand, x, scaled=x is layer.value or not normed_heads or x.bias is not None
            )
            for x in readers
        )
        if layer.query_gain is not None and layer.key_gain is not None:
            query, key = (
                layers.head_norm(
                    graph,
                    x,
                    gain,
                    name=f"{prefix}.{name}",
                    rows=self._batch.tokens,
                    heads=heads,
                    head_dim=config.head_dim,
                    epsilon=config.rms_norm_eps,
                )
                for x, name, gain, heads in (
                    (query, "query_gain", layer.query_gain, config.num_attention_heads),
                    (key, "key_gain", layer.key_gain, config.num_key_value_heads),
                )
            )
        return self._batch.attend(query, key, value)


def write(
    config: NetworkConfig,
    task: TextTask,
    targets: Targets,
    *,
    advance: Callable[[str], None],
) -> list[ir.Value]:
    """Writes a network's graph at every precision; see `Family.write`."""
    rotation = Rotation(config.hidden_size)
    writers = [
        DecoderWriter(config, task, precision, graph, rotation=rotation)
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
