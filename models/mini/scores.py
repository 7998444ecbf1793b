"""Rank correlation, recall, and the reader of STS-B: what both training and evaluation use."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mini.items import fraction

Pairs = Sequence[tuple[str, str, float]]


def read_pairs(file: Path) -> list[tuple[str, str, float]]:
    """STS-B as CSV: two sentences and a grade from 0 to 5 a line."""
    with file.open(encoding="utf-8", newline="") as rows:
        return [(row[0], row[1], float(row[2])) for row in csv.reader(rows)]


def recall(scores: NDArray[np.float32], *, at: int = 10) -> float:
    """Share of the queries whose own document is among the best; scores (Q, N)."""
    own = scores[np.arange(len(scores)), np.arange(len(scores))]
    return float((((scores > own[:, None]).sum(1)) < at).mean())


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Rank correlation; ties share their mean rank."""
    one, other = _ranks(first), _ranks(second)
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: NDArray[np.float64] = (ends - (counts - 1) / 2)[places]
    return mean


def halves(pairs: Pairs) -> dict[str, NDArray[np.bool_]]:
    """Which graded pairs choices are made by ("watched"), and which are looked at last ("kept")."""
    watched = np.array([fraction(f"sts {pair[0]}|{pair[1]}") < 0.5 for pair in pairs])
    return {"watched": watched, "kept": ~watched}
