"""A stream cut into lists that fit into memory.

Takes any iterable, gives lists in its order. Knows not what it holds.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Window:
    """How many items are held at a time; each list may be twice as long as the one before."""

    first: int  # items; small, so that a mistake shows at once
    most: int  # items
    size: int | None  # what the sizes of a list may add up to; None: not limited


TEXTS = Window(first=64, most=2048, size=8 * 2**20)  # the size in bytes or characters
IMAGES = Window(first=32, most=32, size=None)


def windows(
    items: Iterable[Item], window: Window, *, size: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Cuts a stream into lists, none of them empty; the last item of one may exceed the size."""
    limit, held = window.first, 0
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        held += size(item)
        if len(chunk) >= limit or (window.size is not None and held >= window.size):
            yield chunk
            limit, chunk, held = min(limit * 2, window.most), [], 0
    if chunk:
        yield chunk
