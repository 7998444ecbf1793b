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


def adapt(
    base: Path,
    student: Student,
    draw: Draw,
    file: Path,
    *,
    name: str,
    start: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes the adapter's matrices to `file`, unless it is there; goes on from a saved state.

    Args:
        base: file of the finished base.
        student: of the base's shape, without adapters; what it holds is replaced.
        draw: the task's objective.
        file: `{"module.lora_A": (r, I), "module.lora_B": (O, r)}`.
        name: of the task, for the lines printed.
        start: the matrices of an adapter to begin with.
    """
    if file.exists():
        return
    torch.manual_seed(0)
    student.load_state_dict(torch.load(base)["student"])
    learning = student.add_adapters(RANK, 1.0)
    if start is not None:
        student.load_state_dict(dict(start), strict=False)
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


def _matrices(student: Student) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, module in student.named_modules():
        if isinstance(module, Linear) and module.lora_A is not None and module.lora_B is not None:
            found[f"{name}.lora_A"] = module.lora_A.detach().clone()
            found[f"{name}.lora_B"] = module.lora_B.detach().clone()
    return found
