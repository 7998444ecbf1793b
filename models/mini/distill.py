"""The base: first a table of static token vectors, then the decoder that starts from it.

The static model (the mean of its tokens' vectors, as in Model2Vec) learns in minutes what words
mean. The decoder begins as nearly the same function: its last layer spreads attention evenly
and carries values through, the layers before it change little. From there all of it learns.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from mini import batches, losses
from mini.batches import LOWERED, PROMPTS, Prompts, Tokens
from mini.descent import Budget, descend, save
from mini.device import DEVICE, reduced
from mini.network import Linear, Shape, Student

STATIC_BUDGET, STATIC_BATCH = Budget(steps=3600), 4096
# Texts in a batch, and tokens; a GPU takes 0.1 million tokens at once, two cores a few thousand.
BATCH, TOKENS_IN_BATCH = (4096, 131_072) if DEVICE.type == "cuda" else (256, 16_384)
RATE, TABLE_RATE, WARMUP = 2e-3, 1e-3, 200  # of AdamW at its height; steps
SAVE_EVERY = 30 if DEVICE.type == "cuda" else 300  # seconds
TABLE_SIZE = 0.1  # root mean square of the table's values when the decoder starts


@dataclass(frozen=True, slots=True)
class Lessons:
    """Texts without prompts, and the vector that each is to have; on the device."""

    tokens: Tokens
    prompts: Prompts
    aims: Tensor  # (M, D), float16
    aim_of: Tensor  # (N,), which of the aims a text has
    lowered: NDArray[np.int64]  # (M,), where a text stands once more in lower case, else -1

    @classmethod
    def of(cls, texts: Sequence[str], aims: NDArray[np.float16], tokenizer: Tokenizer) -> "Lessons":
        """The texts, and some of them once more in lower case."""
        return cls.after(tokenized(texts, tokenizer), aims, tokenizer)

    @classmethod
    def after(
        cls, shown: tuple[Tokens, NDArray[np.int64]], aims: NDArray[np.float16],
        tokenizer: Tokenizer,
    ) -> "Lessons":  # fmt: skip
        """What `tokenized` gave, with the texts' aims."""
        tokens, lowered = shown
        aim_of = np.concatenate([np.arange(len(aims)), lowered])
        copies = np.full(len(aims), -1)
        copies[lowered] = len(aims) + np.arange(len(lowered))
        return cls(
            tokens,
            Prompts.of(tokenizer),
            torch.from_numpy(aims).to(DEVICE),
            torch.from_numpy(aim_of).to(DEVICE),
            copies,
        )

    def wanted(self, rows: NDArray[np.int64]) -> Tensor:
        """The vectors (B, D) that these texts are to have, float32."""
        return self.aims[self.aim_of[torch.from_numpy(rows).to(DEVICE)]].float()

    def epoch(self, size: int, tokens: int, number: int) -> Iterator[NDArray[np.int64]]:
        """The rows of each batch of an epoch."""
        yield from batches.by_length(
            self.tokens.lengths + 4, size, tokens, np.random.default_rng(1000 + number)
        )

    def show(
        self, student: nn.Module, rows: NDArray[np.int64], generator: np.random.Generator
    ) -> Tensor:
        """(B, D) of texts behind a prompt drawn for each."""
        which = generator.integers(len(PROMPTS), size=len(rows))
        with reduced():
            vectors: Tensor = student(*self.tokens.batch(rows, self.prompts, which))
        return vectors.float()


