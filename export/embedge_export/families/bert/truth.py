"""The truth for BERT-like encoders: a plain NumPy forward pass in float32.

As the decoder's: one text at a time where tokens meet, no padding, no fusion, and no code of the
graph writer. Tensors under the names of names.py. Sources: BERT arXiv 1810.04805, rotary
positions arXiv 2104.09864.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedge_export.families.bert.config import BertConfig
from embedge_export.families.decoder.truth import Observer, Product, float_product
from embedge_export.numbers.exact import cosine_sine, exp, power
from embedge_export.numbers.sensitivity import TABLE, Disturbance
from embedge_export.tensors.weights import Weights

Array = NDArray[np.float32]
# The error function by linear interpolation: steps of 2e-4 leave 4e-9, less than float32 holds.
_ERF_GRID = np.linspace(-6, 6, 2**16 + 1)
_ERF_VALUES = np.array([math.erf(x) for x in _ERF_GRID])


def bert_vectors(
    config: BertConfig,
    weights: Weights,
    texts: Sequence[NDArray[np.int32]],
    *,
    pooling: str = "mean",
    advance: Callable[[str], None] = lambda label: None,
    observe: Observer = lambda key, rows: None,
    product: Product = float_product,
    disturb: Disturbance = lambda key, rows: rows,
) -> Array:
    """Pooled vectors of token id sequences: float32 (texts, hidden), not normalised.

    Args:
        config: the network.
        weights: with the adapter merged in.
        texts: token ids, one array (tokens,) a text, at least one token each.
        pooling: "mean", "cls" or "last_token".
        advance: called with a label before each step.
        observe: called with each linear's weight key and the rows that it reads, (tokens, in).
        product: gives a b^T; calibration takes one with the same bits on every CPU (exact.py).
        disturb: called with each linear's weight key and what it gives, (tokens, out); what it
            returns is taken instead (sensitivity.py).
    """
    bounds = np.cumsum([0, *(len(ids) for ids in texts)])

    def norm(x: Array, name: str) -> Array:
        return _layer_norm(
            x, weights.read(f"{name}.weight"), weights.read(f"{name}.bias"), config.layer_norm_eps
        )

    advance("reference: embedding table")
    table = "embeddings.word_embeddings.weight"
    hidden = disturb(TABLE, weights.read(table)[np.concatenate(texts)])
    hidden = hidden + weights.read("embeddings.token_type_embeddings.weight")[0]
    if config.rope_theta is None:
        positions = weights.read("embeddings.position_embeddings.weight")
        places = np.concatenate([_positions(ids, config.padding_id) for ids in texts])
        hidden = hidden + positions[places]
    hidden = norm(hidden, "embeddings.LayerNorm")
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
                _attention(query[start:end], key[start:end], value[start:end], config, product)
                for start, end in pairwise(bounds)
            ]
        )
        hidden = norm(
            hidden + linear(attended, "self_attn.o_proj"), f"{layer}.post_attention_layernorm"
        )
        inner = _gelu(linear(hidden, "mlp.fc1"))
        hidden = norm(hidden + linear(inner, "mlp.fc2"), f"{layer}.post_mlp_layernorm")
    if pooling == "mean":
        means = [hidden[start:end].mean(axis=0) for start, end in pairwise(bounds)]
        return np.asarray(np.stack(means), np.float32)
    rows = bounds[:-1] if pooling == "cls" else bounds[1:] - 1
    return np.asarray(hidden[rows], np.float32)


def _positions(ids: NDArray[np.int32], padding_id: int | None) -> NDArray[np.int64]:
    """The row of the position table that each token takes: (tokens,) -> (tokens,)."""
    if padding_id is None:
        return np.arange(len(ids))
    counts = ids != padding_id  # a padding token within a text is not counted, as in fairseq
    return np.asarray(np.cumsum(counts) * counts + padding_id, np.int64)


def _attention(
    query: Array, key: Array, value: Array, config: BertConfig, product: Product
) -> Array:
    """One text: three times (T, hidden) -> (T, hidden)."""
    length = len(query)

    def heads(x: Array) -> Array:
        apart = x.reshape(length, config.num_attention_heads, config.head_dim)
        return np.asarray(apart.transpose(1, 0, 2))

    query, key, value = heads(query), heads(key), heads(value)
    if config.rope_theta is not None:
        query, key = _rotated(query, config.rope_theta), _rotated(key, config.rope_theta)
    scores = product(query, key) / np.float32(math.sqrt(config.head_dim))
    scores = exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    attended = product(scores, value.transpose(0, 2, 1)).transpose(1, 0, 2)
    return attended.reshape(length, -1)


def _rotated(x: Array, theta: float) -> Array:
    """Rotary positions: entry i of a head's first half turns with entry i of its second."""
    _, length, width = x.shape
    steps = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    angles = np.arange(length, dtype=np.float32)[:, None] / power(theta, steps)
    cosine, sine = cosine_sine(angles)  # (T, width / 2)
    first, second = np.split(x, 2, axis=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return np.asarray(np.concatenate(turned, axis=-1), np.float32)


def _layer_norm(x: Array, gain: Array, bias: Array, epsilon: float) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.mean(np.square(centred), axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + np.float32(epsilon)) * gain + bias, np.float32)


def _gelu(x: Array) -> Array:
    """The exact one, x times the normal distribution's share below x."""
    below = 1 + np.interp(x / math.sqrt(2), _ERF_GRID, _ERF_VALUES)
    return np.asarray(x * 0.5 * below, np.float32)
