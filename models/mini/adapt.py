"""Trains one adapter at a time on the finished base, and reads it out as LoRA matrices."""

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mini.descent import descend, save
from mini.network import Linear, Student
from mini.objectives import Draw

RANK = 32
STEPS, RATE, WARMUP = 240, 3e-3, 30
SAVE_EVERY = 80


def adapt(base: Path, student: Student, draw: Draw, file: Path, *, name: str) -> None:
    """Writes the adapter's matrices to `file`, unless it is there; goes on from a saved state.

    Args:
        base: file of the finished base.
        student: of the base's shape, without adapters; what it holds is replaced.
        draw: the task's objective.
        file: `{"module.lora_A": (r, I), "module.lora_B": (O, r)}`.
        name: of the task, for the lines printed.
    """
    if file.exists():
        return
    torch.manual_seed(0)
    student.load_state_dict(torch.load(base)["student"])
    learning = student.add_adapters(RANK, 1.0)
    state = file.with_suffix(".state")

    def losses_after(done: int) -> Iterator[Tensor]:
        for step in count(done):
            yield draw(student, np.random.default_rng([7, step]))

    descend(
        student,
        [{"params": learning, "lr": RATE}],
        losses_after,
        steps=STEPS,
        warmup=WARMUP,
        state=state,
        save_every=SAVE_EVERY,
        name=name,
    )
    save(_matrices(student), file)
    state.unlink()


def between(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of two adapters, of the same rank: what each of both changes, halved and added.

    Weights trained from one base may be averaged (arXiv 2203.05482). Of the sum, whose rank is
    twice as high, the largest singular values are kept.
    """
    found: dict[str, Tensor] = {}
    for name in (key.removesuffix(".lora_A") for key in one if key.endswith(".lora_A")):
        a, b = f"{name}.lora_A", f"{name}.lora_B"
        left, values, right = torch.linalg.svd((one[b] @ one[a] + other[b] @ other[a]) / 2)
        roots = values[:RANK].sqrt()
        found[a], found[b] = roots[:, None] * right[:RANK], left[:, :RANK] * roots
    return found


def _matrices(student: Student) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, module in student.named_modules():
        if isinstance(module, Linear) and module.lora_A is not None and module.lora_B is not None:
            found[f"{name}.lora_A"] = module.lora_A.detach().clone()
            found[f"{name}.lora_B"] = module.lora_B.detach().clone()
    return found
