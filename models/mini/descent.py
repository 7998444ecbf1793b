"""The loop of every training: steps of AdamW, saved now and then, that can be gone on with."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mini.network import Student


def descend(
    student: Student,
    groups: Sequence[dict[str, Any]],
    losses_after: Callable[[int], Iterator[Tensor]],
    *,
    steps: int,
    warmup: int,
    state: Path,
    save_every: int,
    name: str,
    watch: Callable[[Student], str] = lambda _: "",
) -> None:
    """Trains a network in place; goes on from `state` if it is there, and ends with it written.

    Args:
        student: changed in place.
        groups: what learns, as AdamW takes it, each with its rate `lr`.
        losses_after: the loss of every step after so many, computed when it is asked for.
        steps: in all; the rate rises for `warmup` of them and falls to nothing at the last.
        warmup: in steps.
        state: file of student, optimizer and steps done.
        save_every: in steps.
        name: for the lines printed.
        watch: called at each save; what it gives is printed.
    """
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max(0.0, 1 - step / steps))
    )
    learning = [parameter for group in groups for parameter in group["params"]]
    done = 0
    if state.exists():
        saved = torch.load(state)
        student.load_state_dict(saved["student"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        done = saved["done"]
    started, before, mean = time.monotonic(), done, 0.0
    losses = losses_after(done)
    while done < steps:
        loss = next(losses)
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        done += 1
        mean += (loss.item() - mean) / min(done - before, 100)
        if done % save_every == 0 or done == steps:
            saved = {
                "student": student.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "done": done,
            }
            save(saved, state)
            left = (time.monotonic() - started) / (done - before) * (steps - done) / 60
            line = f"{name}: step {done:,}/{steps:,}, loss {mean:.4f}, {left:.0f} min left"
            print(line, watch(student), flush=True)


def save(value: object, file: Path) -> None:
    """Writes a file whole or not at all."""
    part = file.with_suffix(".part")
    torch.save(value, part)
    part.replace(file)
