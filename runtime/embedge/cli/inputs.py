"""Texts from files and stdin, as a stream of records; what cannot be read is a record too.

Takes paths (`-` is stdin) and an input format, gives `Record` or `Bad` in input order, in
bounded memory: no line is held that is longer than MAX_TEXT_BYTES. Knows files, lines, UTF-8
and JSON; nothing of models.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from embedge.errors import InputError

FORMATS = ("auto", "lines", "jsonl", "file")
STDIN = "-"
# The longest text that any of the models takes is some 150 kB; 16 MiB on one line is no text.
MAX_TEXT_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Record:
    """One text."""

    index: int  # place in the whole input, from 0; bad ones count
    where: str  # "file:line", or "file"
    text: str
    id: str | int | None
    size: int  # bytes it took in the input


@dataclass(frozen=True, slots=True)
class Bad:
    """One place in the input that gives no text."""

    index: int
    where: str
    reason: str
    size: int


def check_paths(paths: Sequence[str]) -> int | None:
    """Refuses what is no file before any work is done; the bytes of all, None with a stream.

    Raises:
        InputError: a path does not exist or is a folder.
    """
    total: int | None = 0
    for path in paths:
        if path == STDIN:
            total = None
            continue
        file = Path(path)
        if file.is_dir():
            raise InputError(f"{path} is a folder; give its files, e.g. {file / '*.txt'}")
        if not file.exists():
            raise InputError(f"{path} does not exist; give a file, or - for stdin")
        total = None if total is None or not file.is_file() else total + file.stat().st_size
    return total


def read_records(paths: Sequence[str], *, input_format: str = "auto") -> Iterator[Record | Bad]:
    """The records of every path, in order."""
    index = 0
    for path in paths:
        name = "stdin" if path == STDIN else path
        kind = input_format
        if kind == "auto":
            kind = "jsonl" if Path(path).suffix.lower() in (".jsonl", ".ndjson") else "lines"
        try:
            if path == STDIN:
                for record in _read(sys.stdin.buffer, name, kind, index):
                    yield record
                    index = record.index + 1
            else:
                with Path(path).open("rb") as stream:
                    for record in _read(stream, name, kind, index):
                        yield record
                        index = record.index + 1
        except OSError as error:
            yield Bad(index, name, f"cannot be read: {error.strerror or error}", 0)
            index += 1


def _read(stream: BinaryIO, name: str, kind: str, index: int) -> Iterator[Record | Bad]:
    if kind == "file":
        data = stream.read(MAX_TEXT_BYTES + 1)
        yield _record(data, name, kind, index)
        return
    for number, line in enumerate(_lines(stream), 1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that Windows adds
        if kind == "jsonl" and not line.strip():
            continue  # JSONL allows blank lines; in `lines` each one is a text of its own
        yield _record(line, f"{name}:{number}", kind, index)
        index += 1


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends; one over the limit is cut to MAX_TEXT_BYTES + 1 bytes."""
    while line := stream.readline(MAX_TEXT_BYTES + 1):
        if len(line) > MAX_TEXT_BYTES and not line.endswith(b"\n"):
            # Passes over the rest without holding it.
            while (rest := stream.readline(2**20)) and not rest.endswith(b"\n"):
                pass
        yield line


def _record(data: bytes, where: str, kind: str, index: int) -> Record | Bad:
    size = len(data)
    if size > MAX_TEXT_BYTES:
        reason = f"is longer than {MAX_TEXT_BYTES // 2**20} MiB; split it into texts"
        return Bad(index, where, reason, size)
    if kind == "file":
        data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 (byte 0x{data[error.start]:02x} at position {error.start + 1})"
        return Bad(index, where, reason, size)
    if kind == "file":
        return Record(index, where, text, None, size)
    if kind == "lines":
        return Record(index, where, text.removesuffix("\n").removesuffix("\r"), None, size)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        return Bad(index, where, f"is not JSON ({message})", size)
    if isinstance(value, str):
        return Record(index, where, value, None, size)
    if not isinstance(value, dict) or "text" not in value:
        return Bad(index, where, 'is neither a JSON string nor an object with "text"', size)
    if not isinstance(value["text"], str):
        return Bad(index, where, '"text" is no string', size)
    identity = value.get("id")
    if isinstance(identity, bool) or not isinstance(identity, (str, int, type(None))):
        return Bad(index, where, '"id" is neither a string nor a whole number', size)
    return Record(index, where, value["text"], identity, size)
