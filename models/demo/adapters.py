"""Each task's vectors on each kind of work: a table of four by four.

Takes an `Embedder` (or whatever embeds alike) and the sets of `texts`, gives scores of 0 to 100.
An adapter that learnt its task should be the best of its column; with sets this small, a few
texts decide.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from demo.screen import Screen
from demo.texts import LEARNT, PAIRS, QUESTIONS, REVIEWS, TOPICS

# What each task is made for: the column's head, and what the number is.
WORK = {
    "retrieval": (
        "search",
        "find the answers of 12 questions among 76 sentences (mean reciprocal rank)",
    ),
    "text-matching": ("pairs", "grade 16 pairs of sentences (Spearman's rank correlation)"),
    "clustering": ("groups", "find 8 topics in 64 sentences with k-means (V-measure)"),
    "classification": ("labels", "tell 24 good and bad reviews apart, 16 learnt (accuracy)"),
}


class Encodes(Protocol):
    """The part of `Embedder` that is used here."""

    def encode(
        self, texts: list[str], *, task: str, prompt_name: str | None = None
    ) -> NDArray[np.float32]:
        """Gives unit vectors (n, D)."""


def cross_table(embedder: Encodes, tasks: Sequence[str]) -> NDArray[np.float64]:
    """The scores, (tasks, kinds of work), 0 to 100."""
    return np.array([scores(embedder, task) for task in tasks]) * 100


def scores(embedder: Encodes, task: str) -> list[float]:
    """One task's vectors at the four kinds of work, each 0 to 1 (pairs: -1 to 1)."""
    return [
        search_score(embedder, task),
        pairs_score(embedder, task),
        groups_score(embedder, task),
        labels_score(embedder, task),
    ]


def search_score(embedder: Encodes, task: str) -> float:
    """Mean reciprocal rank of each question's answer among all answers and topic sentences."""
    questions = [question for question, _ in QUESTIONS]
    documents = [answer for _, answer in QUESTIONS]
    documents += [text for texts in TOPICS.values() for text in texts]
    queries = embedder.encode(questions, task=task, prompt_name="query")  # (Q, D)
    found = embedder.encode(documents, task=task, prompt_name="document")  # (N, D)
    cosines = queries @ found.T  # (Q, N)
    own = np.diagonal(cosines)[:, None]  # (Q, 1)
    ranks = (cosines >= own).sum(axis=1)  # (Q,), a tie counts against us
    return float(np.mean(1 / ranks))


def pairs_score(embedder: Encodes, task: str) -> float:
    """Spearman's correlation of cosines with the grades."""
    from scipy.stats import spearmanr

    grades, left, right = zip(*PAIRS, strict=True)
    a = embedder.encode(list(left), task=task)  # (P, D)
    b = embedder.encode(list(right), task=task)  # (P, D)
    return float(spearmanr(grades, (a * b).sum(axis=1)).statistic)


def groups_score(embedder: Encodes, task: str) -> float:
    """V-measure of k-means against the topics."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import v_measure_score

    texts, topics = topic_sentences()
    vectors = embedder.encode(texts, task=task)  # (64, D)
    means: Any = KMeans(n_clusters=len(TOPICS), n_init=10, random_state=0)
    return float(v_measure_score(topics, means.fit_predict(vectors)))


def labels_score(embedder: Encodes, task: str) -> float:
    """Accuracy of logistic regression on the reviews that it did not learn from."""
    from sklearn.linear_model import LogisticRegression

    learnt = [text for texts in REVIEWS for text in texts[:LEARNT]]
    others = [text for texts in REVIEWS for text in texts[LEARNT:]]
    model: Any = LogisticRegression(C=10.0)
    model.fit(embedder.encode(learnt, task=task), np.repeat([0, 1], len(learnt) // 2))
    return float(
        model.score(embedder.encode(others, task=task), np.repeat([0, 1], len(others) // 2))
    )


def topic_sentences() -> tuple[list[str], list[str]]:
    """All sentences of the topics, and the topic of each."""
    pairs = [(text, topic) for topic, texts in TOPICS.items() for text in texts]
    return [text for text, _ in pairs], [topic for _, topic in pairs]


def show_table(screen: Screen, tasks: Sequence[str], table: NDArray[np.float64]) -> None:
    """Prints the scores: a row for each task's vectors, a column for each kind of work."""
    width = max(len(task) for task in tasks)
    heads = "".join(f"{WORK[name][0]:>7}" for name in WORK)
    screen.show(f"  {'':{width}}{heads}")
    for task, row in zip(tasks, table, strict=True):
        cells = [
            f" {screen.bold(f'{value:5.1f}*')}" if name == task else f" {value:5.1f} "
            for name, value in zip(WORK, row, strict=True)
        ]
        screen.show(f"  {task:{width}}{''.join(cells)}".rstrip())
    screen.show()
    for head, what in WORK.values():
        screen.paragraph(f"{head}: {what}", indent="  ")
    best = [
        task
        for index, task in enumerate(WORK)
        if task in tasks and table[list(tasks).index(task), index] >= table[:, index].max()
    ]
    named = f": {', '.join(best)}" if best else ""
    screen.show()
    screen.paragraph(
        f"* each task at its own work. {len(best)} of {len(tasks)} are the best, or level, in "
        f"their column{named}.",
        indent="  ",
    )
    screen.paragraph(
        "This is a toy: one text more or less moves a number by several points. models/README.md "
        "has the table that was measured on real sets.",
        indent="  ",
    )
