"""Texts to batches of token ids: prompts, lower-casing as augmentation, lengths sorted together.

Texts are tokenized once and kept on the device; a batch is one gather. The order of an epoch
depends on its seed alone, so that an interrupted run goes on with the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from mini.device import DEVICE

DOCUMENT, QUERY = "Document: ", "Query: "
PROMPTS = (DOCUMENT, QUERY)  # a prompt's number is its place here
TOKENS_MOST = 512
LOWERED = 0.15  # share of texts put in lower case: the teacher knows no case, people use both


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of many texts, end to end, on the device."""

    ids: Tensor  # (sum of lengths,), int32
    starts: Tensor  # (N + 1,), int64
    lengths: NDArray[np.int64]  # (N,), on the CPU

    def batch(
        self, rows: NDArray[np.int64], prompts: "Prompts | None" = None,
        which: NDArray[np.int64] | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Ids (B, S) padded with 0 on the right, and lengths (B,), `TOKENS_MOST` at most.

        Args:
            rows: of the texts.
            prompts: what stands before each text; the texts are then tokenized by `bare`.
            which: (B,), the number of the prompt of each text.
        """
        picked = torch.from_numpy(rows).to(DEVICE)
        lengths = torch.from_numpy(self.lengths[rows]).to(DEVICE)
        widest = self.lengths[rows]
        ahead = torch.zeros_like(lengths)
        if prompts is not None and which is not None:
            widest = widest + prompts.lengths[which]
            ahead = torch.from_numpy(prompts.lengths[which]).to(DEVICE)
        lengths = (lengths + ahead).clamp(max=TOKENS_MOST)
        places = torch.arange(min(int(widest.max()), TOKENS_MOST), device=DEVICE)  # (S,)
        sources = self.starts[picked][:, None] + places - ahead[:, None]  # (B, S)
        ids = self.ids[sources.clamp(0, len(self.ids) - 1)].long()
        if prompts is not None and which is not None:
            named = prompts.ids[torch.from_numpy(which).to(DEVICE)]  # (B, P)
            inside = places[None] < ahead[:, None]
            ids = torch.where(inside, named[:, places.clamp(max=named.shape[1] - 1)], ids)
        return ids * (places[None] < lengths[:, None]), lengths


@dataclass(frozen=True, slots=True)
class Prompts:
    """Token ids of the prompts, without the space that the text's first token begins with."""

    ids: Tensor  # (2, P), padded with 0, int64
    lengths: NDArray[np.int64]  # (2,)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Prompts":
        """The prompts in a tokenizer's ids."""
        pieces = [tokenizer.encode(prompt.rstrip()).ids for prompt in PROMPTS]
        lengths = [len(piece) for piece in pieces]
        rows = [piece + [0] * (max(lengths) - len(piece)) for piece in pieces]
        return cls(torch.tensor(rows, device=DEVICE), np.array(lengths, np.int64))


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
    """Tokens of `texts`, whatever stands in them."""
    pieces: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    for start in range(0, len(texts), 32_768):
        found = [e.ids for e in tokenizer.encode_batch_fast(list(texts[start : start + 32_768]))]
        lengths += [len(ids) for ids in found]
        pieces.append(np.fromiter(chain.from_iterable(found), np.int32, sum(map(len, found))))
    counts = np.array(lengths, np.int64)
    starts = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
    return Tokens(torch.from_numpy(np.concatenate(pieces)).to(DEVICE), starts.to(DEVICE), counts)


def bare(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
    """Tokens of texts that a prompt is to stand before: byte-level BPE joins a space to a word."""
    return tokenize(tokenizer, [f" {text}" for text in texts])


def by_length(
    lengths: NDArray[np.int64], size: int, tokens: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Rows of batches of texts of about equal length, in random order.

    Args:
        lengths: (N,), in tokens.
        size: texts in a batch at most.
        tokens: in a batch at most, padding included.
        generator: of the order.
    """
    order = np.lexsort((generator.random(len(lengths)), lengths))
    parts = list(_parts(lengths[order], size, tokens))
    return [order[slice(*parts[place])] for place in generator.permutation(len(parts))]


def _parts(ascending: NDArray[np.int64], size: int, tokens: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(ascending):
        widths = ascending[start : start + size]
        fitting = np.arange(1, len(widths) + 1) * widths <= tokens  # first all true, then none
        stop = start + max(1, int(fitting.sum()))
        yield start, stop
        start = stop
