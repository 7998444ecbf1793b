"""The truth for Qwen3, Qwen2, Llama and EuroBERT: a plain NumPy forward pass in float32.

Written from the networks' definitions, one text at a time where tokens meet (attention). Itself
tested against transformers and peft. Weights are read layer by layer: memory is that of one layer
and the hidden states.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedge_export import truth
from embedge_export.families.decoder.config import NetworkConfig
from embedge_export.head.head import Head
from embedge_export.head.truth import vectors
from embedge_export.numbers.exact import cosine_sine
from embedge_export.numbers.sensitivity import TABLE, Disturbance
from embedge_export.tensors.weights import Weights
from embedge_export.truth import Array, Observer, Product, float_product


def network_vectors(
    config: NetworkConfig,
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
        advance: called with a label before each layer.
        observe: called with each linear's weight key and the rows that it reads, (tokens, in).
        product: gives a b^T; calibration takes one with the same bits on every CPU (exact.py).
        disturb: called with each linear's weight key and what it gives, (tokens, out); what it
            returns is taken instead (sensitivity.py).
    """
    bounds = np.cumsum([0, *(len(ids) for ids in texts)])
    advance("reference: embedding table")
    # All texts' tokens one below the other: (tokens of all texts, hidden).
    hidden = disturb(TABLE, weights.rows("embed_tokens.weight", np.concatenate(texts)))
    cosine, sine = _rotary(config, max(map(len, texts)))

    def norm(x: Array, name: str) -> Array:
        return truth.rms_norm(x, weights.read(f"{name}.weight"), config.rms_norm_eps)

    def one_text(query: Array, key: Array, value: Array) -> Array:
        tables = cosine[: query.shape[1]], sine[: query.shape[1]]
        query, key = truth.turn_halves(query, *tables), truth.turn_halves(key, *tables)
        groups = len(query) // len(key)
        key, value = np.repeat(key, groups, axis=0), np.repeat(value, groups, axis=0)
        return truth.attention(query, key, value, product, causal=config.causal)

    for index in range(config.num_hidden_layers):
        advance(f"reference: layer {index + 1} of {config.num_hidden_layers}")
        layer = f"layers.{index}"

        def linear(x: Array, name: str, layer: str = layer) -> Array:
            observe(f"{layer}.{name}.weight", x)
            key, bias = f"{layer}.{name}.weight", f"{layer}.{name}.bias"
            y = product(x, weights.read(key))
            return disturb(key, y + weights.read(bias) if bias in weights else y)

        rows = norm(hidden, f"{layer}.input_layernorm")
        query, key, value = (
            truth.split_heads(linear(rows, f"self_attn.{side}_proj"), config.head_dim)
            for side in "qkv"
        )
        if config.query_key_norm:
            query = norm(query, f"{layer}.self_attn.q_norm")
            key = norm(key, f"{layer}.self_attn.k_norm")
        attended = np.concatenate(
            [
                one_text(*(x[:, start:end] for x in (query, key, value)))
                for start, end in pairwise(bounds)
            ]
        )
        hidden = hidden + linear(attended, "self_attn.o_proj")
        rows = norm(hidden, f"{layer}.post_attention_layernorm")
        gate, up = linear(rows, "mlp.gate_proj"), linear(rows, "mlp.up_proj")
        hidden = hidden + linear(truth.silu(gate) * up, "mlp.down_proj")
    return vectors(norm(hidden, "norm"), bounds, head)


def _rotary(config: NetworkConfig, length: int) -> tuple[Array, Array]:
    """Cosine and sine of every position, (length, head_dim / 2)."""
    frequencies = 1 / truth.wavelengths(config.head_dim, config.rope_theta)
    return cosine_sine(np.arange(length, dtype=np.float32)[:, None] * frequencies)
