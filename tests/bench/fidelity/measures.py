"""How near vectors of one precision are to those of another: plain numbers from two arrays.

Takes float32 (n, d) of the same texts, normalized or not; knows no text and no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
NEIGHBOURS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """What a precision has to reach."""

    cosine_min: float
    cosine_min_but_ties: float  # of all texts but ties (embedge_export/gate/probe.py)
    cosine_mean: float
    spearman: float
    difference: float | None  # of a text alone and in any batch; None: floats may round


EXACT = Bars(
    cosine_min=0.998,
    cosine_min_but_ties=0.9985,
    cosine_mean=0.999,
    spearman=0.998,
    difference=0.0,
)
LOWER = replace(EXACT, difference=None)
# Others are measured and have no bar. fp16's sums are rounded in the order a kernel takes them.
BARS = {"int8": EXACT, "fp16": LOWER}


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """Of each row of `a` with the same row of `b`: (n,)."""
    return np.asarray(np.sum(_unit(a) * _unit(b), axis=1), np.float64)


def compare(got: Vectors, want: Vectors) -> dict[str, float]:
    """Cosines, rank correlation of all similarities, and how many near neighbors are kept."""
    each = cosines(got, want)
    ours, theirs = _similarities(got), _similarities(want)
    pairs = np.triu_indices(len(want), k=1)
    return {
        "cosine_min": float(each.min()),
        "cosine_p1": float(np.percentile(each, 1)),
        "cosine_mean": float(each.mean()),
        "spearman": _spearman(ours[pairs], theirs[pairs]),
        "neighbors_kept": _kept(ours, theirs),
    }


def least_by_kind(each: NDArray[np.float64], kinds: Sequence[str]) -> dict[str, float]:
    """The least cosine of every kind of text."""
    least: dict[str, float] = {}
    for cosine, kind in zip(each.tolist(), kinds, strict=True):
        least[kind] = min(cosine, least.get(kind, 1.0))
    return least


def missed(measured: Mapping[str, Any], bars: Bars | None) -> list[str]:
    """The bars that are missed, as words; NaN misses every bar."""
    if bars is None:
        return []
    found = [
        f"{name.replace('_', ' ')} {measured[name]:.6f} < {bar}"
        for name in ("cosine_min", "cosine_min_but_ties", "cosine_mean", "spearman")
        if not measured[name] >= (bar := getattr(bars, name))
    ]
    if bars.difference is not None:
        found += [
            f"{name.replace('_', ' ')} {measured[name]:.1e} > {bars.difference:g}"
            for name in ("batch_difference", "padding_difference")
            if not measured[name] <= bars.difference
        ]
    return found


def _unit(vectors: Vectors) -> NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    return np.asarray(exact / np.linalg.norm(exact, axis=1, keepdims=True))


def _similarities(vectors: Vectors) -> NDArray[np.float64]:
    unit = _unit(vectors)
    return np.asarray(unit @ unit.T)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Rank correlation; similarities of floats have no ties worth averaging."""
    ranks_a, ranks_b = (np.argsort(np.argsort(x)).astype(np.float64) for x in (a, b))
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])


def _kept(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """The share of each text's nearest others that are among its nearest in both."""
    count = min(NEIGHBOURS, len(ours) - 1)
    nearest = []
    for similarities in (ours, theirs):
        others = similarities - 3 * np.eye(len(similarities))  # never itself
        nearest.append(np.argsort(-others, axis=1)[:, :count])
    return float(np.mean([len(np.intersect1d(*pair)) for pair in zip(*nearest, strict=True)])) / (
        count or 1
    )
