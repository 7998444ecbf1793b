"""The four tasks: which texts stand together in a batch, and what is asked of their vectors.

Each objective takes the corpus without its held-out part and gives a function that draws one
batch and returns its loss. All keep some nearness to the teacher, so that an adapter stays good
at texts that its own data does not show, and the spread that binary codes need.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from mini import batches, losses
from mini.batches import DOCUMENT, QUERY
from mini.corpus import Entry
from mini.network import Student

Draw = Callable[[Student, np.random.Generator], Tensor]
ALIKE = 0.85  # teacher's similarity from which two documents answer the same query
TOGETHER = 48  # texts that are padded to one length
PAIRS = 160  # in a batch for retrieval
MATCHES = 192  # pairs in a batch for text matching
POOL = 40_000  # texts among which neighbors are looked for
TOPICS = 400  # groups that the teacher's vectors are cut into
SPREAD = 0.5  # weight of the regulariser


@dataclass(frozen=True)
class Material:
    """What the objectives draw from."""

    entries: Sequence[Entry]  # none held out
    targets: NDArray[np.float16]  # (N, D), of the texts
    tokenizer: Tokenizer

    def vectors(self, student: Student, texts: Sequence[str]) -> Tensor:
        """(B, D) of texts that carry their prompts; run by length, so that little is padding."""
        tokens = batches.tokenize(self.tokenizer, texts)
        order = np.argsort(tokens.lengths, kind="stable")
        parts = [order[start : start + TOGETHER] for start in range(0, len(order), TOGETHER)]
        vectors = torch.cat([student(*tokens.batch(rows)) for rows in parts])
        return vectors[torch.from_numpy(np.argsort(order))]

    def wanted(self, rows: NDArray[np.int64]) -> Tensor:
        """Targets (B, D), float32."""
        return torch.from_numpy(self.targets[rows].astype(np.float32))


def retrieval(material: Material) -> Draw:
    """A query and the passage that answers it; neighbors by source make the negatives hard."""
    pairs = [
        (row, query, entry.source)
        for row, entry in enumerate(material.entries)
        for query in _queries(entry)
    ]
    by_source: dict[str, list[int]] = {}
    for place, (_, _, source) in enumerate(pairs):
        by_source.setdefault(source, []).append(place)
    sources = list(by_source)
    shares = np.array([len(by_source[source]) ** 0.7 for source in sources])

    def draw(student: Student, generator: np.random.Generator) -> Tensor:
        source = sources[generator.choice(len(sources), p=shares / shares.sum())]
        places = generator.choice(by_source[source], PAIRS)
        rows = np.array([pairs[place][0] for place in places])
        queries = [pairs[place][1] for place in places]
        queries = batches.varied(queries, (QUERY,), generator)
        documents = [DOCUMENT + material.entries[row].text for row in rows]
        asked = material.vectors(student, queries)
        answers = material.vectors(student, documents)
        wanted = material.wanted(rows)
        alike = wanted @ wanted.T > ALIKE
        return (
            losses.contrast(asked, answers, alike)
            + 2 * losses.nearness(answers, wanted)
            + SPREAD * losses.spread(answers)
        )

    return draw


def text_matching(material: Material) -> Draw:
    """Pairs of near and far texts, graded by the teacher's similarity."""
    everyday = {"wordnet-examples", "ding", "fortunes", "wordnet", "debian-synopses", "anarchism"}
    generator = np.random.default_rng(2)
    pool = np.array([n for n, entry in enumerate(material.entries) if entry.source in everyday])
    pool = generator.choice(pool, min(POOL, len(pool)), replace=False)
    near = torch.from_numpy(material.targets[pool].astype(np.float32))
    neighbors = np.concatenate(
        [(part @ near.T).topk(17).indices[:, 1:].numpy() for part in near.split(2048)]
    )  # (POOL, 16), itself left out

    def draw(student: Student, generator: np.random.Generator) -> Tensor:
        first = generator.integers(len(pool), size=MATCHES)
        second = neighbors[first, generator.integers(neighbors.shape[1], size=MATCHES)]
        rows = pool[np.concatenate([first, second])]
        texts = [material.entries[row].text for row in rows]
        vectors = material.vectors(student, batches.varied(texts, (DOCUMENT,), generator))
        wanted = material.wanted(rows)
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
    sections = _grouped(
        (row, entry.label)
        for row, entry in enumerate(material.entries)
        if entry.source == "debian" and entry.label
    )
    topics = _topics(material)

    def draw(student: Student, generator: np.random.Generator) -> Tensor:
        by_section = generator.random() < 0.5
        rows, labels = _draw_groups(sections if by_section else topics, 24, 8, generator)
        entries = [material.entries[row] for row in rows]
        texts = [(by_section and entry.query) or entry.text for entry in entries]
        vectors = material.vectors(student, batches.varied(texts, (DOCUMENT,), generator))
        loss = losses.groups(vectors, labels) + SPREAD * losses.spread(vectors)
        # The targets are those of descriptions, not of the synopses that stand for them here.
        return loss if by_section else loss + losses.nearness(vectors, material.wanted(rows))

    return draw


