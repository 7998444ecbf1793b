"""Trains one adapter at a time on the finished base, and reads it out as LoRA matrices."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mini.descent import Budget, descend, save
from mini.device import DEVICE
from mini.network import Encoder, Linear
from mini.objectives import Draw

RANK = 16
RATE, WARMUP = 2e-3, 10
SAVE_EVERY = 30 if DEVICE.type == "cuda" else 60  # seconds


def adapt(
    base: Encoder, draw: Draw, file: Path, *, budget: Budget, name: str,
    watch: Callable[[nn.Module], str] = lambda _: "",
) -> None:  # fmt: skip
    """Writes the adapter's matrices to `file`, unless it is there; goes on from a saved state.

    Args:
        base: finished, without adapters, on the device; a copy of it learns.
        draw: the task's objective.
        file: `{"module.lora_A": (r, I), "module.lora_B": (O, r)}`.
        budget: how long.
        name: of the task, for the lines printed.
        watch: called at each save; what it gives is printed.
    """
    if file.exists():
        return
    torch.manual_seed(0)
    student = deepcopy(base)
    learning = student.add_adapters(RANK)
    student.to(DEVICE)
    state = file.with_suffix(".state")

    def losses_after(done: int) -> Iterator[Tensor]:
        for step in count(done):
            yield draw(student, np.random.default_rng([7, step]))

    descend(
        student, [{"params": learning, "lr": RATE}], losses_after, budget=budget, warmup=WARMUP,
        state=state, save_every=SAVE_EVERY, name=name, watch=watch,
    )  # fmt: skip
    save(_matrices(student), file)
    state.unlink()


def scaled(adapter: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """An adapter that changes the base by a share of what it did."""
    return {
        name: matrix * share if name.endswith(".lora_B") else matrix
        for name, matrix in adapter.items()
    }


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


def _matrices(student: Encoder) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, module in student.named_modules():
        if isinstance(module, Linear) and module.lora_A is not None and module.lora_B is not None:
            found[f"{name}.lora_A"] = module.lora_A.detach().cpu().clone()
            found[f"{name}.lora_B"] = module.lora_B.detach().cpu().clone()
    return found
