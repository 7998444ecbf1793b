"""Rows on their way: the columns that are kept, what is embedded of each, or why there is nothing.

`Chunk` is what every format gives and what is embedded. Cuts chunks at rows that are asked for, and
joins them to the size that is embedded at once, so that this does not depend on how a file is cut.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

MOST_ROWS = 8192  # that are embedded at once, and stand in one row group
MOST_BYTES = 32 * 2**20  # of their texts, or of the files of their images

Item: TypeAlias = str | bytes  # a text; the path of an image, or its file's bytes
Items: TypeAlias = (
    "tuple[Sequence[Item | None], Sequence[str | None]]"  # of rows, and why one has none
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that follow each other."""

    table: pa.Table  # the columns that are kept; of as many rows, also where it has no column
    items: Sequence[Item | None]  # what is embedded
    reasons: Sequence[str | None]  # why a row has none

    def __len__(self) -> int:
        return len(self.items)

    def cut(self, start: int, stop: int) -> "Chunk":
        """Its rows from `start` to before `stop`."""
        table = self.table.slice(start, stop - start)
        return Chunk(table, self.items[start:stop], self.reasons[start:stop])


def wanted_pieces(start: int, count: int, wanted: Sequence[range]) -> Iterator[slice]:
    """The pieces of rows start … start + count that lie in the ranges, which ascend.

    >>> list(wanted_pieces(10, 10, [range(5, 12), range(15, 30)]))
    [slice(0, 2, None), slice(5, 10, None)]
    """
    for one in wanted:
        first, last = max(one.start, start), min(one.stop, start + count)
        if first < last:
            yield slice(first - start, last - start)


def joined(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The same rows in chunks of at most `MOST_ROWS` and about `MOST_BYTES` of items."""
    held: list[Chunk] = []
    rows = size = 0
    for chunk in chunks:
        start = 0
        for index, item in enumerate(chunk.items):
            rows += 1
            size += len(item) if item is not None else 0
            if rows == MOST_ROWS or size >= MOST_BYTES:
                yield _joined([*held, chunk.cut(start, index + 1)])
                held, start, rows, size = [], index + 1, 0, 0
        if start < len(chunk):
            held.append(chunk.cut(start, len(chunk)))
    if held:
        yield _joined(held)


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    tables = [chunk.table for chunk in chunks]
    items = [item for chunk in chunks for item in chunk.items]
    reasons = [reason for chunk in chunks for reason in chunk.reasons]
    return Chunk(pa.concat_tables(tables), items, reasons)
