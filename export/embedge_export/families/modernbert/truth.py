"""The truth for ModernBERT: a plain NumPy forward pass in float32.

One text at a time where tokens meet. Tensors under the names of names.py. Source: ModernBERT arXiv
2412.13663, GeGLU arXiv 2002.05202.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedge_export import truth
from embedge_export.families.modernbert.config import ModernBertConfig
from embedge_export.head.head import Head
from embedge_export.head.truth import vectors
from embedge_export.numbers.exact import cosine_sine
from embedge_export.numbers.sensitivity import TABLE, Disturbance
from embedge_export.tensors.weights import Weights
from embedge_export.truth import Array, Observer, Product, float_product


def modernbert_vectors(
    config: ModernBertConfig,
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
        weights: of names.py.
        texts: token ids, one array (tokens,) a text, at least one token each.
        head: how a text's rows become its vector.
        advance: called with a label before each step.
        observe: called with each linear's weight key and the rows that it reads, (tokens, in).
        product: gives a b^T; calibration takes one with the same bits on every CPU (exact.py).
        disturb: called with each linear's weight key and what it gives, (tokens, out); what it
            returns is taken instead (sensitivity.py).
    """
    bounds = np.cumsum([0, *(len(ids) for ids in texts)])
    longest = max(map(len, texts))

    def norm(x: Array, name: str) -> Array:
        gain = weights.read(f"{name}.weight")
        bias = weights.read(f"{name}.bias") if config.norm_bias else np.zeros_like(gain)
        return truth.layer_norm(x, gain, bias, config.norm_eps)

    def angles(theta: float) -> tuple[Array, Array]:
        places = np.arange(longest, dtype=np.float32)[:, None]
        return cosine_sine(places * (1 / truth.wavelengths(config.head_dim, theta)))

    tables = {True: angles(config.local_theta), False: angles(config.global_theta)}

    def one_text(query: Array, key: Array, value: Array, *, local: bool) -> Array:
        length = query.shape[1]
        turns = tuple(table[:length] for table in tables[local])
        query, key = truth.turn_halves(query, *turns), truth.turn_halves(key, *turns)
        hidden = _too_far(length, config.reach) if local else None
        return truth.attention(query, key, value, product, causal=False, bias=hidden)

    advance("reference: embedding table")
    table = weights.rows("embeddings.tok_embeddings.weight", np.concatenate(texts))
    # Norm and table are one to a graph, so it is the normed rows that rounding changes.
    hidden = disturb(TABLE, norm(table, "embeddings.norm"))
    for index in range(config.num_hidden_layers):
        advance(f"reference: layer {index + 1} of {config.num_hidden_layers}")
        layer = f"layers.{index}"

        def linear(x: Array, name: str, layer: str = layer) -> Array:
            observe(f"{layer}.{name}.weight", x)
            key, bias = f"{layer}.{name}.weight", f"{layer}.{name}.bias"
            y = product(x, weights.read(key))
            return disturb(key, y + weights.read(bias) if bias in weights else y)

        rows = norm(hidden, f"{layer}.attn_norm") if index else hidden
        query, key, value = (
            truth.split_heads(linear(rows, f"attn.{side}"), config.head_dim) for side in "qkv"
        )
        attended = np.concatenate(
            [
                one_text(
                    *(x[:, start:end] for x in (query, key, value)),
                    local=config.local_layers[index],
                )
                for start, end in pairwise(bounds)
            ]
        )
        hidden = hidden + linear(attended, "attn.Wo")
        rows = norm(hidden, f"{layer}.mlp_norm")
        gate, up = linear(rows, "mlp.gate"), linear(rows, "mlp.up")
        hidden = hidden + linear(truth.gelu(gate) * up, "mlp.Wo")
    return vectors(norm(hidden, "final_norm"), bounds, head)


def _too_far(length: int, reach: int) -> Array:
    """Minus infinity for pairs of tokens that do not see each other: (length, length)."""
    places = np.arange(length)
    far = np.abs(places[:, None] - places) > reach
    return np.where(far, np.float32(-np.inf), np.float32(0))
