"""The four tasks: which texts stand together in a batch, and what is asked of their vectors.

Each objective takes the material and gives a function that draws one batch and returns its loss.
All keep the spread that binary codes need, and `general` keeps each of them near the base at texts
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
from mini.network import Encoder

Draw = Callable[[Encoder, np.random.Generator], Tensor]
ALIKE = 0.85  # similarity from which two documents answer the same query
GPU = DEVICE.type == "cuda"
SOURCES = 4  # that the pairs of a batch for retrieval are of
PAIRS = 2048 if GPU else 192  # in a batch for retrieval
MATCHES = 1024 if GPU else 192  # pairs in a batch for text matching
GROUPS, MEMBERS = (96 if GPU else 24), 8  # in a batch of clustering or classification
GENERAL = 1024 if GPU else 128  # texts of all kinds beside a batch
LEAST = 24  # texts in a group, to be one
LONGEST = 128  # tokens of a text that an adapter learns from
# How many texts each adapter learns from: their states are kept in memory.
POOL = {"retrieval": 12_000, "text-matching": 14_000, "groups": 12_000, "general": 6_000}
TOPICS = 150  # groups that the base's vectors are cut into
SPREAD = 0.5  # weight of the regulariser
# Weight of nearness to the base's own vectors at texts of all kinds.
KEEP = {"retrieval": 1.0, "text-matching": 1.0, "clustering": 4.0, "classification": 4.0}
# The share of what an adapter learnt that goes into the checkpoint: an adapter made for one kind
# of work costs others, and a part of it costs less than a part of its gain.
SHARES = {"retrieval": 1.0, "text-matching": 2.0, "clustering": 0.9, "classification": 0.9}
# Times as long as asked for.
LENGTHS = {"retrieval": 2.5, "text-matching": 1.0, "clustering": 1.0, "classification": 1.0}


def retrieval(material: Material) -> Draw:
    """A query and the passage that answers it; neighbors by source make the negatives hard."""
    lengths = material.lessons.tokens.lengths
    by_source: dict[str, list[int]] = {}
    for number, pair in enumerate(material.pairs):
        if lengths[pair.row] <= LONGEST:
            by_source.setdefault(pair.source, []).append(number)
    shares = np.array([len(members) ** 0.7 for members in by_source.values()])
    shares = shares / shares.sum()
    dice = np.random.default_rng(1)
    chosen = [
        dice.choice(members, min(len(members), max(1, int(share * POOL["retrieval"]))), False)
        for members, share in zip(by_source.values(), shares, strict=True)
    ]
    pairs = np.concatenate(chosen)
    rows = np.concatenate([material.query_rows(pairs), material.text_rows(pairs)])
    stored = material.stored(rows)
    places = np.split(np.arange(len(pairs)), np.cumsum([len(part) for part in chosen])[:-1])

    def draw(student: Encoder, generator: np.random.Generator) -> Tensor:
        sources = min(SOURCES, len(places))
        of_one = PAIRS // sources
        queries = np.concatenate(
            [
                generator.choice(places[n], min(of_one, len(places[n])), replace=False)
                for n in generator.choice(len(places), sources, p=shares, replace=False)
            ]
        )
        texts = queries + len(pairs)
        asked, answers = stored.vectors(student, queries), stored.vectors(student, texts)
        own, theirs = stored.own[queries], stored.own[texts]
        return (
            losses.contrast(asked, answers, theirs @ theirs.T > ALIKE)
            + 0.5 * losses.neighbors(asked, answers, own, theirs)
            + 2 * losses.nearness(answers, theirs)
            + SPREAD * losses.spread(answers)
        )

    return draw


def text_matching(material: Material) -> Draw:
    """Pairs of near and far texts, graded by the teacher's similarity."""
    everyday = {"wordnet-examples", "ding", "fortunes", "wordnet", "debian-synopses", "anarchism"}
    dice = np.random.default_rng(2)
    of_corpus = [n for n, entry in enumerate(material.entries) if entry.source in everyday]
    lengths = material.lessons.tokens.lengths
    others = np.arange(len(material.entries) + len(material.pairs), len(lengths))
    short = others[lengths[others] < 40]  # sentences, composed ones and those with a word swapped
    half = POOL["text-matching"] // 2
    rows = np.concatenate(
        [dice.choice(part, min(half, len(part)), False) for part in (np.array(of_corpus), short)]
    )
    stored, taught = material.stored(rows), material.lessons.wanted(rows)
    near = [
        (part @ taught.T).topk(min(17, len(rows))).indices[:, 1:].cpu().numpy()
        for part in taught.split(2048)
    ]
    neighbors = np.concatenate(near)  # (POOL, 16), itself left out

    def draw(student: Encoder, generator: np.random.Generator) -> Tensor:
        first = generator.integers(len(rows), size=MATCHES)
        second = neighbors[first, generator.integers(neighbors.shape[1], size=MATCHES)]
        numbers = np.concatenate([first, second])
        vectors, wanted = stored.vectors(student, numbers), taught[numbers]
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
    """Tight groups: sections of packages, and topics that the base's own vectors fall into."""
    entries = material.entries
    sections = _grouped(  # of synopses, which are short, as what is clustered often is
        (len(entries) + number, entries[pair.row].label)
        for number, pair in enumerate(material.pairs)
        if pair.source == "debian" and pair.query == entries[pair.row].query
    )
    by_section = _draw_groups(material, sections)
    long = np.array([n for n, entry in enumerate(entries) if len(entry.text) > 40])
    rows = np.random.default_rng(3).choice(long, min(POOL["groups"], len(long)), replace=False)
    by_topic = _draw_groups(material, _topics(material, rows))

    def draw(student: Encoder, generator: np.random.Generator) -> Tensor:
        by = by_section if generator.random() < 0.5 else by_topic
        return by(student, generator)

    return draw


