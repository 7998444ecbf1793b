"""The loop of every training: steps of AdamW, saved now and then, that can be gone on with."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mini.device import DEVICE


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a training lasts: so many steps, or so many seconds of its own."""

    steps: int | None = None
    seconds: float | None = None

    def spent(self, steps: int, seconds: float) -> float:
        """The share that is used up, 0 to 1."""
        shares = [steps / self.steps] if self.steps else []
        shares += [seconds / self.seconds] if self.seconds else []
        return min(1.0, max(shares))


def descend(
    network: nn.Module,
    groups: Sequence[dict[str, Any]],
    losses_after: Callable[[int], Iterator[Tensor]],
    *,
    budget: Budget,
    warmup: int,
    state: Path,
    save_every: float,
    name: str,
    watch: Callable[[nn.Module], str] = lambda _: "",
) -> None:
    """Trains a network in place; goes on from `state` if it is there, and ends with it written.

    Args:
        network: changed in place; on the device.
        groups: what learns, as AdamW takes it, each with its rate `lr`.
        losses_after: the loss of every step after so many, computed when it is asked for.
        budget: the rate falls to nothing at its end.
        warmup: steps for which the rate rises.
        state: file of student, optimizer, steps done and seconds spent.
        save_every: in seconds.
        name: for the lines printed.
        watch: called at each save; what it gives is printed.
    """
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    rates = [group["lr"] for group in optimizer.param_groups]
    learning = [parameter for group in groups for parameter in group["params"]]
    done, before_seconds = 0, 0.0
    if state.exists():
        saved = torch.load(state, map_location=DEVICE)
        network.load_state_dict(saved["student"])
        optimizer.load_state_dict(saved["optimizer"])
        done, before_seconds = saved["done"], saved["seconds"]
    started, seconds, mean = time.monotonic(), before_seconds, torch.zeros((), device=DEVICE)
    losses, since, saved_at = losses_after(done), 0, before_seconds
    while (spent := budget.spent(done, seconds)) < 1:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min((done + 1) / warmup, 1 - spent)
        loss = next(losses)
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        done, since = done + 1, since + 1
        mean += (loss.detach() - mean) / min(since, 100)
        if DEVICE.type == "cuda" and done % 20 == 0:
            torch.cuda.synchronize()  # else the clock runs behind what is queued
        seconds = before_seconds + time.monotonic() - started
        spent = budget.spent(done, seconds)
        if seconds - saved_at >= save_every or spent == 1:
            saved_at = seconds
            saved = {
                "student": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "done": done,
                "seconds": seconds,
            }
            save(saved, state)
            line = f"{name}: step {done:,}, {spent:.0%}, {seconds:.0f} s, loss {mean.item():.4f}"
            print(line, watch(network), flush=True)


def save(value: object, file: Path) -> None:
    """Writes a file whole or not at all."""
    part = file.with_suffix(".part")
    torch.save(value, part)
    part.replace(file)
