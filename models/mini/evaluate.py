"""Measures a pack on held-out data: similarity, retrieval, clustering, classification.

Takes the corpus and a pack, runs it with embedge itself, and gives a score for each task's
adapter on each kind of work, at each width and as binary codes. Nothing held out was in any
training step; STS-B's development set is used here alone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import v_measure_score

from embedge import Embedder
from embedge.vectors import Vectors, normalize
from mini.corpus import Entry
from mini.questions import Questions, packages, questions
from mini.scores import halves, read_pairs, recall, spearman

KINDS = ("retrieval", "text-matching", "clustering", "classification")
LEAST_IN_CLASS = 40
NOT_TOPICS = frozenset({"libs", "libdevel", "misc", "doc", "devel", "utils", "introspection"})


@dataclass(frozen=True)
class Labelled:
    """Texts with a label each; the first `known` may be learnt from."""

    texts: list[str]
    labels: list[str]
    known: int = 0


@dataclass(frozen=True)
class Suite:
    """All that is measured."""

    pairs: list[tuple[str, str, float]]  # STS-B: two sentences, graded 0 to 5
    questions: dict[str, Questions]
    clusters: Labelled
    classes: Labelled


def suite(entries: Sequence[Entry], sts: Path) -> Suite:
    """The tests, out of the held-out part of the corpus and STS-B's development set."""
    held = [entry for entry in entries if entry.held_out]
    topics = _of_classes([e for e in packages(held) if e.label not in NOT_TOPICS])
    kinds = _of_classes([entry for entry in held if entry.source == "wordnet" and entry.label])
    random.Random(0).shuffle(kinds)
    return Suite(
        read_pairs(sts),
        questions(held),
        Labelled([str(entry.query) for entry in topics], [str(entry.label) for entry in topics]),
        Labelled(
            [entry.text for entry in kinds], [str(entry.label) for entry in kinds], len(kinds) // 2
        ),
    )


@dataclass(frozen=True)
class Encoded:
    """The vectors of a suite's texts under one adapter, full width."""

    pairs: tuple[Vectors, Vectors]
    questions: dict[str, tuple[Vectors, Vectors]]  # queries, documents
    clusters: Vectors
    classes: Vectors


def encode(tests: Suite, embedder: Embedder, task: str) -> Encoded:
    """Runs every text once."""

    def documents(texts: list[str]) -> Vectors:
        return embedder.encode_document(texts, task=task)

    return Encoded(
        (documents([p[0] for p in tests.pairs]), documents([p[1] for p in tests.pairs])),
        {
            name: (embedder.encode_query(q.queries, task=task), documents(q.documents))
            for name, q in tests.questions.items()
        },
        documents(tests.clusters.texts),
        documents(tests.classes.texts),
    )


def measure(tests: Suite, encoded: Encoded, *, width: int) -> dict[str, float]:
    """Scores (0 to 100) on each kind of work, of vectors cut to `width`.

    Returns:
        "retrieval" (recall at 10, mean of the sets), "retrieval <set>", "text-matching"
        (Spearman on STS-B dev), "text-matching <half>", "text-matching binary", "clustering"
        (V-measure), "classification" (accuracy).
    """

    def cut(vectors: Vectors) -> Vectors:
        return normalize(vectors[:, :width])

    row = {
        f"retrieval {name}": 100 * recall(cut(queries) @ cut(documents).T)
        for name, (queries, documents) in encoded.questions.items()
    }
    row["retrieval"] = float(np.mean(list(row.values())))
    one, other = (cut(side) for side in encoded.pairs)
    grades = np.array([pair[2] for pair in tests.pairs])
    near = (one * other).sum(1)
    row["text-matching"] = 100 * spearman(near, grades)
    for name, part in halves(tests.pairs).items():
        row[f"text-matching {name}"] = 100 * spearman(near[part], grades[part])
    signs = (np.sign(one) * np.sign(other)).sum(1)
    row["text-matching binary"] = 100 * spearman(signs, grades)
    row["clustering"] = 100 * v_measure(cut(encoded.clusters), tests.clusters.labels)
    row["classification"] = 100 * accuracy(cut(encoded.classes), tests.classes)
    return row


def bm25(tests: Suite) -> dict[str, float]:
    """Recall at 10 (0 to 100) of BM25 with English stemming and stop words."""
    found = {}
    stemmer = Stemmer.Stemmer("english")
    for name, test in tests.questions.items():
        index = bm25s.BM25()
        index.index(
            bm25s.tokenize(test.documents, stopwords="en", stemmer=stemmer, show_progress=False),
            show_progress=False,
        )
        asked = bm25s.tokenize(test.queries, stopwords="en", stemmer=stemmer, show_progress=False)
        best, _ = index.retrieve(asked, k=10, show_progress=False)
        hits = [number in row for number, row in enumerate(best)]
        found[name] = 100 * float(np.mean(hits))
    return found


def v_measure(vectors: Vectors, labels: list[str]) -> float:
    """V-measure of k-means with as many clusters as labels, mean of ten seeds."""
    count = len(set(labels))
    return float(
        np.mean(
            [
                v_measure_score(
                    labels, KMeans(count, n_init=1, random_state=seed).fit_predict(vectors)
                )
                for seed in range(10)
            ]
        )
    )


def accuracy(vectors: Vectors, classes: Labelled) -> float:
    """Accuracy of a logistic regression on what it did not learn from."""
    known = classes.known
    model = LogisticRegression(C=10, max_iter=300)
    model.fit(vectors[:known], classes.labels[:known])
    return float(model.score(vectors[known:], classes.labels[known:]))


def _of_classes(entries: Sequence[Entry]) -> list[Entry]:
    counts: dict[str | None, int] = {}
    for entry in entries:
        counts[entry.label] = counts.get(entry.label, 0) + 1
    return [entry for entry in entries if counts[entry.label] >= LEAST_IN_CLASS]
