"""Trains one adapter at a time on the finished base, and reads it out as LoRA matrices."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mini import losses
from mini.descent import Budget, descend, save
from mini.device import DEVICE
from mini.network import Linear, Student
from mini.objectives import Draw

RANK = 32
RATE, WARMUP = 2e-3, 30
SAVE_EVERY = 30 if DEVICE.type == "cuda" else 300  # seconds
Vectors = Callable[[Student, np.random.Generator], Tensor]


def adapt(
    base: Path, student: Student, draw: Draw, file: Path, *, budget: Budget, name: str,
    general: Vectors | None = None, keep: float = 0.0,
    watch: Callable[[nn.Module], str] = lambda _: "",
) -> None:  # fmt: skip
    """Writes the adapter's matrices to `file`, unless it is there; goes on from a saved state.

    Args:
        base: file of the finished base.
        student: of the base's shape, without adapters, on the device; what it holds is replaced.
        draw: the task's objective.
        file: `{"module.lora_A": (r, I), "module.lora_B": (O, r)}`.
        budget: how long.
        name: of the task, for the lines printed.
        general: draws texts of all kinds and gives their vectors.
        keep: weight of their nearness to the base's own vectors, for work that the adapter is
            not made for.
        watch: called at each save; what it gives is printed.
    """
    if file.exists():
        return
    torch.manual_seed(0)
    student.load_state_dict(torch.load(base, map_location=DEVICE)["student"])
    learning = student.add_adapters(RANK, 1.0)
    student.to(DEVICE)
    state = file.with_suffix(".state")

    def losses_after(done: int) -> Iterator[Tensor]:
        for step in count(done):
            loss = draw(student, np.random.default_rng([7, step]))
            if general is not None and keep:
                with torch.no_grad(), student.plain():
                    wanted = general(student, np.random.default_rng([8, step]))
                vectors = general(student, np.random.default_rng([8, step]))
                kept = losses.nearness(vectors, wanted) + losses.likeness(vectors, wanted)
                loss = loss + keep * kept
            yield loss

    descend(
        student,
        [{"params": learning, "lr": RATE}],
        losses_after,
        budget=budget,
        warmup=WARMUP,
        state=state,
        save_every=SAVE_EVERY,
        name=name,
        watch=watch,
    )
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


def _matrices(student: Student) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, module in student.named_modules():
        if isinstance(module, Linear) and module.lora_A is not None and module.lora_B is not None:
            found[f"{name}.lora_A"] = module.lora_A.detach().cpu().clone()
            found[f"{name}.lora_B"] = module.lora_B.detach().cpu().clone()
    return found
