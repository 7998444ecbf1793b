"""The truth for EVA02 vision towers: a plain NumPy forward pass in float32.

As reference.py: one image at a time, no fusion, no rotation, no code of the graph writer. Source:
EVA-02 arXiv 2303.11331, with sub-LayerNorm (arXiv 2210.06423) and rotary positions in two
directions, stretched to the grid they were trained on.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embedge_export.architectures.eva02_config import EvaConfig
from embedge_export.weights import Weights

Array = NDArray[np.float32]


def eva_vectors(
    config: EvaConfig,
    weights: Weights,
    pixels: Array,
    *,
    advance: Callable[[str], None] = lambda label: None,
) -> Array:
    """Vectors of images: float32 (images, width), not normalised.

    Args:
        config: the tower.
        weights: without the prefix "vision_model.".
        pixels: float32 (images, 3, image_size, image_size), normalised as the model wants it.
        advance: called with a label before each step.
    """

    def norm(x: Array, name: str) -> Array:
        gain, bias = weights.read(f"{name}.weight"), weights.read(f"{name}.bias")
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.mean(np.square(centred), axis=-1, keepdims=True)
        scaled = centred / np.sqrt(variance + np.float32(config.layer_norm_eps))
        return np.asarray(scaled * gain + bias, np.float32)

    def linear(x: Array, name: str, bias: str | None) -> Array:
        y = np.asarray(x @ weights.read(f"{name}.weight").T, np.float32)
        return y if bias is None else y + weights.read(bias)

    advance("reference: patches")
    hidden = _patches(config, weights, pixels)  # (images, tokens, width)
    angles = _angles(config)
    for index in range(config.layers):
        advance(f"reference: block {index + 1} of {config.layers}")
        block = f"blocks.{index}"
        attention, mlp = f"{block}.attn", f"{block}.mlp"
        rows = norm(hidden, f"{block}.norm1")
        query = linear(rows, f"{attention}.q_proj", f"{attention}.q_bias")
        key = linear(rows, f"{attention}.k_proj", None)
        value = linear(rows, f"{attention}.v_proj", f"{attention}.v_bias")
        attended = np.stack(
            [
                _attention(config, *sides, angles)
                for sides in zip(query, key, value, strict=True)  # an image at a time
            ]
        )
        attended = norm(attended, f"{attention}.inner_attn_ln")
        hidden = hidden + linear(attended, f"{attention}.proj", f"{attention}.proj.bias")
        rows = norm(hidden, f"{block}.norm2")
        gate = linear(rows, f"{mlp}.w1", f"{mlp}.w1.bias")
        up = linear(rows, f"{mlp}.w2", f"{mlp}.w2.bias")
        product = norm(_silu(gate) * up, f"{mlp}.ffn_ln")
        hidden = hidden + linear(product, f"{mlp}.w3", f"{mlp}.w3.bias")
    return norm(hidden, "norm")[:, 0]


def _patches(config: EvaConfig, weights: Weights, pixels: Array) -> Array:
    """The convolution, one patch after another, the class token before them, and positions."""
    kernel, bias = weights.read("patch_embed.proj.weight"), weights.read("patch_embed.proj.bias")
    size = config.patch_size
    rows = [np.broadcast_to(weights.read("cls_token")[0, 0], (len(pixels), config.width))]
    for y in range(config.grid):
        for x in range(config.grid):
            patch = pixels[:, :, y * size : (y + 1) * size, x * size : (x + 1) * size]
            rows.append(np.tensordot(patch, kernel, axes=((1, 2, 3), (1, 2, 3))) + bias)
    return np.asarray(np.stack(rows, axis=1) + weights.read("pos_embed"), np.float32)


def _angles(config: EvaConfig) -> Array:
    """(patches, head_width / 2): half of the pairs turn with the row, half with the column."""
    axis = config.head_width // 2
    frequencies = config.rope_theta ** -(np.arange(0, axis, 2) / axis)
    places = np.arange(config.grid) / config.grid * config.pretrained_grid
    one = places[:, None] * frequencies  # (grid, axis / 2)
    grid = config.grid
    rows = np.broadcast_to(one[:, None], (grid, grid, axis // 2))
    columns = np.broadcast_to(one[None], (grid, grid, axis // 2))
    return np.asarray(np.concatenate([rows, columns], axis=-1).reshape(grid**2, axis), np.float32)


def _turned(x: Array, angles: Array) -> Array:
    """Entries 2i and 2i + 1 of every head turn together; the class token does not."""
    cosine, sine = np.cos(angles), np.sin(angles)
    even, odd = x[:, 1:, 0::2], x[:, 1:, 1::2]
    result = x.copy()
    result[:, 1:, 0::2] = even * cosine - odd * sine
    result[:, 1:, 1::2] = odd * cosine + even * sine
    return result


def _attention(config: EvaConfig, query: Array, key: Array, value: Array, angles: Array) -> Array:
    """One image: three times (tokens, width) -> the same."""

    def heads(x: Array) -> Array:
        return np.asarray(x.reshape(len(x), config.heads, config.head_width).transpose(1, 0, 2))

    query, key = (_turned(heads(x), angles) for x in (query, key))
    scores = query @ key.transpose(0, 2, 1) / np.float32(math.sqrt(config.head_width))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    attended = (scores @ heads(value)).transpose(1, 0, 2)
    return np.asarray(attended.reshape(config.tokens, config.width), np.float32)


def _silu(x: Array) -> Array:
    # The exponent is cut where float32 would overflow; the quotient is 0 there already.
    return np.asarray(x / (1 + np.exp(np.minimum(-x, np.float32(80)))), np.float32)