def classification(material: Material) -> Draw:
    """Texts with one label drawn together: what kind of thing a definition or a saying is of."""
    labeled = _grouped(
        (row, f"{entry.source} {entry.label}")
        for row, entry in enumerate(material.entries)
        if entry.label and entry.source in ("wordnet", "fortunes")
    )

    def draw(student: Student, generator: np.random.Generator) -> Tensor:
        rows, labels = _draw_groups(labeled, 32, 8, generator)
        texts = [material.entries[row].text for row in rows]
        vectors = material.vectors(student, batches.varied(texts, (DOCUMENT,), generator))
        return (
            losses.groups(vectors, labels)
            + losses.nearness(vectors, material.wanted(rows))
            + SPREAD * losses.spread(vectors)
        )

    return draw


OBJECTIVES: dict[str, Callable[[Material], Draw]] = {
    "retrieval": retrieval,
    "text-matching": text_matching,
    "clustering": clustering,
    "classification": classification,
}


def _queries(entry: Entry) -> list[str]:
    """What may be asked for this text: its heading, and the first sentence of the page's own."""
    if entry.query is None or entry.source == "wordnet":
        return []
    if entry.source in ("dict-foldoc", "dict-jargon"):
        return [entry.query, f"what is {entry.query}?"]
    sentences = re.split(r"(?<=[.!?])\s+", entry.text)
    return [
        entry.query,
        *(sentences[-1:] if len(sentences) > 2 and len(sentences[-1]) > 30 else []),
    ]


def _grouped(labeled: Iterable[tuple[int, str]]) -> list[NDArray[np.int64]]:
    found: dict[str, list[int]] = {}
    for row, label in labeled:
        found.setdefault(label, []).append(row)
    return [np.array(rows) for rows in found.values() if len(rows) >= 24]


def _draw_groups(
    groups: list[NDArray[np.int64]], count: int, size: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], Tensor]:
    """`size` texts of each of `count` groups: rows (B,) and labels (B,)."""
    chosen = generator.choice(len(groups), min(count, len(groups)), replace=False)
    rows = np.concatenate([generator.choice(groups[number], size) for number in chosen])
    return rows, torch.arange(len(chosen)).repeat_interleave(size)


def _topics(material: Material) -> list[NDArray[np.int64]]:
    """k-means over the teacher's vectors of texts of a sentence or more."""
    generator = np.random.default_rng(3)
    long = np.array([n for n, entry in enumerate(material.entries) if len(entry.text) > 40])
    rows = generator.choice(long, min(POOL, len(long)), replace=False)
    near = torch.from_numpy(material.targets[rows].astype(np.float32))
    centers = near[:TOPICS].clone()
    for _ in range(12):
        nearest = (near @ centers.T).argmax(1)
        sums = torch.zeros_like(centers).index_add_(0, nearest, near)
        centers = losses.unit(sums)
    found = [rows[(nearest == topic).numpy()] for topic in range(TOPICS)]
    return [members for members in found if len(members) >= 24]
