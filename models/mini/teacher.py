"""The teacher, all-MiniLM-L6-v2, at work: the rows and the vectors that a student is to give.

It runs beside the student, on the same ids: each row of a text is something to learn from, and
there is nothing to keep on disk. It was trained on 128 tokens. A longer text is cut into windows of
about equal length, and its vector is the mean of theirs, each weighing as many tokens as it has.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mini.device import DEVICE
from mini.network import Encoder

WINDOW = 126  # tokens of a text at once; two more stand around them


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a student is to give for a batch."""

    rows: Tensor  # (B, S, H), of the tokens between [CLS] and [SEP]; else anything
    vectors: Tensor  # (B, D), unit length


@dataclass(frozen=True, slots=True)
class Teacher:
    """The network, on the device, and the matrix (H, D) that turns and cuts its vectors."""

    network: Encoder
    matrix: Tensor

    @torch.no_grad()
    def teach(self, ids: Tensor, lengths: Tensor) -> Lesson:
        """The lesson of a batch: ids (B, S), [CLS] … [SEP] padded on the right, and lengths."""
        texts, inner = len(ids), ids.shape[1] - 2
        count = max(1, -(-inner // WINDOW))
        size = -(-inner // count)
        windows, within, weights = _windows(ids, lengths, count, size)
        # In bfloat16 wherever it runs: a teacher's rounding is far below a student's error.
        with torch.autocast(DEVICE.type, torch.bfloat16):
            found = self.network.rows(windows, within)
        means = functional.normalize(self.network.pool(found, within), dim=1)
        mean = (means * weights.flatten()[:, None]).unflatten(0, (texts, count)).sum(1)
        rows = found[:, 1 : size + 1].float().reshape(texts, count * size, -1)[:, :inner]
        rows = functional.pad(rows, (0, 0, 1, 1))
        return Lesson(rows, functional.normalize(mean @ self.matrix, dim=1))


def _windows(ids: Tensor, lengths: Tensor, count: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Windows (B * count, size + 2), their lengths, and how many of a text's tokens each has."""
    texts = len(ids)
    inner = functional.pad(ids[:, 1:-1], (0, count * size + 2 - ids.shape[1]))
    first = torch.arange(count, device=ids.device) * size
    tokens = (lengths[:, None] - 2 - first).clamp(0, size)  # (B, count)
    within = tokens.flatten() + 2
    begin, end = ids[0, 0], ids[0, int(lengths[0]) - 1]
    windows = functional.pad(inner.reshape(texts * count, size), (1, 1))
    windows[:, 0] = begin
    places = torch.arange(size + 2, device=ids.device)[None]
    windows = torch.where(places == within[:, None] - 1, end, windows)
    windows = windows * (places < within[:, None])
    # A text of nothing but [CLS] and [SEP] has a vector, too.
    return windows, within, torch.where(lengths[:, None] == 2, 1, tokens).float()


def projection_of(found: NDArray[np.float32]) -> Tensor:
    """A matrix as `Teacher` takes it."""
    return torch.from_numpy(found).to(DEVICE)
