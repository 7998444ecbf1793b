"""The steps of an export, counted and reported."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an export: `done` of `total` units, and what comes next."""

    task: str
    precision: str  # "" while several are made in step
    label: str
    done: int
    total: int


OnProgress = Callable[[Step], None]


@dataclass(slots=True)
class Steps:
    """Counts the steps of a whole export and reports each."""

    report: OnProgress
    total: int
    done: int = 0

    def advance(self, task: str, precision: str, label: str) -> None:
        """Reports the next step; see Step."""
        self.report(Step(task, precision, label, self.done, self.total))
        self.done += 1
