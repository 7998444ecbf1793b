"""The truth that packs are gated against: plain NumPy forward passes in float32.

Written from the networks' definitions, one text at a time where texts meet (attention), without
padding, fusion, rotation or any code of the graph writer, so that a mistake there cannot hide
here. Itself tested against transformers and peft. Weights are read layer by layer: memory is
that of one layer and the hidden states.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedge_export.families.register import NetworkConfig
from embedge_export.numbers.exact import cosine_sine, exp, power
from embedge_export.numbers.sensitivity import TABLE, Disturbance
from embedge_export.tensors.weights import Weights

Array = NDArray[np.float32]
Observer = Callable[[str, Array], None]  # a linear's weight key, the rows that it reads
Product = Callable[[Array, Array], Array]  # (…, n, k), (…, m, k) -> (…, n, m)


def float_product(a: Array, b: Array) -> Array:
    """Gives a b^T in float32, as a BLAS sums it."""
    return np.asarray(a @ np.swapaxes(b, -1, -2), np.float32)


def network_vectors(
    config: NetworkConfig,
    weights: Weights,
    texts: Sequence[NDArray[np.int32]],
    *,
    pooling: str = "last_token",
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
        pooling: "last_token", "mean" or "cls".
        advance: called with a label before each layer.
        observe: called with each linear's weight key and the rows that it reads, (tokens, in).
        product: gives a b^T; calibration takes one with the same bits on every CPU (exact.py).
        disturb: called with each linear's weight key and what it gives, (tokens, out); what it
            returns is taken instead (sensitivity.py).
    """
    bounds = np.cumsum([0, *(len(ids) for ids in texts)])
    advance("reference: embedding table")
    # All texts' tokens one below the other: (tokens of all texts, hidden).
    hidden = disturb(TABLE, weights.read("embed_tokens.weight")[np.concatenate(texts)])
    positions = [np.arange(len(ids)) for ids in texts]
    cosine, sine = _rotary(config, max(map(len, texts)))
    for index in range(config.num_hidden_layers):
        advance(f"reference: layer {index + 1} of {config.num_hidden_layers}")
        layer = f"layers.{index}"

        def linear(x: Array, name: str, layer: str = layer) -> Array:
            observe(f"{layer}.{name}.weight", x)
            key, bias = f"{layer}.{name}.weight", f"{layer}.{name}.bias"
            y = product(x, weights.read(key))
            return disturb(key, y + weights.read(bias) if bias in weights else y)

        normed = _rms_norm(hidden, weights.read(f"{layer}.input_layernorm.weight"), config)
        query = _heads(linear(normed, "self_attn.q_proj"), config)
        key = _heads(linear(normed, "self_attn.k_proj"), config)
        value = _heads(linear(normed, "self_attn.v_proj"), config)
        if config.query_key_norm:
            query = _rms_norm(query, weights.read(f"{layer}.self_attn.q_norm.weight"), config)
            key = _rms_norm(key, weights.read(f"{layer}.self_attn.k_norm.weight"), config)
        attended = np.concatenate(
            [
                _attention(
                    _rotate(query[:, start:end], cosine[places], sine[places]),
                    _rotate(key[:, start:end], cosine[places], sine[places]),
                    value[:, start:end],
                    causal=config.causal,
                    product=product,
                )
                for start, end, places in zip(bounds[:-1], bounds[1:], positions, strict=True)
            ]
        )
        hidden = hidden + linear(attended, "self_attn.o_proj")
        normed = _rms_norm(hidden, weights.read(f"{layer}.post_attention_layernorm.weight"), config)
        gate, up = linear(normed, "mlp.gate_proj"), linear(normed, "mlp.up_proj")
        hidden = hidden + linear(_silu(gate) * up, "mlp.down_proj")
    normed = _rms_norm(hidden, weights.read("norm.weight"), config)
    if pooling == "mean":
        means = [normed[start:end].mean(axis=0) for start, end in pairwise(bounds)]
        return np.asarray(np.stack(means), np.float32)
    rows = bounds[:-1] if pooling == "cls" else bounds[1:] - 1
    return np.asarray(normed[rows], np.float32)


def _heads(x: Array, config: NetworkConfig) -> Array:
    """(tokens, heads * head_dim) -> (heads, tokens, head_dim)."""
    return x.reshape(len(x), -1, config.head_dim).transpose(1, 0, 2)


def _rms_norm(x: Array, gain: Array, config: NetworkConfig) -> Array:
    mean = np.mean(np.square(x), axis=-1, keepdims=True)
    return np.asarray(x / np.sqrt(mean + np.float32(config.rms_norm_eps)) * gain, np.float32)


def _silu(x: Array) -> Array:
    # The exponent is cut where float32 would overflow; the quotient is 0 there already.
    return np.asarray(x / (1 + exp(np.minimum(-x, np.float32(80)))), np.float32)


def _rotary(config: NetworkConfig, length: int) -> tuple[Array, Array]:
    """Cosine and sine (length, head_dim), both halves alike."""
    steps = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    frequencies = 1 / power(config.rope_theta, steps)
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    angles = np.concatenate([angles, angles], axis=-1)
    return cosine_sine(angles)


def _rotate(x: Array, cosine: Array, sine: Array) -> Array:
    """Half-split rotary positions: the first half of each head pairs with the second."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    turned = np.concatenate([-second, first], axis=-1)
    return np.asarray(x * cosine + turned * sine, np.float32)


def _attention(query: Array, key: Array, value: Array, *, causal: bool, product: Product) -> Array:
    """One text: (heads, T, d) and twice (kv heads, T, d) -> (T, heads * d)."""
    heads, length, head_dim = query.shape
    groups = heads // len(key)
    key, value = np.repeat(key, groups, axis=0), np.repeat(value, groups, axis=0)
    # (heads, T, T)
    scores = product(query, key) / np.sqrt(np.float32(head_dim))
    if causal:
        scores[:, np.triu(np.ones((length, length), bool), k=1)] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    weights = exp(scores)
    weights /= weights.sum(axis=-1, keepdims=True)
    attended = product(weights, value.transpose(0, 2, 1)).transpose(1, 0, 2)
    return np.asarray(attended.reshape(length, heads * head_dim), np.float32)
