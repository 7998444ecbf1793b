"""Qwen3, Qwen2 and Llama decoders, EuroBERT encoders: weights -> layers -> (rotated) -> a graph.

One layer at a time: `read_layer` takes it from the checkpoint, `Layer.rotated` folds the norms and
the rotation in, `Network.write_layer` emits the nodes.
All have one layout: q/k norm in Qwen3 alone, q/k/v biases in Qwen2, and in EuroBERT attention to
both sides, which is the choice of another batch (attention.py). Reference: transformers' models of
these names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.families.decoder.config import NetworkConfig
from embedge_export.graph import layers
from embedge_export.graph.attention import (
    LAST_TOKEN,
    Batch,
    CausalBatch,
    Heads,
    PackedBatch,
    rotary_tables,
)
from embedge_export.graph.builder import FLOAT, GraphBuilder
from embedge_export.graph.layers import Linear, Table
from embedge_export.numbers.calibration import Inputs, SampleRows, taken
from embedge_export.numbers.rotation import Rotation
from embedge_export.precision import Precision
from embedge_export.tensors.weights import Weights

Gain = NDArray[np.float32]
# The linears that are the first to read their rows: q, k and v read the same, and gate and up.
SAMPLED = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer's weights, float32. A gain of None is folded into the linear after it."""

    input_gain: Gain | None  # (hidden,)
    query: Linear
    key: Linear
    value: Linear
    query_gain: Gain | None  # (head_dim,)
    key_gain: Gain | None  # (head_dim,)
    attention_output: Linear
    post_attention_gain: Gain | None  # (hidden,)
    gate: Linear
    up: Linear
    down: Linear

    def rotated(self, rotation: Rotation, head_dim: int) -> "Layer":
        """The same function on a rotated residual stream, with gain-free norms.

        The values are turned too, each head by itself: attention only averages them, so the output
        linear turns them back.
        """
        block = head_dim & -head_dim

        def reading(linear: Linear, gain: Gain | None) -> Linear:
            assert gain is not None
            return linear.folding(gain).reading(rotation)

        return replace(
            self,
            input_gain=None,
            query=reading(self.query, self.input_gain),
            key=reading(self.key, self.input_gain),
            value=reading(self.value, self.input_gain).writing_blocks(block),
            attention_output=self.attention_output.reading_blocks(block).writing(rotation),
            post_attention_gain=None,
            gate=reading(self.gate, self.post_attention_gain),
            up=reading(self.up, self.post_attention_gain),
            down=self.down.writing(rotation),
        )


def read_layer(
    config: NetworkConfig,
    weights: Weights,
    index: int,
    touched: Callable[[str], bool],
    samples: SampleRows | None = None,
) -> Layer:
    """Reads one layer.

    Args:
        config: the network.
        weights: of one task.
        index: which layer.
        touched: whether a weight differs between tasks.
        samples: rows that the linears read, by the key of a weight that reads them; those of this
            layer are taken out.
    """
    prefix = f"layers.{index}"
    attention, output, mlp, product = taken(samples, prefix, SAMPLED)

    def linear(name: str, module: str, inputs: Inputs | None) -> Linear:
        weight, bias = (f"{prefix}.{module}.{part}" for part in ("weight", "bias"))
        return Linear(
            f"{prefix}.{name}",
            weights.read(weight),
            weights.read(bias) if bias in weights else None,
            shared=not touched(weight),
            inputs=inputs,
        )

    def gain(name: str) -> Gain:
        return weights.read(f"{prefix}.{name}.weight")

    normed = config.query_key_norm
    return Layer(
        input_gain=gain("input_layernorm"),
        query=linear("query", "self_attn.q_proj", attention),
        key=linear("key", "self_attn.k_proj", attention),
        value=linear("value", "self_attn.v_proj", attention),
        query_gain=gain("self_attn.q_norm") if normed else None,
        key_gain=gain("self_attn.k_norm") if normed else None,
        attention_output=linear("attention_output", "self_attn.o_proj", output),
        post_attention_gain=gain("post_attention_layernorm"),
        gate=linear("gate", "mlp.gate_proj", mlp),
        up=linear("up", "mlp.up_proj", mlp),
        down=linear("down", "mlp.down_proj", product),
    )


