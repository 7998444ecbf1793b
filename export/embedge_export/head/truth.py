"""The truth of a head: a text's rows made its vector, in plain NumPy and float32.

As in the truths of the families, the order of the operations must stay as it is. Definitions of the
pooling modes: Sentence Transformers 6.2, `Pooling`.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedge_export.head.head import (
    CLS,
    LAST_TOKEN,
    MAX,
    MEAN,
    MEAN_SQRT_LENGTH,
    Head,
)
from embedge_export.truth import Array


def vectors(rows: Array, bounds: NDArray[np.int64], head: Head) -> Array:
    """Each text's vector, not normalized: float32 (tokens, hidden) -> (texts, head.width).

    Args:
        rows: all texts' tokens, one text below the other.
        bounds: where each text begins, and the end of the last, (texts + 1,).
        head: how.
    """
    return np.concatenate([_pool(rows, bounds, mode) for mode in head.modes], axis=-1)


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