def tokenized(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[Tokens, NDArray[np.int64]]:
    """Tokens of texts and of lower-case copies of some, and which those are."""
    lowered = np.flatnonzero(np.random.default_rng(5).random(len(texts)) < LOWERED)
    shown = [*texts, *(texts[int(row)].lower() for row in lowered)]
    return batches.bare(tokenizer, shown), lowered


class Table(nn.Module):
    """The static model: a text's vector is the mean of its tokens'."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(vocab, width, mode="mean", padding_idx=0)
        nn.init.normal_(self.bag.weight, std=0.1)

    def forward(self, ids: Tensor, _: Tensor) -> Tensor:
        """Token ids (B, S), 0 where there is none -> (B, D)."""
        vectors: Tensor = self.bag(ids)
        return vectors


def static(lessons: Lessons, vocab: int, file: Path, *, budget: Budget = STATIC_BUDGET) -> Tensor:
    """The table (V, D) of the static model; read from `file` if it is there."""
    if file.exists():
        return torch.load(file, map_location=DEVICE)
    torch.manual_seed(0)
    table = Table(vocab, lessons.aims.shape[1]).to(DEVICE)
    groups = [{"params": list(table.parameters()), "lr": 1e-2}]
    state = file.with_suffix(".state")
    _descend(table, groups, lessons, state, budget, "static", losses.nearness)
    found = table.bag.weight.detach().clone()
    save(found, file)
    state.unlink()
    return found


def new_student(shape: Shape, table: Tensor) -> Student:
    """A decoder that gives about what the static table gives."""
    torch.manual_seed(0)
    student = Student(shape)
    for module in student.modules():
        if isinstance(module, Linear):
            nn.init.normal_(module.weight, std=shape.hidden**-0.5)
    with torch.no_grad():
        student.embed_tokens.weight.copy_(table * (TABLE_SIZE / table.square().mean().sqrt()))
        for number, layer in enumerate(student.layers):
            layer.self_attn.k_norm.weight.fill_(0.5)  # attention nearly even
            layer.mlp["down_proj"].weight.mul_(0.05)
            layer.self_attn.o_proj.weight.mul_(0.1)
            if number == shape.layers - 1:
                # Any orthogonal matrix and its inverse carry the values through.
                square = torch.linalg.qr(layer.self_attn.v_proj.weight)[0]
                layer.self_attn.v_proj.weight.copy_(square)
                layer.self_attn.o_proj.weight.copy_(square.T)
    return student


def train(
    student: Student,
    lessons: Lessons,
    state: Path,
    *,
    budget: Budget,
    watch: Callable[[nn.Module], str] = lambda _: "",
) -> None:
    """Trains the decoder in place; goes on from `state` if it is there.

    Args:
        student: changed in place.
        lessons: what it learns.
        state: file of the interrupted run.
        budget: how long.
        watch: called at each save; what it gives is printed.
    """
    table = [student.embed_tokens.weight]
    others = [parameter for parameter in student.parameters() if parameter is not table[0]]
    groups = [{"params": others, "lr": RATE}, {"params": table, "lr": TABLE_RATE}]
    _descend(student, groups, lessons, state, budget, "base", _loss, watch)


def _loss(vectors: Tensor, wanted: Tensor) -> Tensor:
    return (
        losses.nearness(vectors, wanted)
        + 2 * losses.likeness(vectors, wanted)
        + 0.1 * losses.neighbors(vectors, vectors, wanted, wanted, itself=True)
    )


def _descend(
    network: nn.Module, groups: list[dict[str, object]], lessons: Lessons, state: Path,
    budget: Budget, name: str, loss: Callable[[Tensor, Tensor], Tensor],
    watch: Callable[[nn.Module], str] = lambda _: "",
) -> None:  # fmt: skip
    size = STATIC_BATCH if name == "static" else BATCH

    def losses_after(done: int) -> Iterator[Tensor]:
        epoch = 0
        while True:
            for rows in lessons.epoch(size, TOKENS_IN_BATCH, epoch):
                if done > 0:  # batches of the run that was interrupted
                    done -= 1
                    continue
                generator = np.random.default_rng([epoch, int(rows[0])])
                vectors = lessons.show(network, rows, generator)
                yield loss(vectors, lessons.wanted(rows))
            epoch += 1

    descend(
        network, groups, losses_after, budget=budget, warmup=WARMUP, state=state,
        save_every=SAVE_EVERY, name=name, watch=watch,
    )  # fmt: skip
