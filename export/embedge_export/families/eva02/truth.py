"""The truth for EVA02 vision towers: a plain NumPy forward pass in float32.

One head at a time. Source: EVA-02 arXiv 2303.11331, with sub-LayerNorm (arXiv 2210.06423) and
rotary positions in two directions, stretched to the grid they were trained on.
"""

import math
from collections.abc import Callable

import numpy as np

from embedge_export import truth
from embedge_export.families.eva02.config import EvaConfig
from embedge_export.numbers.exact import cosine_sine
from embedge_export.tensors.weights import Weights
from embedge_export.truth import Array, Observer, Product, float_product


def eva_vectors(
    config: EvaConfig,
    weights: Weights,
    pixels: Array,
    *,
    advance: Callable[[str], None] = lambda label: None,
    observe: Observer = lambda key, rows: None,
    product: Product = float_product,
) -> Array:
    """Vectors of images: float32 (images, width), not normalized.

    Args:
        config: the tower.
        weights: without the prefix "vision_model.".
        pixels: float32 (images, 3, image_size, image_size), normalized as the model wants it.
        advance: called with a label before each step.
        observe: called with each linear's weight key and the rows that it reads, float32
            (images, tokens, in).
        product: gives a b^T; calibration takes one with the same bits on every CPU (exact.py).
    """

    def norm(x: Array, name: str) -> Array:
        gain, bias = weights.read(f"{name}.weight"), weights.read(f"{name}.bias")
        return truth.layer_norm(x, gain, bias, config.layer_norm_eps)

    def linear(x: Array, name: str, bias: str | None) -> Array:
        observe(f"{name}.weight", x)
        y = product(x, weights.read(f"{name}.weight"))
        return y if bias is None else y + weights.read(bias)

    advance("reference: patches")
    hidden = _patches(config, weights, pixels, product)  # (images, tokens, width)
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
                _attention(config, *sides, angles, product)
                for sides in zip(query, key, value, strict=True)  # an image at a time
            ]
        )
        attended = norm(attended, f"{attention}.inner_attn_ln")
        hidden = hidden + linear(attended, f"{attention}.proj", f"{attention}.proj.bias")
        rows = norm(hidden, f"{block}.norm2")
        gate = linear(rows, f"{mlp}.w1", f"{mlp}.w1.bias")
        up = linear(rows, f"{mlp}.w2", f"{mlp}.w2.bias")
        gated = norm(truth.silu(gate) * up, f"{mlp}.ffn_ln")
        hidden = hidden + linear(gated, f"{mlp}.w3", f"{mlp}.w3.bias")
    return norm(hidden, "norm")[:, 0]


def _patches(config: EvaConfig, weights: Weights, pixels: Array, product: Product) -> Array:
    """The convolution, one row of patches after another, the class token first, and positions."""
    kernel, bias = weights.read("patch_embed.proj.weight"), weights.read("patch_embed.proj.bias")
    size, grid = config.patch_size, config.grid
    first = weights.read("cls_token")[0, 0]
    rows = [np.broadcast_to(first, (len(pixels), 1, config.width))]
    for y in range(grid):
        strip = pixels[:, :, y * size : (y + 1) * size, : grid * size]
        patches = strip.reshape(len(pixels), 3, size, grid, size)
        flat = patches.transpose(0, 3, 1, 2, 4).reshape(len(pixels), grid, -1)
        rows.append(product(flat, kernel.reshape(config.width, -1)) + bias)
    return np.asarray(np.concatenate(rows, axis=1) + weights.read("pos_embed"), np.float32)


def _angles(config: EvaConfig) -> Array:
    """(patches, head_width / 2): half of the pairs turn with the row, half with the column."""
    axis = config.head_width // 2
    frequencies = 1 / truth.wavelengths(axis, config.rope_theta)
    places = np.arange(config.grid) / config.grid * config.pretrained_grid
    one = places[:, None] * frequencies  # (grid, axis / 2)
    grid = config.grid
    rows = np.broadcast_to(one[:, None], (grid, grid, axis // 2))
    columns = np.broadcast_to(one[None], (grid, grid, axis // 2))
    return np.asarray(np.concatenate([rows, columns], axis=-1).reshape(grid**2, axis), np.float32)


def _turned(x: Array, angles: Array) -> Array:
    """Entries 2i and 2i + 1 of every head turn together; the class token does not."""
    cosine, sine = cosine_sine(angles)
    even, odd = x[:, 1:, 0::2], x[:, 1:, 1::2]
    result = x.copy()
    result[:, 1:, 0::2] = even * cosine - odd * sine
    result[:, 1:, 1::2] = odd * cosine + even * sine
    return result


def _attention(
    config: EvaConfig,
    query: Array,
    key: Array,
    value: Array,
    angles: Array,
    product: Product,
) -> Array:
    """One image: three times (tokens, width) -> the same."""
    query, key, value = (truth.split_heads(x, config.head_width) for x in (query, key, value))
    query, key = _turned(query, angles), _turned(key, angles)
    query /= np.float32(math.sqrt(config.head_width))
    attended = np.empty((config.tokens, config.width), np.float32)
    for head in range(config.heads):
        weights = truth.softmax(product(query[head], key[head]))
        columns = slice(head * config.head_width, (head + 1) * config.head_width)
        attended[:, columns] = product(weights, value[head].T)
    return attended
