"""Whether a hit answers a query at all, or is only the nearest of what is there.

A cosine alone does not say: its range differs from model to model and from query to query. What
says more is by how much a passage stands out among all, and which words of the query it holds.
Pure.
"""

import math
from dataclasses import dataclass

FEWEST = 200  # passages; among fewer, nothing stands out
_MOST = 2000  # as far as was measured; beyond, the bound stays
_WORDS = 3.0  # standard deviations that all words of the query count as
# Where a hybrid search has the right passage among five, the best of the five is above this bound
# for 97 % of the queries; for 37 % of those from another set, none is. See docs/search.md.
_SLOPE, _OFFSET = 0.65, -0.1


@dataclass(frozen=True, slots=True)
class Spread:
    """The products of a query with all passages."""

    count: int
    mean: float
    deviation: float  # standard

    @classmethod
    def of(cls, count: int, total: float, squares: float) -> "Spread":
        """From their number, their sum and the sum of their squares."""
        mean = total / count if count else 0.0
        variance = squares / count - mean * mean if count else 0.0
        return cls(count, mean, math.sqrt(max(variance, 0.0)))


def fit(score: float, spread: Spread, share: float) -> float | None:
    """How clearly a passage fits, in standard deviations; below 0 it hardly does.

    Args:
        score: its product with the query.
        spread: of all passages.
        share: of the words of the query, those that it holds, 0 to 1.

    Returns:
        None where there are too few passages to tell.
    """
    if spread.count < FEWEST or spread.deviation <= 0:
        return None
    bound = _SLOPE * math.log(min(spread.count, _MOST)) + _OFFSET
    return (score - spread.mean) / spread.deviation + _WORDS * share - bound
