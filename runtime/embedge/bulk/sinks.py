"""Vectors to a stream or a file: JSONL lines, or one .npy array; files appear whole or not at all.

Takes items with their rows (n, width), writes them as they come.
"""

import io
import json
import os
import stat
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from embedge.bulk.suffixes import output_format
from embedge.cli.common import naming_stdout
from embedge.errors import OptionError
from embedge.files.whole import WholeFile, find_obstacle

_TYPES = {"float32": "<f4", "int8": "|i1", "uint8": "|u1", "binary": "|i1", "ubinary": "|u1"}
BLOCK = 4096  # rows filled at a time
NPY_HEADER = 128  # bytes; fixed, so that the number of rows can be filled in at the end


@dataclass(frozen=True, slots=True)
class Item:
    """What names a row."""

    index: int  # place of its text in the whole input, from 0
    id: str | int | None


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
    def finish(self, count: int) -> None:
        """Makes the output final, of so many items, those left out included."""

    @abstractmethod
    def abandon(self) -> None:
        """Drops a file that is not complete."""


def check_output(
    out: str | None, kind: str | None, *, inputs: Sequence[str | os.PathLike[str]] = ()
) -> tuple[Path | None, str]:
    """The file (None: stdout) and "jsonl" or "npy", from `--out` and `--format`.

    Args:
        out: the option's value; None and "-" are stdout.
        kind: the option's value; None goes by the name.
        inputs: what is read, "-" for stdin: none of it may be what is written.

    Raises:
        OptionError: .npy was asked for on stdout, no file can be written at `out`, its name says
            another format, or it is read as well.
    """
    check_not_read("--out", None if out == "-" else out, inputs)
    if out is None or out == "-":
        if kind == "npy":
            raise OptionError(
                "--format npy needs a file, for its size stands first; add --out FILE"
            )
        return None, "jsonl"
    if obstacle := find_obstacle(out):
        raise OptionError(f"--out {out} {obstacle}")
    return Path(out), output_format(out, kind)


def check_not_read(
    option: str,
    out: str | os.PathLike[str] | None,
    inputs: Sequence[str | os.PathLike[str]],
) -> None:
    """Refuses to write to a file that is read, by whatever name or link; None is stdout.

    Raises:
        OptionError: the output is one of the inputs.
    """
    written = _identity("-" if out is None else out, sys.stdout)
    if written is None:
        return
    for source in inputs:
        if _identity(source, sys.stdin) == written:
            name = "stdin" if source == "-" else source
            where = "stdout" if out is None else f"{option} {out}"
            raise OptionError(
                f"{where} is the file that is read ({name}), which would be lost; give another name"
            )


def open_sink(path: Path | None, kind: str, *, embedding_type: str, width: int) -> Sink:
    """The sink for what `check_output` gave, for rows of a type and width."""
    if path is None:
        return _Lines(sys.stdout, None)
    if kind == "npy":
        return _Array(WholeFile(path, seeks=True), np.dtype(_TYPES[embedding_type]), width)
    file = WholeFile(path)
    text = io.TextIOWrapper(file.stream, encoding="utf-8", newline="\n", write_through=True)
    return _Lines(text, file)


def _identity(path: str | os.PathLike[str], stream: TextIO | None) -> tuple[int, int] | None:
    """What a regular file is known by, whatever its name; of the stream where the path is "-"."""
    try:
        if path != "-":
            status = Path(path).stat()
        elif stream is None:
            return None
        else:
            status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):  # not there yet, or no stream of the system
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


class _Lines(Sink):
    """JSONL: {"index" or "id": …, "embedding": […]}."""

    def __init__(self, stream: TextIO, file: WholeFile | None) -> None:
        self._stream = stream
        self._file = file  # None: stdout, which is not ours to close

    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        with naming_stdout():  # a file names itself
            for item, row in zip(items, rows.tolist(), strict=True):
                name, value = ("index", item.index) if item.id is None else ("id", item.id)
                quoted = json.dumps(value).replace("\x7f", "\\u007f")  # DEL, for the terminal
                # Nine digits give every float32 back bit for bit; json.dumps would write seventeen.
                vector = ", ".join([f"{number:.9g}" for number in row])
                self._stream.write(f'{{"{name}": {quoted}, "embedding": [{vector}]}}\n')
            self._stream.flush()

    def finish(self, count: int) -> None:
        with naming_stdout():
            self._stream.flush()
        if self._file is not None:
            self._file.finish()

    def abandon(self) -> None:
        if self._file is not None:
            self._file.abandon()


class _Array(Sink):
    """One .npy array (items, width), format version 1.0; the header is filled in at the end.

    Row i is item i: those left out have rows too, of NaN, or of 0 in types without it.
    """

    def __init__(self, file: WholeFile, dtype: np.dtype[Any], width: int) -> None:
        self._file = file
        self._type = dtype
        self._width = width  # numbers of a row; of bytes, where eight dimensions share one
        self._rows = 0
        self.filler = "NaN" if dtype.kind == "f" else "0"
        self._file.stream.write(self._header())

    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        self._fill(items[0].index)
        places = [item.index - self._rows for item in items]
        block = self._filled(places[-1] + 1)
        block[places] = rows
        self._file.stream.write(block.tobytes())
        self._rows += len(block)

    def finish(self, count: int) -> None:
        try:
            self._fill(count)
            self._file.stream.seek(0)
            self._file.stream.write(self._header())
        except BaseException:
            self._file.abandon()
            raise
        self._file.finish()

    def abandon(self) -> None:
        self._file.abandon()

    def _fill(self, end: int) -> None:
        """Writes rows of items that were left out, up to an index."""
        while self._rows < end:
            block = self._filled(min(BLOCK, end - self._rows))
            self._file.stream.write(block.tobytes())
            self._rows += len(block)

    def _filled(self, count: int) -> np.ndarray[Any, Any]:
        empty = np.nan if self._type.kind == "f" else 0
        return np.full((count, self._width), empty, self._type)

    def _header(self) -> bytes:
        described = (
            f"{{'descr': {self._type.str!r}, 'fortran_order': False, "
            f"'shape': ({self._rows}, {self._width}), }}"
        )
        length = NPY_HEADER - 10  # after the magic, the version and this length itself
        start = b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little")
        return start + described.ljust(length - 1).encode("ascii") + b"\n"
