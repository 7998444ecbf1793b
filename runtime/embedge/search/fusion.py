"""Two rankings to one: reciprocal rank fusion. Pure; knows neither vectors nor words."""

from collections.abc import Sequence

# Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank
# learning methods", SIGIR 2009, with K = 60. Measured here (docs/search.md): the right passage is
# among ten for 80.5 % of the queries, 79.3 % with 60.
K = 10


def fuse(*rankings: Sequence[int]) -> list[int]:
    """All items of some rankings, by the sum of 1 / (K + rank), the best first.

    Of equal sums, first what the first ranking has first.

    >>> fuse([1, 2, 3], [3, 4])
    [3, 1, 2, 4]
    """
    sums: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            sums[item] = sums.get(item, 0.0) + 1 / (K + rank)
    return sorted(sums, key=lambda item: -sums[item])
