"""Vectors to a stream or a file: JSONL lines, or one .npy array; files appear whole or not at all.

Takes items with their rows (n, width), writes them as they come. A sink of your own, such as one
that writes to a database, derives from `Sink`.
"""

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from embedge.bulk.records import Bad
from embedge.files.whole import WholeFile
from embedge.vectors import json_numbers

_TYPES = {"float32": "<f4", "int8": "|i1", "uint8": "|u1", "binary": "|i1", "ubinary": "|u1"}
BLOCK = 4096  # rows filled at a time
NPY_HEADER = 128  # bytes; fixed, so that the number of rows can be filled in at the end


@dataclass(frozen=True, slots=True)
class Item:
    """What names a row."""

    index: int  # place of its text in the whole input, from 0
    id: str | int | None


@dataclass(frozen=True, slots=True)
class Done:
    """How far a job is."""

    items: int = 0  # of the input, those left out included
    embedded: int = 0
    bad: int = 0
    cut: int = 0


class Sink(ABC):
    """Where vectors go. `finish` makes them final, `abandon` leaves nothing.

    Attributes:
        filler: what stands in the rows of items that were left out, in words; None where they have
            no rows.
    """

    filler: str | None = None

    @abstractmethod
    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        """Adds one row for each item, in order of their indices."""

    @abstractmethod
    def finish(self, done: Done) -> None:
        """Makes the output final; `done` is the whole job."""

    @abstractmethod
    def abandon(self) -> None:
        """Drops a file that is not complete."""

    def refuse(self, bad: Bad) -> None:  # noqa: B027 - most sinks have rows alone
        """Called for an item that has no vector, with the reason."""

    def checkpoint(self, done: Done) -> None:  # noqa: B027 - most sinks have nothing to note
        """Called when the rows of so many items are written."""

    def suspend(self) -> None:
        """Called in place of `abandon` where the job was interrupted, and may go on later."""
        self.abandon()


class FileSink(Sink):
    """A sink to a file.

    Attributes:
        file: what is written.
        rows: how many rows an array has so far.
    """

    file: WholeFile
    rows: int = 0


def open_sink(
    path: Path,
    kind: str,
    *,
    embedding_type: str,
    width: int,
    part: Path | None = None,
    size: int = 0,
    rows: int = 0,
) -> FileSink:
    """A file that appears when the sink is finished.

    Args:
        path: where the file will be.
        kind: "jsonl" or "npy".
        embedding_type: of the rows, as `Embedder.encode` names it.
        width: numbers of a row; of bytes, where eight dimensions share one.
        part: a temporary file to go on with, as `WholeFile` takes it.
        size: bytes of it that count.
        rows: rows of an array that stand in it.
    """
    file = WholeFile(path, seeks=kind == "npy", part=part, size=size)
    if kind == "npy":
        return _Array(file, np.dtype(_TYPES[embedding_type]), width, rows, new=part is None)
    return _LinesFile(file, str(path))


class LinesSink(Sink):
    """JSONL to a stream that stays open: {"index" or "id": …, "embedding": […]}."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name  # for errors of the stream, e.g. "stdout": a full disk is one of several

    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        """Writes a line for each item."""
        try:
            for item, row in zip(items, rows, strict=True):
                name, value = ("index", item.index) if item.id is None else ("id", item.id)
                quoted = json.dumps(value).replace("\x7f", "\\u007f")  # DEL, for the terminal
                vector = json_numbers(row)
                self._stream.write(f'{{"{name}": {quoted}, "embedding": [{vector}]}}\n')
            self._stream.flush()
        except OSError as error:
            error.filename = error.filename or self._name
            raise

    def finish(self, done: Done) -> None:
        """All lines are written already."""

    def abandon(self) -> None:
        """What is written stays: the stream is not ours."""


class _LinesFile(LinesSink, FileSink):
    """The same to a file."""

    def __init__(self, file: WholeFile, name: str) -> None:
        self.file = file
        text = io.TextIOWrapper(file.stream, encoding="utf-8", newline="\n", write_through=True)
        super().__init__(text, name)

    def finish(self, done: Done) -> None:
        self._stream.flush()
        self.file.finish()

    def abandon(self) -> None:
        self.file.abandon()


class _Array(FileSink):
    """One .npy array (items, width), format version 1.0; the header is filled in at the end.

    Row i is item i: those left out have rows too, of NaN, or of 0 in types without it.
    """

    def __init__(
        self, file: WholeFile, dtype: np.dtype[Any], width: int, rows: int, *, new: bool
    ) -> None:
        self.file = file
        self._type = dtype
        self._width = width  # numbers of a row; of bytes, where eight dimensions share one
        self.rows = rows
        self.filler = "NaN" if dtype.kind == "f" else "0"
        if new:
            self.file.stream.write(self._header())

    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        self._fill(items[0].index)
        places = [item.index - self.rows for item in items]
        block = self._filled(places[-1] + 1)
        block[places] = rows
        self.file.stream.write(block.tobytes())
        self.rows += len(block)

    def finish(self, done: Done) -> None:
        try:
            self._fill(done.items)
            self.file.stream.seek(0)
            self.file.stream.write(self._header())
        except BaseException:
            self.file.abandon()
            raise
        self.file.finish()

    def abandon(self) -> None:
        self.file.abandon()

    def _fill(self, end: int) -> None:
        """Writes rows of items that were left out, up to an index."""
        while self.rows < end:
            block = self._filled(min(BLOCK, end - self.rows))
            self.file.stream.write(block.tobytes())
            self.rows += len(block)

    def _filled(self, count: int) -> np.ndarray[Any, Any]:
        empty = np.nan if self._type.kind == "f" else 0
        return np.full((count, self._width), empty, self._type)

    def _header(self) -> bytes:
        described = (
            f"{{'descr': {self._type.str!r}, 'fortran_order': False, "
            f"'shape': ({self.rows}, {self._width}), }}"
        )
        length = NPY_HEADER - 10  # after the magic, the version and this length itself
        start = b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little")
        return start + described.ljust(length - 1).encode("ascii") + b"\n"
