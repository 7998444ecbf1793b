"""What the adapters learn from: states below the layers that they change, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mini import losses
from mini.batches import Tokens, by_length
from mini.corpus import Entry
from mini.device import DEVICE
from mini.distill import Lessons
from mini.network import Encoder

TOKENS_IN_PART = 65_536 if DEVICE.type == "cuda" else 4_096  # run at once, padding included


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
    base: Encoder  # finished

    def query_rows(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of pairs' queries."""
        return pairs + len(self.entries)

    def text_rows(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of pairs' texts."""
        return np.array([self.pairs[pair].row for pair in pairs])

    def stored(self, rows: NDArray[np.int64]) -> "Stored":
        """These rows' states."""
        return Stored.of(self.base, self.lessons.tokens, rows)


@dataclass(frozen=True, slots=True)
class Stored:
    """Texts as states (bfloat16) below the adapted layers; number n is the nth row asked for."""

    states: Tensor  # (sum of lengths, H)
    starts: Tensor  # (N,)
    lengths: NDArray[np.int64]  # (N,)
    own: Tensor  # (N, D): the base's vectors, unit length

    @classmethod
    @torch.no_grad()
    def of(cls, base: Encoder, tokens: Tokens, rows: NDArray[np.int64]) -> "Stored":
        """Runs the base once."""
        lengths = tokens.lengths[rows]
        ends = torch.from_numpy(np.cumsum(lengths)).to(DEVICE)
        starts = ends - torch.from_numpy(lengths).to(DEVICE)
        states = torch.empty(int(lengths.sum()), base.shape.hidden, dtype=torch.bfloat16)
        states = states.to(DEVICE)
        own = torch.empty(len(rows), base.shape.width or base.shape.hidden, device=DEVICE)
        for part in by_length(lengths, len(rows), TOKENS_IN_PART, np.random.default_rng(0)):
            ids, counts = tokens.batch(rows[part])
            with torch.autocast(DEVICE.type, torch.bfloat16):
                below = base.below(ids, counts)
                vectors = base.above(below, counts)
            numbers = torch.from_numpy(part).to(DEVICE)
            places = torch.arange(ids.shape[1], device=DEVICE)[None]
            inside = places < counts[:, None]
            states[(starts[numbers][:, None] + places)[inside]] = below[inside].bfloat16()
            own[numbers] = losses.unit(vectors.float())
        return cls(states.clone(), starts, lengths, own.clone())

    def vectors(self, network: Encoder, numbers: NDArray[np.int64]) -> Tensor:
        """A network's vectors (B, D); of the base's layers only those that are adapted run."""
        lengths = self.lengths[numbers]
        parts = by_length(lengths, len(numbers), TOKENS_IN_PART, np.random.default_rng(0))
        found = []
        for part in parts:
            counts = torch.from_numpy(lengths[part]).to(DEVICE)
            places = torch.arange(int(lengths[part].max()), device=DEVICE)[None]
            starts = self.starts[torch.from_numpy(numbers[part]).to(DEVICE)]
            sources = starts[:, None] + torch.minimum(places, counts[:, None] - 1)
            found.append(network.above(self.states[sources].float(), counts))
        return torch.cat(found)[torch.from_numpy(np.argsort(np.concatenate(parts))).to(DEVICE)]
