"""Texts to batches of token ids, lengths sorted together.

Texts are tokenized once and kept on the device; a batch is one gather. The order of an epoch
depends on its seed alone, so that an interrupted run goes on with the same batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from mini.device import DEVICE

TOKENS_MOST = 512


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of many texts, end to end, on the device."""

    ids: Tensor  # (sum of lengths,), int32
    starts: Tensor  # (N + 1,), int64
    lengths: NDArray[np.int64]  # (N,), on the CPU

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Ids (B, S) padded with 0 on the right, and lengths (B,)."""
        picked = torch.from_numpy(rows).to(DEVICE)
        lengths = torch.from_numpy(self.lengths[rows]).to(DEVICE)
        places = torch.arange(int(self.lengths[rows].max()), device=DEVICE)  # (S,)
        sources = self.starts[picked][:, None] + places  # (B, S)
        ids = self.ids[sources.clamp(0, len(self.ids) - 1)].long()
        return ids * (places[None] < lengths[:, None]), lengths


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
    """Tokens of `texts`, whatever stands in them, `TOKENS_MOST` at most.

    Of a longer text the first are taken; its last token is still the one that ends every text.
    """
    pieces: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    for start in range(0, len(texts), 32_768):
        encodings = tokenizer.encode_batch_fast(list(texts[start : start + 32_768]))
        found = [_cut(encoding.ids) for encoding in encodings]
        lengths += [len(ids) for ids in found]
        pieces.append(np.fromiter(chain.from_iterable(found), np.int32, sum(map(len, found))))
    counts = np.array(lengths, np.int64)
    starts = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
    return Tokens(torch.from_numpy(np.concatenate(pieces)).to(DEVICE), starts.to(DEVICE), counts)


def _cut(ids: list[int]) -> list[int]:
    return ids if len(ids) <= TOKENS_MOST else [*ids[: TOKENS_MOST - 1], ids[-1]]


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


def kept(tokenizer: Tokenizer, texts: Sequence[str], file: Path) -> Tokens:
    """What `tokenize` gives; read from `file` if it is there."""
    if not file.exists():
        found = tokenize(tokenizer, texts)
        part = file.with_suffix(".part.npz")
        np.savez(part, ids=found.ids.cpu().numpy(), lengths=found.lengths)
        part.replace(file)
    with np.load(file) as stored:
        ids, lengths = stored["ids"], stored["lengths"]
    assert len(lengths) == len(texts), f"{file} is of other texts; remove it"
    starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
    return Tokens(torch.from_numpy(ids).to(DEVICE), starts.to(DEVICE), lengths)
