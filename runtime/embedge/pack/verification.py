"""The gate's report on a precision, as the export writes it into the manifest.

Read and checked with the rest of the manifest. Fields that are None are not in the file; those that
another version of embedge adds are kept in `other`. Cosines and differences are of vectors of
length 1, against those of the NumPy reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embedge.pack.fields import Measured

IMAGE_TOWER = "image tower"  # its key among a report's failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """What a precision has to keep."""

    cosine_min: Measured | None = None  # the least cosine of a text
    # The largest difference of a component; null in the file where there is no such bar.
    difference_max: Measured | None = field(default=None, metadata={"null": True})
    batch_difference: Measured | None = None  # between a text alone and in a batch
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How the graph of one task, or of the image tower, compares; NaN where it gave no numbers."""

    cosine_min: Measured | None = None
    cosine_mean: Measured | None = None
    difference_max: Measured | None = None
    rank_correlation: Measured | None = None  # Spearman's, of all similarities between the texts
    batch_difference: Measured | None = None
    # The linears that lose the most: the mean square that rounding changes, of a usual row's.
    worst_linears: Mapping[str, Measured] | None = None
    # Texts whose vector hangs on the last digits of every weight, by their place among the gate's:
    # (cosine, the cosine that noise of bfloat16's size leaves them).
    ties: Mapping[str, tuple[Measured, ...]] | None = None
    finer: tuple[str, ...] | None = None  # linears that are kept in a finer form
    float32: tuple[str, ...] | None = None  # those of them in float32
    cosine_min_before: tuple[Measured, ...] | None = None  # with fewer of them, the latest first
    finer_bytes: int | None = None  # what they add to the pack's files
    linears: int | None = None  # of the whole graph
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a precision's gate."""

    passed: bool = False
    # The bars that were missed, as sentences, by task or IMAGE_TOWER.
    failures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bars: Bars | None = None
    texts: int | None = None  # how many the gate compared
    tasks: Mapping[str, Figures] = field(default_factory=dict)
    image: Figures | None = None
    other: Mapping[str, Any] = field(default_factory=dict)
