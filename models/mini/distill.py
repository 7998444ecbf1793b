"""The base: the student that `shrink.py` made learns to give the teacher's rows and vectors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mini import losses
from mini.batches import Tokens, by_length
from mini.descent import Budget, descend
from mini.device import DEVICE, reduced
from mini.network import Encoder
from mini.teacher import Teacher

# Texts in a batch, and tokens; a GPU takes 0.1 million tokens at once, two cores a few thousand.
BATCH, TOKENS_IN_BATCH = (4096, 131_072) if DEVICE.type == "cuda" else (128, 2_048)
RATE, WARMUP = 2e-4, 30  # of AdamW at its height; steps
SAVE_EVERY = 30 if DEVICE.type == "cuda" else 60  # seconds


@dataclass(frozen=True, slots=True)
class Lessons:
    """Texts, and who says what their rows and vectors are to be."""

    tokens: Tokens
    teacher: Teacher

    def wanted(self, rows: NDArray[np.int64]) -> Tensor:
        """The vectors (B, D) that these texts are to have, float32, unit length."""
        return self._by_length(lambda *batch: self.teacher.teach(*batch).vectors, rows)

    def vectors(self, network: nn.Module, rows: NDArray[np.int64]) -> Tensor:
        """The vectors (B, D) that a network gives."""
        return self._by_length(network, rows)

    def _by_length(self, run: Callable[..., Tensor], rows: NDArray[np.int64]) -> Tensor:
        """Run so that little is padding, and put in order again."""
        lengths = self.tokens.lengths[rows]
        parts = by_length(lengths, len(rows), 2 * TOKENS_IN_BATCH, np.random.default_rng(0))
        with torch.no_grad(), torch.autocast(DEVICE.type, torch.bfloat16):
            found = torch.cat([run(*self.tokens.batch(rows[part])).float() for part in parts])
        return found[torch.from_numpy(np.argsort(np.concatenate(parts))).to(DEVICE)]

    def epoch(self, size: int, tokens: int, number: int) -> Iterator[NDArray[np.int64]]:
        """The rows of each batch of an epoch."""
        generator = np.random.default_rng(1000 + number)
        yield from by_length(self.tokens.lengths, size, tokens, generator)


def train(
    student: Encoder,
    lessons: Lessons,
    state: Path,
    *,
    budget: Budget,
    watch: Callable[[nn.Module], str] = lambda _: "",
) -> None:
    """Trains the student in place, its table excepted; goes on from `state` if it is there.

    Args:
        student: changed in place.
        lessons: what it learns.
        state: file of the interrupted run.
        budget: how long.
        watch: called at each save; what it gives is printed.
    """
    # The teacher's own rows: a short training would move those of rare tokens by noise.
    student.embeddings.word_embeddings.requires_grad_(False)
    learning = [parameter for parameter in student.parameters() if parameter.requires_grad]

    def losses_after(done: int) -> Iterator[Tensor]:
        epoch = 0
        while True:
            for rows in lessons.epoch(BATCH, TOKENS_IN_BATCH, epoch):
                if done > 0:  # batches of the run that was interrupted
                    done -= 1
                    continue
                yield _loss(student, lessons, rows)
            epoch += 1

    descend(
        student, [{"params": learning, "lr": RATE}], losses_after, budget=budget, warmup=WARMUP,
        state=state, save_every=SAVE_EVERY, name="base", watch=watch,
    )  # fmt: skip


def _loss(student: Encoder, lessons: Lessons, texts: NDArray[np.int64]) -> Tensor:
    ids, lengths = lessons.tokens.batch(texts)
    lesson = lessons.teacher.teach(ids, lengths)
    with reduced():
        rows = student.rows(ids, lengths)
    vectors = student.pool(rows, lengths)
    places = torch.arange(ids.shape[1], device=ids.device)[None]
    inner = (places > 0) & (places < lengths[:, None] - 1)
    near = nn.functional.cosine_similarity(rows[inner].float(), lesson.rows[inner], dim=-1)
    return (
        (1 - near).mean()
        + losses.nearness(vectors, lesson.vectors)
        + 2 * losses.likeness(vectors, lesson.vectors)
        + 0.1 * losses.neighbors(vectors, vectors, lesson.vectors, lesson.vectors, itself=True)
    )
