"""The pieces that the truths of all families share, in plain NumPy and float32.

A truth is a family's forward pass, written from the network's definition: what its graphs are
compared with. It shares no code with the writer of graphs, so that a mistake there cannot hide
here: no padding, no fusion, no rotation of the stream. Besides NumPy this module imports `exact`
alone, whose exponentials and angles have the same bits on every CPU: integers are fitted to the
rows that a truth sees, so a last bit here would become another weight there. For that reason the
order of the operations must stay as it is, too.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embedge_export.numbers.exact import exp, power

Array = NDArray[np.float32]
Observer = Callable[[str, Array], None]  # a linear's weight key, the rows that it reads
Product = Callable[[Array, Array], Array]  # (…, n, k), (…, m, k) -> (…, n, m)

# The error function by linear interpolation: steps of 2e-4 leave 4e-9, less than float32 holds.
_ERF_GRID = np.linspace(-6, 6, 2**16 + 1)
_ERF_VALUES = np.array([math.erf(x) for x in _ERF_GRID])


def float_product(a: Array, b: Array) -> Array:
    """Gives a b^T in float32, as a BLAS sums it."""
    return np.asarray(a @ np.swapaxes(b, -1, -2), np.float32)


def rms_norm(x: Array, gain: Array, epsilon: float) -> Array:
    """RMSNorm over the last axis (arXiv 1910.07467)."""
    mean = np.mean(np.square(x), axis=-1, keepdims=True)
    return np.asarray(x / np.sqrt(mean + np.float32(epsilon)) * gain, np.float32)


def layer_norm(x: Array, gain: Array, bias: Array, epsilon: float) -> Array:
    """LayerNorm over the last axis (arXiv 1607.06450)."""
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = np.mean(np.square(centered), axis=-1, keepdims=True)
    return np.asarray(centered / np.sqrt(variance + np.float32(epsilon)) * gain + bias, np.float32)


def silu(x: Array) -> Array:
    """Gives x times its logistic function."""
    # The exponent is cut where float32 would overflow; the quotient is 0 there already.
    return np.asarray(x / (1 + exp(np.minimum(-x, np.float32(80)))), np.float32)


def gelu(x: Array) -> Array:
    """The exact one, x times the normal distribution's share below x."""
    below = 1 + np.interp(x / math.sqrt(2), _ERF_GRID, _ERF_VALUES)
    return np.asarray(x * 0.5 * below, np.float32)


def wavelengths(width: int, theta: float) -> Array:
    """What a position is divided by to be the angle of each pair of entries: (width / 2,)."""
    return power(theta, np.arange(0, width, 2, dtype=np.float32) / np.float32(width))


def turn_halves(x: Array, cosine: Array, sine: Array) -> Array:
    """Rotary positions (arXiv 2104.09864), each entry of the first half paired with the second's.

    Args:
        x: (heads, T, width).
        cosine: of each token's angles, (T, width / 2).
        sine: likewise.
    """
    first, second = np.split(x, 2, axis=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return np.asarray(np.concatenate(turned, axis=-1), np.float32)


def split_heads(x: Array, width: int) -> Array:
    """(T, heads * width) -> (heads, T, width)."""
    return x.reshape(len(x), -1, width).transpose(1, 0, 2)


def softmax(scores: Array) -> Array:
    """Over the last axis; changes `scores`."""
    scores -= scores.max(axis=-1, keepdims=True)
    weights = exp(scores)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def attention(
    query: Array,
    key: Array,
    value: Array,
    product: Product,
    *,
    causal: bool,
    bias: Array | None = None,
) -> Array:
    """Attention within one text: three times (heads, T, width) -> (T, heads * width).

    `bias` is added to the scores, (heads, T, T) or (T, T); minus infinity hides a key.
    """
    _, length, width = query.shape
    scores = product(query, key) / np.sqrt(np.float32(width))  # (heads, T, T)
    if bias is not None:
        scores += bias
    if causal:
        scores[:, np.triu(np.ones((length, length), bool), k=1)] = -np.inf
    attended = product(softmax(scores), value.transpose(0, 2, 1)).transpose(1, 0, 2)
    return np.asarray(attended.reshape(length, -1), np.float32)
