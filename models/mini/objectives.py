"""The four tasks: which texts stand together in a batch, and what is asked of their vectors.

Each objective takes the material and gives a function that draws one batch and returns its loss.
All keep the spread that binary codes need; `adapt.py` keeps each of them near the base at texts
that its own data does not show.
"""

import re
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mini import losses
from mini.corpus import Entry
from mini.device import DEVICE
from mini.material import Material
from mini.network import Student

Draw = Callable[[Student, np.random.Generator], Tensor]
ALIKE = 0.85  # teacher's similarity from which two documents answer the same query
GPU = DEVICE.type == "cuda"
SOURCES = 4  # that the pairs of a batch for retrieval are of
PAIRS = 2048 if GPU else 160  # in a batch for retrieval
MATCHES = 1024 if GPU else 192  # pairs in a batch for text matching
GROUPS, MEMBERS = (96 if GPU else 24), 8  # in a batch of clustering or classification
LEAST = 24  # texts in a group, to be one
POOL = 40_000  # texts among which neighbors are looked for
TOPICS = 400  # groups that the teacher's vectors are cut into
SPREAD = 0.5  # weight of the regulariser
# Weight of nearness to the base's own vectors at texts of all kinds.
KEEP = {"retrieval": 1.0, "text-matching": 1.0, "clustering": 4.0, "classification": 4.0}
# The share of what an adapter learnt that goes into the checkpoint: an adapter made for one kind
# of work costs others, and a part of it costs less than a part of its gain.
SHARES = {"retrieval": 1.0, "text-matching": 1.0, "clustering": 1.0, "classification": 1.0}


def retrieval(material: Material) -> Draw:
    """A query and the passage that answers it; neighbors by source make the negatives hard."""
    by_source: dict[str, list[int]] = {}
    for number, pair in enumerate(material.pairs):
        by_source.setdefault(pair.source, []).append(number)
    places = [np.array(members) for members in by_source.values()]
    shares = np.array([len(members) ** 0.7 for members in places])

    def draw(student: Student, generator: np.random.Generator) -> Tensor:
        of_one = PAIRS // SOURCES
        pairs = np.concatenate(
            [
                generator.choice(places[source], min(of_one, len(places[source])), replace=False)
                for source in generator.choice(
                    len(places), min(SOURCES, len(places)), p=shares / shares.sum(), replace=False
                )
            ]
        )
        queries, texts = material.query_rows(pairs), material.text_rows(pairs)
        asked = material.queries(student, queries, generator)
        answers = material.documents(student, texts, generator)
        taught, wanted = material.lessons.wanted(queries), material.lessons.wanted(texts)
        return (
            losses.contrast(asked, answers, wanted @ wanted.T > ALIKE)
            + 0.5 * losses.neighbors(asked, answers, taught, wanted)
            + 2 * losses.nearness(answers, wanted)
            + SPREAD * losses.spread(answers)
        )

    return draw


