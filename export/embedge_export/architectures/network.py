"""Qwen3, Qwen2 and Llama decoders, EuroBERT encoders: weights -> layers -> (rotated) -> a graph.

One layer at a time: `read_layer` takes it from the checkpoint with q, k, v and gate, up side by
side, `Layer.rotated` folds the norms and the rotation in, `Network.write_layer` emits the nodes.
All have one layout: q/k norm in Qwen3 alone, q/k/v biases in Qwen2, and in EuroBERT attention to
both sides, which is the choice of another batch (attention.py). Reference: transformers' models of
these names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export import layers
from embedge_export.architectures.config import NetworkConfig
from embedge_export.attention import Batch, CausalBatch, Heads, PackedBatch, rotary_tables
from embedge_export.graph import FLOAT, GraphBuilder
from embedge_export.layers import Linear, Table
from embedge_export.precision import Precision
from embedge_export.rotate import Rotation
from embedge_export.weights import Weights

Gain = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer's weights, float32. A gain of None is folded into the linear after it."""

    input_gain: Gain | None  # (hidden,)
    query_key_value: Linear  # out: q, k, v side by side
    query_gain: Gain | None  # (head_dim,)
    key_gain: Gain | None  # (head_dim,)
    attention_output: Linear
    post_attention_gain: Gain | None  # (hidden,)
    gate_and_up: Linear  # out: gate, up side by side
    down: Linear

    def rotated(self, rotation: Rotation) -> "Layer":
        """The same function on a rotated residual stream, with gain-free norms."""
        assert self.input_gain is not None
        assert self.post_attention_gain is not None
        return replace(
            self,
            input_gain=None,
            query_key_value=self.query_key_value.reading(self.input_gain, rotation),
            attention_output=self.attention_output.writing(rotation),
            post_attention_gain=None,
            gate_and_up=self.gate_and_up.reading(self.post_attention_gain, rotation),
            down=self.down.writing(rotation),
        )


def read_layer(
    config: NetworkConfig, weights: Weights, index: int, touched: Callable[[str], bool]
) -> Layer:
    """Reads one layer; `touched` says whether a weight differs between tasks."""
    prefix = f"layers.{index}"

    def linear(name: str, *modules: str, spread: bool = False) -> Linear:
        keys = [f"{prefix}.{module}.weight" for module in modules]
        matrices = [weights.read(key) for key in keys]
        biases = [f"{prefix}.{module}.bias" for module in modules]
        bias = None
        if any(key in weights for key in biases):
            # Side by side, a module without a bias has one of zeros.
            bias = np.concatenate(
                [
                    weights.read(key) if key in weights else np.zeros(len(matrix), np.float32)
                    for key, matrix in zip(biases, matrices, strict=True)
                ]
            )
        return Linear(
            f"{prefix}.{name}",
            np.concatenate(matrices) if len(matrices) > 1 else matrices[0],
            bias,
            shared=not any(map(touched, keys)),
            spread=spread,
        )

    def gain(name: str) -> Gain:
        return weights.read(f"{prefix}.{name}.weight")

    normed = config.query_key_norm
    return Layer(
        input_gain=gain("input_layernorm"),
        query_key_value=linear(
            "query_key_value", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"
        ),
        query_gain=gain("self_attn.q_norm") if normed else None,
        key_gain=gain("self_attn.k_norm") if normed else None,
        attention_output=linear("attention_output", "self_attn.o_proj"),
        post_attention_gain=gain("post_attention_layernorm"),
        gate_and_up=linear("gate_and_up", "mlp.gate_proj", "mlp.up_proj"),
        down=linear("down", "mlp.down_proj", spread=True),
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
    ) -> None:
        self._config = config
        self._precision = precision
        self._graph = graph
        self._rotation = rotation
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
        normed = self._add_and_norm(f"layers.{index}.input_gain", layer.input_gain)
        self._update = self._attention(f"layers.{index}", layer, normed)
        normed = self._add_and_norm(f"layers.{index}.post_gain", layer.post_attention_gain)
        gated = layers.silu_gate(
            self._graph,
            self._precision.linear(self._graph, normed, layer.gate_and_up),
            self._config.intermediate_size,
        )
        self._update = self._precision.linear(self._graph, gated, layer.down)

    def write_pooling(self, gain: Gain, pooling: str) -> ir.Value:
        """Each text's rows made one, normed and turned back: float32 (B, hidden)."""
        graph, config = self._graph, self._config
        assert self._stream is not None
        assert self._update is not None
        rows = graph.op("Add", self._stream, graph.cast(self._update, FLOAT))
        kept = gain if self._rotation is None else None  # else folded into the matrix below

        def norm(x: ir.Value) -> ir.Value:
            value = layers.gain_of(graph, "final_gain", kept, config.hidden_size)
            return layers.rms_norm(graph, x, value, config.rms_norm_eps)

        if pooling == "last_token":
            pooled = norm(self._batch.pool(rows, pooling))  # of one row a text
        else:
            pooled = self._batch.pool(norm(rows), pooling)
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
        query_width = config.num_attention_heads * config.head_dim
        key_width = config.num_key_value_heads * config.head_dim
        together = self._precision.linear(graph, normed, layer.query_key_value)
        query, key, value = graph.multi(
            "Split",
            (together, graph.numbers(query_width, key_width, key_width)),
            (together.dtype,) * 3,
            axis=-1,
        )
        if layer.query_gain is not None and layer.key_gain is not None:
            query, key = (
                layers.head_norm(
                    graph,
                    x,
                    graph.constant(f"{prefix}.{name}", gain),
                    heads=heads,
                    head_dim=config.head_dim,
                    epsilon=config.rms_norm_eps,
                )
                for x, name, gain, heads in (
                    (query, "query_gain", layer.query_gain, config.num_attention_heads),
                    (key, "key_gain", layer.key_gain, config.num_key_value_heads),
                )
            )
        attended = self._batch.attend(query, key, value)
        return self._precision.linear(graph, attended, layer.attention_output)


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
    advance: Callable[[str], None],
) -> list[ir.Value]:
    """The whole walk: table, layers, pooling, at every precision in step.

    Args:
        config: the network.
        weights: of one task, the adapter merged in.
        targets: each precision and the graph that it is written into.
        pooling: one of `batch_kind(config).poolings`.
        touched: whether a weight differs between tasks.
        advance: called with a label before each step.

    Returns:
        The pooled vectors of each target, float32 (B, hidden).
    """
    rotation = Rotation(config.hidden_size)
    networks = [
        Network(config, precision, graph, rotation=rotation if precision.rotates else None)
        for precision, graph in targets
    ]
    advance("embedding table")
    table = "embed_tokens.weight"
    for network in networks:
        network.write_embedding(lambda: weights.read(table), shared=not touched(table))
    for index in range(config.num_hidden_layers):
        advance(f"layer {index + 1} of {config.num_hidden_layers}")
        layer = read_layer(config, weights, index, touched)
        # Reading, merging and rotating take the time: each is done once for all precisions.
        rotated = layer.rotated(rotation) if any(n.rotates for n in networks) else layer
        for network in networks:
            network.write_layer(index, rotated if network.rotates else layer)
    return [network.write_pooling(weights.read("norm.weight"), pooling) for network in networks]
