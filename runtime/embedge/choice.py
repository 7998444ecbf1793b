"""A choice: something that was decided once, and why. `info` and `doctor` print the reason."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """A value and the reason for it."""

    value: T
    reason: str