def text_matching(material: Material) -> Draw:
    """Pairs of near and far texts, graded by the teacher's similarity."""
    everyday = {"wordnet-examples", "ding", "fortunes", "wordnet", "debian-synopses", "anarchism"}
    generator = np.random.default_rng(2)
    of_corpus = [n for n, entry in enumerate(material.entries) if entry.source in everyday]
    others = np.arange(
        len(material.entries) + len(material.pairs), len(material.lessons.lowered)
    )  # sentences, composed ones and those with a word swapped
    short = others[material.lessons.tokens.lengths[others] < 40]
    pool = np.concatenate(
        [
            generator.choice(rows, min(POOL // 2, len(rows)), replace=False)
            for rows in (np.array(of_corpus), short)
        ]
    )
    near = material.lessons.wanted(pool)
    neighbors = np.concatenate(
        [
            (part @ near.T).topk(min(17, len(pool))).indices[:, 1:].cpu().numpy()
            for part in near.split(2048)
        ]
    )  # (POOL, 16), itself left out

    def draw(student: Student, generator: np.random.Generator) -> Tensor:
        first = generator.integers(len(pool), size=MATCHES)
        second = neighbors[first, generator.integers(neighbors.shape[1], size=MATCHES)]
        rows = pool[np.concatenate([first, second])]
        vectors = material.documents(student, rows, generator)
        wanted = material.lessons.wanted(rows)
        one, other = vectors[:MATCHES], vectors[MATCHES:]
        grades = (wanted[:MATCHES] * wanted[MATCHES:]).sum(1)
        return (
            losses.ranking(one, other, grades) / 4
            + 2 * losses.nearness(vectors, wanted)
            + 2 * losses.likeness(vectors, wanted)
            + SPREAD * losses.spread(one)
        )

    return draw


def clustering(material: Material) -> Draw:
    """Tight groups: sections of packages, and topics that the teacher's own vectors fall into."""
    entries = material.entries
    sections = _grouped(  # of synopses, which are short, as what is clustered often is
        (len(entries) + number, entries[pair.row].label)
        for number, pair in enumerate(material.pairs)
        if pair.source == "debian" and pair.query == entries[pair.row].query
    )
    topics = _topics(material)

    def draw(student: Student, generator: np.random.Generator) -> Tensor:
        by_section = generator.random() < 0.5
        rows, labels = _draw_groups(sections if by_section else topics, generator)
        vectors = material.documents(student, rows, generator)
        return (
            losses.groups(vectors, labels)
            + SPREAD * losses.spread(vectors)
            + losses.nearness(vectors, material.lessons.wanted(rows))
        )

    return draw


def classification(material: Material) -> Draw:
    """Texts with one label drawn together: what kind of thing a definition or a saying is of."""
    labeled = _grouped(
        (row, f"{entry.source} {entry.label}" if entry.label else None)
        for row, entry in enumerate(material.entries)
        if entry.source in ("wordnet", "fortunes")
    )

    def draw(student: Student, generator: np.random.Generator) -> Tensor:
        rows, labels = _draw_groups(labeled, generator)
        vectors = material.documents(student, rows, generator)
        return (
            losses.groups(vectors, labels)
            + losses.nearness(vectors, material.lessons.wanted(rows))
            + SPREAD * losses.spread(vectors)
        )

    return draw


OBJECTIVES: dict[str, Callable[[Material], Draw]] = {
    "retrieval": retrieval,
    "text-matching": text_matching,
    "clustering": clustering,
    "classification": classification,
}


def queries_of(entry: Entry) -> list[str]:
    """What may be asked for this text: its heading, and the last sentence of the page's own."""
    if entry.query is None or entry.source == "wordnet":
        return []
    if entry.source in ("dict-foldoc", "dict-jargon"):
        return [entry.query, f"what is {entry.query}?"]
    sentences = re.split(r"(?<=[.!?])\s+", entry.text)
    return [
        entry.query,
        *(sentences[-1:] if len(sentences) > 2 and len(sentences[-1]) > 30 else []),
    ]


def _grouped(labeled: Iterable[tuple[int, str | None]]) -> list[NDArray[np.int64]]:
    found: dict[str, list[int]] = {}
    for row, label in labeled:
        if label:
            found.setdefault(label, []).append(row)
    return [np.array(rows) for rows in found.values() if len(rows) >= LEAST]


def _draw_groups(
    groups: list[NDArray[np.int64]], generator: np.random.Generator
) -> tuple[NDArray[np.int64], Tensor]:
    """Some texts of each of some groups: rows (B,) and labels (B,)."""
    chosen = generator.choice(len(groups), min(GROUPS, len(groups)), replace=False)
    size = max(MEMBERS, GROUPS * MEMBERS // len(chosen))
    rows = np.concatenate([generator.choice(groups[number], size) for number in chosen])
    return rows, torch.arange(len(chosen), device=DEVICE).repeat_interleave(size)


def _topics(material: Material) -> list[NDArray[np.int64]]:
    """k-means over the teacher's vectors of texts of a sentence or more."""
    generator = np.random.default_rng(3)
    long = np.array([n for n, entry in enumerate(material.entries) if len(entry.text) > 40])
    rows = generator.choice(long, min(POOL, len(long)), replace=False)
    near = material.lessons.wanted(rows)
    centers = near[:TOPICS].clone()
    for _ in range(12):
        nearest = (near @ centers.T).argmax(1)
        centers = losses.unit(torch.zeros_like(centers).index_add_(0, nearest, near))
    topic_of = nearest.cpu().numpy()
    found = [rows[topic_of == topic] for topic in range(TOPICS)]
    return [members for members in found if len(members) >= LEAST]
