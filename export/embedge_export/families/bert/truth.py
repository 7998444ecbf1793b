"""The truth for BERT-like encoders: a plain NumPy forward pass in float32.

One text at a time where tokens meet. Tensors under the names of names.py. Source: BERT arXiv
1810.04805.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedge_export import truth
from embedge_export.families.bert.config import DISTANCE_TABLE, FARTHEST, BertConfig
from embedge_export.head.head import Head
from embedge_export.head.truth import vectors
from embedge_export.numbers.exact import cosine_sine
from embedge_export.numbers.sensitivity import TABLE, Disturbance
from embedge_export.tensors.weights import Weights
from embedge_export.truth import Array, Observer, Product, float_product


def bert_vectors(
    config: BertConfig,
    weights: Weights,
    texts: Sequence[NDArray[np.int32]],
    *,
    head: Head,
    advance: Callable[[str], None] = lambda label: None,
    observe: Observer = lambda key, rows: None,
    product: Product = float_product,
    disturb: Disturbance = lambda key, rows: rows,
) -> Array:
    """Vectors of token id sequences: float32 (texts, head.width), not normalized.

    Args:
        config: the network.
        weights: with the adapter merged in.
        texts: token ids, one array (tokens,) a text, at least one token each.
        head: how a text's rows become its vector.
        advance: called with a label before each step.
        observe: called with each linear's weight key and the rows that it reads, (tokens, in).
        product: gives a b^T; calibration takes one with the same bits on every CPU (exact.py).
        disturb: called with each linear's weight key and what it gives, (tokens, out); what it
            returns is taken instead (sensitivity.py).
    """
    bounds = np.cumsum([0, *(len(ids) for ids in texts)])

    def norm(x: Array, name: str) -> Array:
        return truth.layer_norm(
            x, weights.read(f"{name}.weight"), weights.read(f"{name}.bias"), config.layer_norm_eps
        )

    advance("reference: embedding table")
    table = "embeddings.word_embeddings.weight"
    hidden = disturb(TABLE, weights.rows(table, np.concatenate(texts)))
    if config.type_vocab_size:
        hidden = hidden + weights.read("embeddings.token_type_embeddings.weight")[0]
    if config.rope_theta is None:
        positions = weights.read("embeddings.position_embeddings.weight")
        places = np.concatenate([_positions(ids, config.padding_id) for ids in texts])
        hidden = hidden + positions[places]
    hidden = norm(hidden, "embeddings.LayerNorm")
    distances: Array | None = None
    if config.distance_buckets:
        buckets = _buckets(max(map(len, texts)), config.distance_buckets)
        distances = weights.read(DISTANCE_TABLE)[buckets].transpose(2, 0, 1)
    one_text = partial(_attention, config=config, product=product, distances=distances)
    for index in range(config.num_hidden_layers):
        advance(f"reference: layer {index + 1} of {config.num_hidden_layers}")
        layer = f"layers.{index}"

        def linear(x: Array, name: str, layer: str = layer) -> Array:
            observe(f"{layer}.{name}.weight", x)
            key = f"{layer}.{name}.weight"
            y = product(x, weights.read(key)) + weights.read(f"{layer}.{name}.bias")
            return disturb(key, y)

        query, key, value = (linear(hidden, f"self_attn.{side}_proj") for side in "qkv")
        attended = np.concatenate(
            [
                one_text(query[start:end], key[start:end], value[start:end])
                for start, end in pairwise(bounds)
            ]
        )
        hidden = norm(
            hidden + linear(attended, "self_attn.o_proj"), f"{layer}.post_attention_layernorm"
        )
        inner = truth.gelu(linear(hidden, "mlp.fc1"))
        hidden = norm(hidden + linear(inner, "mlp.fc2"), f"{layer}.post_mlp_layernorm")
    return vectors(hidden, bounds, head)


def _positions(ids: NDArray[np.int32], padding_id: int | None) -> NDArray[np.int64]:
    """The row of the position table that each token takes: (tokens,) -> (tokens,)."""
    if padding_id is None:
        return np.arange(len(ids))
    counts = ids != padding_id  # a padding token within a text is not counted, as in fairseq
    return np.asarray(np.cumsum(counts) * counts + padding_id, np.int64)


def _buckets(length: int, count: int) -> NDArray[np.int64]:
    """The bucket of every pair of tokens, by how far the key is after the query: (T, T).

    The nearest have one each; farther ones share them by the logarithm of the distance, until the
    farthest. The logarithm of what ends a bucket may come out a last bit below it.
    """
    half, exact = count // 2, count // 4
    after = np.arange(length)[None] - np.arange(length)[:, None]
    far = np.maximum(np.abs(after), 1)
    share = np.log(far / exact) / np.log(FARTHEST / exact)
    shared = np.minimum(exact + np.floor(share * (half - exact) + 1e-9).astype(np.int64), half - 1)
    return np.asarray(np.where(np.abs(after) < exact, np.abs(after), shared) + half * (after > 0))


def _attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    config: BertConfig,
    product: Product,
    distances: Array | None,
) -> Array:
    """One text: three times (T, hidden) -> (T, hidden).

    `distances` is added to the scores: (heads, T or more, T or more).
    """
    query, key, value = (truth.split_heads(x, config.head_dim) for x in (query, key, value))
    if config.rope_theta is not None:
        places = np.arange(query.shape[1], dtype=np.float32)[:, None]
        tables = cosine_sine(places / truth.wavelengths(config.head_dim, config.rope_theta))
        query, key = truth.turn_halves(query, *tables), truth.turn_halves(key, *tables)
    if distances is not None:
        distances = distances[:, : query.shape[1], : query.shape[1]]
    return truth.attention(query, key, value, product, causal=config.causal, bias=distances)