def classification(material: Material) -> Draw:
    """Texts with one label drawn together: what kind of thing a definition or a saying is of."""
    labeled = _grouped(
        (row, f"{entry.source} {entry.label}" if entry.label else None)
        for row, entry in enumerate(material.entries)
        if entry.source in ("wordnet", "fortunes")
    )
    return _draw_groups(material, labeled)


def general(material: Material) -> Draw:
    """Texts of all kinds, whose vectors and similarities are to stay the base's."""
    lengths = material.lessons.tokens.lengths
    rows = np.random.default_rng(4).permutation(np.flatnonzero(lengths <= LONGEST))
    stored = material.stored(rows[: POOL["general"]])

    def draw(student: Encoder, generator: np.random.Generator) -> Tensor:
        numbers = generator.integers(len(stored.lengths), size=GENERAL)
        vectors, wanted = stored.vectors(student, numbers), stored.own[numbers]
        return losses.nearness(vectors, wanted) + losses.likeness(vectors, wanted)

    return draw


def both(own: Draw, others: Draw, weight: float) -> Draw:
    """An adapter's own objective, and so much of another."""

    def draw(student: Encoder, generator: np.random.Generator) -> Tensor:
        return own(student, generator) + weight * others(student, generator)

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


def _draw_groups(material: Material, groups: list[NDArray[np.int64]]) -> Draw:
    """Some texts of each of some groups are to stand together, and not far from where they were."""
    dice = np.random.default_rng(5)
    most = max(LEAST, POOL["groups"] // len(groups))
    chosen = [dice.permutation(members)[:most] for members in groups]
    stored = material.stored(np.concatenate(chosen))
    counts = np.cumsum([len(members) for members in chosen])
    places = np.split(np.arange(counts[-1]), counts[:-1])

    def draw(student: Encoder, generator: np.random.Generator) -> Tensor:
        picked = generator.choice(len(places), min(GROUPS, len(places)), replace=False)
        size = max(MEMBERS, GROUPS * MEMBERS // len(picked))
        numbers = np.concatenate([generator.choice(places[n], size) for n in picked])
        labels = torch.arange(len(picked), device=DEVICE).repeat_interleave(size)
        vectors = stored.vectors(student, numbers)
        return (
            losses.groups(vectors, labels)
            + losses.nearness(vectors, stored.own[numbers])
            + SPREAD * losses.spread(vectors)
        )

    return draw


def _topics(material: Material, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """k-means over the base's vectors."""
    near = material.lessons.vectors(material.base, rows)
    near = losses.unit(near)
    centers = near[:TOPICS].clone()
    for _ in range(12):
        nearest = (near @ centers.T).argmax(1)
        centers = losses.unit(torch.zeros_like(centers).index_add_(0, nearest, near))
    topic_of = nearest.cpu().numpy()
    found = [rows[topic_of == topic] for topic in range(TOPICS)]
    return [members for members in found if len(members) >= LEAST]
