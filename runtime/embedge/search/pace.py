"""Work in chunks that take about as long, whatever the machine and the model.

Takes items, gives them a chunk at a time, each as large as the one before was fast.
"""

import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

CHUNK_SECONDS = 10.0  # what a kill costs

Item = TypeVar("Item")


class Pace:
    """How many items are worked on at a time: as many as take CHUNK_SECONDS, within bounds."""

    def __init__(self, fewest: int, most: int) -> None:
        self._fewest, self._most = fewest, most
        self._size = fewest

    def chunks(self, items: Sequence[Item]) -> Iterator[tuple[int, list[Item]]]:
        """Items with the number of those before them; measures what is done with each chunk."""
        done = 0
        while done < len(items):
            chunk = list(items[done : done + self._size])
            start = time.monotonic()
            yield done, chunk
            rate = len(chunk) / max(time.monotonic() - start, 1e-9)
            self._size = int(min(max(rate * CHUNK_SECONDS, self._fewest), self._most))
            done += len(chunk)
