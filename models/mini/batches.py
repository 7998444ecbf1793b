"""Texts to batches of token ids: prompts, lower-casing as augmentation, lengths sorted together.

The order of an epoch depends on its seed alone, so that an interrupted run goes on with the same
batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

DOCUMENT, QUERY = "Document: ", "Query: "
TOKENS_MOST = 80
LOWERED = 0.15  # share of texts put in lower case: the teacher knows no case, people use both


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of many texts, end to end."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]  # (N + 1,)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, (N,)."""
        return np.diff(self.starts)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Ids (B, S) padded with 0 on the right, and lengths (B,)."""
        lengths = self.lengths[rows]
        ids = np.zeros((len(rows), lengths.max()), np.int64)
        for place, row in enumerate(rows):
            ids[place, : lengths[place]] = self.ids[self.starts[row] : self.starts[row + 1]]
        return torch.from_numpy(ids), torch.from_numpy(lengths)


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
    """Tokens of `texts`, prompts included, cut at `TOKENS_MOST`."""
    pieces: list[NDArray[np.int32]] = []
    for start in range(0, len(texts), 32_768):
        encodings = tokenizer.encode_batch_fast(list(texts[start : start + 32_768]))
        pieces += [np.array(encoding.ids[:TOKENS_MOST], np.int32) for encoding in encodings]
    lengths = [len(piece) for piece in pieces]
    return Tokens(np.concatenate(pieces), np.concatenate([[0], np.cumsum(lengths)]))


def varied(
    texts: Sequence[str], prompts: Sequence[str], generator: np.random.Generator
) -> list[str]:
    """The texts behind a prompt drawn from `prompts`, some of them in lower case."""
    drawn = generator.integers(len(prompts), size=len(texts))
    lowered = generator.random(len(texts)) < LOWERED
    return [
        prompts[prompt] + (text.lower() if low else text)
        for text, prompt, low in zip(texts, drawn, lowered, strict=True)
    ]


def by_length(
    lengths: NDArray[np.int64], size: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Rows of batches of `size` texts of about equal length, in random order."""
    noise = generator.random(len(lengths))
    order = np.lexsort((noise, lengths))
    rows = [order[start : start + size] for start in range(0, len(order), size)]
    yield from (rows[place] for place in generator.permutation(len(rows)))
