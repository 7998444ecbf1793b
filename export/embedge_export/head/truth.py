"""The truth of a head: a text's rows made its vector, in plain NumPy and float32.

As in the truths of the families, the order of the operations must stay as it is. The
definitions are those of the modules of Sentence Transformers 6.2.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedge_export import truth
from embedge_export.head.head import (
    CLS,
    EPSILON,
    LAST_TOKEN,
    MAX,
    MEAN,
    MEAN_SQRT_LENGTH,
    SHORTEST,
    Dense,
    Head,
    Normalize,
    Step,
)
from embedge_export.truth import Array


def vectors(rows: Array, bounds: NDArray[np.int64], head: Head) -> Array:
    """Each text's vector, not normalized: float32 (tokens, hidden) -> (texts, head.width).

    Args:
        rows: all texts' tokens, one text below the other.
        bounds: where each text begins, and the end of the last, (texts + 1,).
        head: how.
    """
    result = np.concatenate([_pool(rows, bounds, mode) for mode in head.modes], axis=-1)
    for step in head.computed:
        result = _take(result, step)
    return result


def _pool(rows: Array, bounds: NDArray[np.int64], mode: str) -> Array:
    if mode in (CLS, LAST_TOKEN):
        return np.asarray(rows[bounds[:-1] if mode == CLS else bounds[1:] - 1], np.float32)
    pooled = [_one(rows[start:end], mode) for start, end in pairwise(bounds)]
    return np.asarray(np.stack(pooled), np.float32)


def _one(rows: Array, mode: str) -> Array:
    """One text: (tokens, hidden) -> (hidden,)."""
    if mode == MEAN:
        return np.asarray(rows.mean(axis=0))
    if mode == MAX:
        return np.asarray(rows.max(axis=0))
    if mode == MEAN_SQRT_LENGTH:
        return np.asarray(rows.sum(axis=0) / np.sqrt(np.float32(len(rows))))
    weights = np.arange(1, len(rows) + 1, dtype=np.float32)[:, None]
    return np.asarray((rows * weights).sum(axis=0) / weights.sum())


def _take(x: Array, step: Step) -> Array:
    """A step: (texts, in) -> (texts, out)."""
    if isinstance(step, Normalize):
        length = np.sqrt(np.square(x).sum(axis=-1, keepdims=True))
        return np.asarray(x / np.maximum(length, np.float32(SHORTEST)), np.float32)
    read = step.weights.read
    if not isinstance(step, Dense):
        return truth.layer_norm(x, read("norm.weight"), read("norm.bias"), EPSILON)
    y = x @ read("linear.weight").T
    if step.bias:
        y = y + read("linear.bias")
    y = _activate(np.asarray(y, np.float32), step.activation)
    if step.residual:
        y = y + (x if step.inputs == step.outputs else x @ read("residual.weight").T)
    return np.asarray(y, np.float32)


def _activate(x: Array, name: str) -> Array:
    if name == "GELU":
        return truth.gelu(x)
    if name == "SiLU":
        return truth.silu(x)
    if name == "Sigmoid":
        return np.asarray((1 + np.tanh(x / 2)) / 2, np.float32)
    if name == "Tanh":
        return np.asarray(np.tanh(x), np.float32)
    return np.maximum(x, 0) if name == "ReLU" else x
