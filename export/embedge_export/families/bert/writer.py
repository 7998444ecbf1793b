"""Graphs of BERT, XLM-RoBERTa, MPNet and jina-embeddings-v3 encoders, layer by layer (walk.py).

Exact GELU, attention to both sides. The networks differ in where positions come from: a learned row
added to the token's, rotary angles in attention, or a learned number added to each score.

The residual stream itself is normed, with gain and bias, so no rotation can be folded through it:
what reads it is spread at run time where a precision needs that. On all-MiniLM-L6-v2's real
weights int8's lowest cosine over the gate's texts is 0.9991 so, and 0.990 without; on those of
all-mpnet-base-v2 it is 0.9990.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from embedge_export.families.bert.blocks import BertLayer, read_bert_layer
from embedge_export.families.bert.config import DISTANCE_TABLE, FARTHEST, BertConfig
from embedge_export.families.family import Targets, TextTask
from embedge_export.families.walk import finish_rows, multiply, takes_standard_attention, walk
from embedge_export.graph import layers
from embedge_export.graph.attention import Heads, rotary_tables
from embedge_export.graph.builder import GraphBuilder
from embedge_export.graph.layer_norm import add_and_norm, apply_norm, read_norm
from embedge_export.graph.layers import Activation, Table
from embedge_export.graph.packed import PackedBatch
from embedge_export.precision import Precision


class BertWriter:
    """Writes a network's graph, layer by layer, at one precision; a `Writer` of walk.py."""

    rotates = False

    def __init__(
        self,
        config: BertConfig,
        task: TextTask,
        precision: Precision,
        graph: GraphBuilder,
    ) -> None:
        self._config = config
        self._task = task
        self._precision = precision
        self._graph = graph
        rotary = None
        if config.rope_theta is not None:
            rotary = rotary_tables(
                positions=config.max_position_embeddings,
                width=config.head_dim,
                theta=config.rope_theta,
            )
        distances = None
        if config.distance_buckets:
            table = task.weights.read(DISTANCE_TABLE)
            distances = by_distance(table, config.max_position_embeddings)
        heads = Heads(
            query=config.num_attention_heads,
            key_value=config.num_attention_heads,
            width=config.head_dim,
            rotary=rotary,
            distances=distances,
        )
        standard = takes_standard_attention(task, precision)
        self._batch = PackedBatch(graph, heads, standard=standard)
        self._stream: ir.Value | None = None  # float32 (rows, hidden)

    def start(self) -> None:
        """Starts the stream: token, position and the one token type there is, normed."""
        graph, config = self._graph, self._config
        weights, adapted = self._task.weights, self._task.adapted
        words, types = (f"embeddings.{name}_embeddings.weight" for name in ("word", "token_type"))
        kind = weights.read(types)[0] if config.type_vocab_size else np.float32(0)
        table = Table(config.hidden_size, lambda: weights.read(words), not adapted(words))
        rows = self._precision.embedding(graph, self._batch.ids, table)
        if config.rope_theta is None:
            places = weights.read("embeddings.position_embeddings.weight")
            places = places[config.padding_id or 0 :] + kind
            stored = graph.weight("positions", lambda: places, shared=not adapted(types))
            update = graph.op("Gather", stored, self._batch.positions(config.padding_id), axis=0)
        else:
            update = graph.constant("token_type", kind)
        self._stream = apply_norm(
            graph,
            graph.op("Add", rows, update),
            read_norm(weights, "embeddings.LayerNorm"),
            config.layer_norm_eps,
        )

    def write(self, index: int, layer: BertLayer) -> None:
        """Attention and MLP of one layer."""
        graph, precision = self._graph, self._precision
        epsilon = self._config.layer_norm_eps
        assert self._stream is not None
        stream, rows = self._stream, self._batch.tokens
        reads = (layer.query, layer.key, layer.value)
        activation = Activation(stream, rows, outliers=True)
        query, key, value = multiply(graph, precision, activation, reads)
        activation = Activation(self._batch.attend(query, key, value), rows)
        [update] = multiply(graph, precision, activation, [layer.attention_output])
        stream, _ = add_and_norm(graph, stream, update, layer.attention_norm, epsilon)
        activation = Activation(stream, rows, outliers=True)
        [inner] = multiply(graph, precision, activation, [layer.inner])
        activation = Activation(layers.gelu(graph, inner), rows, outliers=True)
        [update] = multiply(graph, precision, activation, [layer.outer])
        self._stream, _ = add_and_norm(graph, stream, update, layer.mlp_norm, epsilon)

    def finish(self) -> ir.Value:
        """Each text's rows made one: float32 (B, head.pooled_width)."""
        assert self._stream is not None
        width = self._config.hidden_size
        return finish_rows(self._graph, self._batch, self._stream, self._task, width)


def by_distance(table: NDArray[np.float32], positions: int) -> NDArray[np.float32]:
    """What a score gets, by how far the key is after the query: -positions, … positions - 1.

    Args:
        table: of every bucket, float32 (buckets, heads).
        positions: the most tokens that a text has.

    Returns:
        float32 (heads, 2 * positions).
    """
    half, exact = len(table) // 2, len(table) // 4
    shared = half - exact
    # Buckets end where the ratio to `exact` is a root of FARTHEST / exact: compared as whole
    # numbers, which no machine rounds.
    ends = [
        next(
            d
            for d in range(exact, FARTHEST + 1)
            if d**shared * exact**n >= FARTHEST**n * exact**shared
        )
        for n in range(1, shared)
    ]
    far = np.arange(positions + 1)
    bucket = np.where(far < exact, far, exact + np.searchsorted(ends, far, side="right"))
    return np.ascontiguousarray(table[np.concatenate([bucket[:0:-1], [0], bucket[1:-1] + half])].T)


def write(
    config: BertConfig,
    task: TextTask,
    targets: Targets,
    *,
    advance: Callable[[str], None],
) -> list[ir.Value]:
    """Writes a network's graph at every precision; see `Family.write`."""
    writers = [BertWriter(config, task, precision, graph) for precision, graph in targets]
    return walk(
        writers,
        count=config.num_hidden_layers,
        read=lambda index: read_bert_layer(task, index),
        rotate=None,
        labels=("embedding table", "layer"),
        advance=advance,
    )