class Network:
    """Writes a network's graph, layer by layer, at one precision."""

    def __init__(
        self,
        config: NetworkConfig,
        precision: Precision,
        graph: GraphBuilder,
        *,
        rotation: Rotation | None,
        pooling: str,
    ) -> None:
        self._config = config
        self._precision = precision
        self._graph = graph
        self._rotation = rotation
        self._pooling = pooling
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
        self._batch: Batch = batch_kind(config)(graph, heads)
        # The residual stream (rows, hidden) up to the last sum, and the update still to be
        # added: the sum is done together with the next norm.
        self._stream: ir.Value | None = None
        self._update: ir.Value | None = None

    def write_embedding(self, read: Callable[[], NDArray[np.float32]], *, shared: bool) -> None:
        """Starts the stream from the token table."""
        rotation = self._rotation
        table = Table(
            self._config.hidden_size,
            read if rotation is None else lambda: rotation.apply(read()),
            shared,
        )
        self._stream = self._precision.embedding(self._graph, self._batch.ids, table)

    @property
    def rotates(self) -> bool:
        """Whether this graph's stream, and so every layer given to it, is rotated."""
        return self._rotation is not None

    def write_layer(self, index: int, layer: Layer) -> None:
        """Attention and MLP of one layer, rotated if `rotates`."""
        graph, config, precision = self._graph, self._config, self._precision
        prefix = f"layers.{index}"
        normed = self._add_and_norm(f"{prefix}.input_gain", layer.input_gain)
        attended = self._attention(prefix, layer, normed)
        rows = self._batch.tokens
        if index == config.num_hidden_layers - 1 and self._pooling == LAST_TOKEN:
            # Nothing below looks from one row at another, so only the pooled rows are computed.
            assert self._stream is not None
            attended, self._stream = (
                self._batch.pool(x, LAST_TOKEN) for x in (attended, self._stream)
            )
            rows = self._batch.texts
        operand = precision.operand(graph, attended, readers=(layer.attention_output,), rows=rows)
        self._update = precision.linear(graph, operand, layer.attention_output)
        normed = self._add_and_norm(f"{prefix}.post_gain", layer.post_attention_gain)
        half, down = precision.balanced(layer.up, layer.down)
        operand = precision.operand(graph, normed, readers=(layer.gate, half), rows=rows)
        # The next operand's rows are scaled by themselves: what scales `up` can wait until then.
        plain = half.bias is None
        gate = layers.silu(graph, precision.linear(graph, operand, layer.gate))
        up = precision.linear(graph, operand, half, scaled=not plain)
        operand = precision.operand(
            graph,
            graph.op("Mul", gate, up),
            readers=(down,),
            rows=rows,
            spread=True,
            scales=operand.scales if plain else None,
        )
        self._update = precision.linear(graph, operand, down)

    def write_pooling(self, gain: Gain) -> ir.Value:
        """Each text's rows made one, normed and turned back: float32 (B, hidden)."""
        graph, config = self._graph, self._config
        assert self._stream is not None
        assert self._update is not None
        rows = graph.op("Add", self._stream, graph.cast(self._update, FLOAT))
        kept = gain if self._rotation is None else None  # else folded into the matrix below
        value = layers.gain_of(graph, "final_gain", kept, config.hidden_size)
        pooled = layers.rms_norm(graph, rows, value, config.rms_norm_eps)
        if self._pooling != LAST_TOKEN:
            pooled = self._batch.pool(pooled, self._pooling)
        if self._rotation is None:
            return pooled
        rotation = self._rotation
        back = graph.weight("rotate_back", lambda: rotation.matrix().T * gain, shared=True)
        return graph.op("MatMul", pooled, back)

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
        operand = self._precision.operand(graph, normed, readers=readers, rows=self._batch.tokens)
        normed_heads = layer.query_gain is not None and layer.key_gain is not None
        query, key, value = (
            # A norm follows query and key: it divides by the row's scale, whatever that is.
            self._precision.linear(
                graph, operand, x, scaled=x is layer.value or not normed_heads or x.bias is not None
            )
            for x in readers
        )
        if layer.query_gain is not None and layer.key_gain is not None:
            query, key = (
                layers.head_norm(
                    graph,
                    x,
                    graph.constant(f"{prefix}.{name}", gain),
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


def batch_kind(config: NetworkConfig) -> type[CausalBatch] | type[PackedBatch]:
    """Which rows the network's graph works on, and so what its tokens see."""
    return CausalBatch if config.causal else PackedBatch


def write_networks(
    config: NetworkConfig,
    weights: Weights,
    targets: Sequence[tuple[Precision, GraphBuilder]],
    *,
    pooling: str,
    touched: Callable[[str], bool],
    samples: SampleRows | None = None,
    advance: Callable[[str], None],
) -> list[ir.Value]:
    """The whole walk: table, layers, pooling, at every precision in step.

    Args:
        config: the network.
        weights: of one task, the adapter merged in.
        targets: each precision and the graph that it is written into.
        pooling: one of `batch_kind(config).poolings`.
        touched: whether a weight differs between tasks.
        samples: rows that the linears read, by the key of a weight; emptied as they are used.
        advance: called with a label before each step.

    Returns:
        The pooled vectors of each target, float32 (B, hidden).
    """
    rotation = Rotation(config.hidden_size)
    networks = [
        Network(
            config,
            precision,
            graph,
            rotation=rotation if precision.rotates else None,
            pooling=pooling,
        )
        for precision, graph in targets
    ]
    advance("embedding table")
    table = "embed_tokens.weight"
    for network in networks:
        network.write_embedding(lambda: weights.read(table), shared=not touched(table))
    for index in range(config.num_hidden_layers):
        advance(f"layer {index + 1} of {config.num_hidden_layers}")
        layer = read_layer(config, weights, index, touched, samples)
        # Reading, merging and rotating take the time: each is done once for all precisions.
        rotated = layer
        if any(network.rotates for network in networks):
            rotated = layer.rotated(rotation, config.head_dim)
        for network in networks:
            network.write_layer(index, rotated if network.rotates else layer)
    return [network.write_pooling(weights.read("norm.weight")) for network in networks]
