"""What the adapters learn from: texts and queries as tokens, with the teacher's vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mini.batches import DOCUMENT, PROMPTS, QUERY, by_length
from mini.corpus import Entry
from mini.device import DEVICE, reduced
from mini.distill import Lessons

TOKENS_IN_PART = 65_536 if DEVICE.type == "cuda" else 2_048  # run at once, padding included


@dataclass(frozen=True)
class Pair:
    """A query, and the row of the text that answers it."""

    query: str
    row: int
    source: str


@dataclass(frozen=True)
class Material:
    """Texts and queries by their row in the lessons: the entries' texts, queries, other texts."""

    entries: Sequence[Entry]  # none held out; the first rows
    pairs: Sequence[Pair]  # the query of pair p is row len(entries) + p
    lessons: Lessons

    @property
    def targets(self) -> Tensor:
        """The teacher's vectors (N, D) of the entries' texts, float16."""
        return self.lessons.aims[: len(self.entries)]

    def query_rows(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of pairs' queries."""
        return pairs + len(self.entries)

    def text_rows(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of pairs' texts."""
        return np.array([self.pairs[pair].row for pair in pairs])

    def documents(
        self, network: nn.Module, rows: NDArray[np.int64], generator: np.random.Generator
    ) -> Tensor:
        """Vectors (B, D) of rows behind the document prompt."""
        return self._vectors(network, rows, DOCUMENT, generator)

    def queries(
        self, network: nn.Module, rows: NDArray[np.int64], generator: np.random.Generator
    ) -> Tensor:
        """Vectors (B, D) of rows behind the query prompt."""
        return self._vectors(network, rows, QUERY, generator)

    def _vectors(
        self, network: nn.Module, rows: NDArray[np.int64], prompt: str,
        generator: np.random.Generator,
    ) -> Tensor:  # fmt: skip
        """Run by length, so that little is padding; where there is a lower-case copy, often it."""
        copies = self.lessons.lowered[rows]
        rows = np.where((copies >= 0) & (generator.random(len(rows)) < 0.5), copies, rows)
        lengths = self.lessons.tokens.lengths[rows] + 4
        parts = by_length(lengths, len(rows), TOKENS_IN_PART, generator)
        which = np.full(len(rows), PROMPTS.index(prompt))
        tokens, prompts = self.lessons.tokens, self.lessons.prompts
        with reduced():
            found = [network(*tokens.batch(rows[p], prompts, which[p])).float() for p in parts]
        order = torch.from_numpy(np.argsort(np.concatenate(parts))).to(DEVICE)
        return torch.cat(found)[order]
