"""How near a pack's vectors are to Sentence Transformers', and what that means for similarity.

Takes a pack, texts with the library's vectors, and pairs of sentences with the scores of people
(STS-B); gives figures and what they miss of the bars.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedge.vectors import normalize
from mini.scores import spearman

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Bar:
    """What a precision must keep.

    Attributes:
        cosine: least cosine to the library's vector, over all texts.
        points: of 100, how far the rank correlation with people's scores may be from the library's.
    """

    cosine: float
    points: float


BARS = {"fp32": Bar(0.99999, 0.05), "int8": Bar(0.998, 0.3)}


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of a precision.

    Attributes:
        least: cosine of the farthest vector.
        mean: of all cosines.
        farthest: that text.
        score: rank correlation with people's scores, 0 to 100.
        theirs: the library's.
    """

    least: float
    mean: float
    farthest: str
    score: float
    theirs: float

    def missed(self, bar: Bar) -> list[str]:
        """What misses the bar, each as a phrase; empty if nothing does."""
        found = []
        if not self.least >= bar.cosine:
            found.append(f"least cosine {self.least:.6f}, below {bar.cosine}")
        if not abs(self.score - self.theirs) <= bar.points:
            found.append(
                f"Spearman {self.score:.2f} where theirs is {self.theirs:.2f}, more than "
                f"{bar.points} points apart"
            )
        return found


def read_pairs(path: Path) -> list[tuple[str, str, float]]:
    """STS-B as lines of sentence, sentence, score; a heading is no line.

    Raises:
        ValueError: a line is something else; the message says which.
    """
    pairs = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            try:
                first, second, score = row
                pairs.append((first, second, float(score)))
            except ValueError:
                if number > 1:
                    message = f"{path}, line {number}: not sentence, sentence, score"
                    raise ValueError(message) from None
    return pairs


def judge(
    ours: Vectors,
    theirs: Vectors,
    texts: Sequence[str],
    pairs: Sequence[tuple[str, str, float]],
) -> Quality:
    """Compares vectors, float32 (texts, width) each; the pairs' sentences are among the texts."""
    ours, theirs = normalize(ours), normalize(theirs)
    cosines = (ours * theirs).sum(axis=1)
    places = {text: row for row, text in enumerate(texts)}
    return Quality(
        least=float(cosines.min()),
        mean=float(cosines.mean()),
        farthest=texts[int(cosines.argmin())],
        score=_score(ours, places, pairs),
        theirs=_score(theirs, places, pairs),
    )


def _score(
    vectors: Vectors, places: Mapping[str, int], pairs: Sequence[tuple[str, str, float]]
) -> float:
    firsts = vectors[[places[first] for first, _, _ in pairs]]
    seconds = vectors[[places[second] for _, second, _ in pairs]]
    scores = np.array([score for _, _, score in pairs])
    return 100 * spearman((firsts * seconds).sum(axis=1), scores)
