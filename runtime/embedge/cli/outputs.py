"""Vectors to a stream or a file: JSONL lines, or one .npy array; files appear whole or not at all.

Takes items with their rows (n, width), writes them as they come. A file is written as
`NAME.part` and renamed at the end, so an interrupted run leaves no half file behind.
"""

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from embedge.errors import OptionError

_TYPES = {"float32": "<f4", "int8": "|i1", "uint8": "|u1", "binary": "|i1", "ubinary": "|u1"}
NPY_HEADER = 128  # bytes; fixed, so that the number of rows can be filled in at the end


@dataclass(frozen=True, slots=True)
class Item:
    """What names a row."""

    index: int  # place of its text in the whole input, from 0
    id: str | int | None


class Sink(ABC):
    """Where vectors go. `finish` makes them final, `abandon` leaves nothing."""

    @abstractmethod
    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        """Adds one row for each item."""

    @abstractmethod
    def finish(self) -> None:
        """Makes the output final."""

    @abstractmethod
    def abandon(self) -> None:
        """Drops a file that is not complete."""


def check_output(out: str | None, kind: str | None) -> tuple[Path | None, str]:
    """The file (None: stdout) and "jsonl" or "npy", from `--out` and `--format`.

    Raises:
        OptionError: .npy was asked for on stdout, or the folder of `out` does not exist.
    """
    path = None if out is None or out == "-" else Path(out)
    if path is None:
        if kind == "npy":
            raise OptionError(
                "--format npy needs a file, for its size stands first; add --out FILE"
            )
        return None, "jsonl"
    if path.is_dir() or not path.parent.is_dir():
        wrong = "is a folder" if path.is_dir() else f"lies in {path.parent}, which does not exist"
        raise OptionError(f"--out {path} {wrong}; give the path of a file")
    return path, kind or ("npy" if path.suffix == ".npy" else "jsonl")


def open_sink(path: Path | None, kind: str, *, embedding_type: str, width: int) -> Sink:
    """The sink for what `check_output` gave, for rows of a type and width."""
    if path is None:
        return _Lines(sys.stdout, None)
    part = path.with_name(path.name + ".part")
    if kind == "npy":
        return _Array(part.open("wb"), path, np.dtype(_TYPES[embedding_type]), width)
    return _Lines(part.open("w", encoding="utf-8", newline="\n"), path)


class _File(Sink):
    """The part that every file has in common: NAME.part, then NAME."""

    def __init__(self, stream: IO[Any], path: Path | None) -> None:
        self._stream = stream
        self._path = path  # None: stdout, which is not ours to close

    def finish(self) -> None:
        self._stream.flush()
        if self._path is not None:
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._part(self._path).replace(self._path)

    def abandon(self) -> None:
        if self._path is not None:
            self._stream.close()
            self._part(self._path).unlink(missing_ok=True)

    @staticmethod
    def _part(path: Path) -> Path:
        return path.with_name(path.name + ".part")


class _Lines(_File):
    """JSONL: {"index" or "id": …, "embedding": […]}."""

    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        for item, row in zip(items, rows.tolist(), strict=True):
            name, value = ("index", item.index) if item.id is None else ("id", item.id)
            # Nine digits give every float32 back bit for bit; json.dumps would write seventeen.
            vector = ", ".join([f"{number:.9g}" for number in row])
            self._stream.write(f'{{"{name}": {json.dumps(value)}, "embedding": [{vector}]}}\n')
        self._stream.flush()


class _Array(_File):
    """One .npy array (rows, width), format version 1.0; the header is filled in at the end."""

    def __init__(self, stream: IO[Any], path: Path, dtype: np.dtype[Any], width: int) -> None:
        super().__init__(stream, path)
        self._type = dtype
        self._width = width  # numbers of a row; of bytes, where eight dimensions share one
        self._rows = 0
        self._stream.write(self._header())

    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        self._stream.write(np.ascontiguousarray(rows, dtype=self._type).tobytes())
        self._rows += len(rows)

    def finish(self) -> None:
        self._stream.seek(0)
        self._stream.write(self._header())
        super().finish()

    def _header(self) -> bytes:
        described = (
            f"{{'descr': {self._type.str!r}, 'fortran_order': False, "
            f"'shape': ({self._rows}, {self._width}), }}"
        )
        length = NPY_HEADER - 10  # after the magic, the version and this length itself
        start = b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little")
        return start + described.ljust(length - 1).encode("ascii") + b"\n"
