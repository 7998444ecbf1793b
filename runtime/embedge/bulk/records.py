"""Texts from files and streams, as a stream of records; what cannot be read is a record too.

Takes paths (`-` is a stream that is handed in) and an input format, gives `Record` or `Bad` in
input order, in bounded memory: no line is held that is longer than MAX_TEXT_BYTES. Knows files,
formats and JSON; nothing of models.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from embedge.bulk.lines import read_head, read_lines
from embedge.bulk.suffixes import BY_SUFFIX, suffix_of
from embedge.bulk.tables import DELIMITERS, Row, array_items, table_rows
from embedge.files.encodings import NotTextError, decode_text, find_encoding

FORMATS = ("auto", "lines", "jsonl", "json", "csv", "tsv", "file")
COLUMN = "text"  # which field of a JSON object or a table holds the text
STDIN = "-"
NO_PLACE = -1  # index of what has no place in the output, such as a file that is not an image
# The longest text that any of the models takes is about 150 kB; 16 MiB on one line is not a text.
MAX_TEXT_BYTES = 16 * 2**20
_REMEDY = "convert the file to UTF-8"
_SHOWN = 10  # names of fields in a message
_UNDECODED = re.compile("[\udc80-\udcff]")  # as "surrogateescape" writes them


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
    id: str | int | None = None  # of a text that was read, and is refused later


def read_records(
    paths: Sequence[str],
    *,
    input_format: str = "auto",
    stdin: BinaryIO | None = None,
    column: str = COLUMN,
) -> Iterator[Record | Bad]:
    """The records of every path, in order.

    Args:
        paths: files; "-" is `stdin`.
        input_format: one of FORMATS: "lines" takes a text a line, "jsonl" a JSON object or string a
            line, "json" an array of them, "csv" and "tsv" a table whose first row has the names of
            its columns, "file" a text a file; "auto" goes by the file's name.
        stdin: what "-" reads, as bytes.
        column: of tables and JSON objects, which field holds the text. A field "id" names it.
    """
    index = 0
    for path in paths:
        name = "stdin" if path == STDIN else path
        kind = input_format
        if kind == "auto":
            kind = BY_SUFFIX.get(suffix_of(path), "lines")
        try:
            with _open(path, stdin) as stream:
                for record in _read(stream, name, kind, index, column):
                    yield record
                    index = record.index + 1
        except OSError as error:
            yield Bad(index, name, f"cannot be read: {error.strerror or error}", 0)
            index += 1


def text_records(texts: Iterable[str]) -> Iterator[Record | Bad]:
    """A record for each of these texts themselves."""
    for index, text in enumerate(texts):
        where = f"text {index + 1}"
        try:
            yield Record(index, where, text, None, len(text.encode()))
        except UnicodeEncodeError:  # an argument that is not valid in the terminal's encoding
            yield Bad(index, where, f"is not valid text; {_REMEDY}", len(text))


def _open(path: str, stdin: BinaryIO | None) -> AbstractContextManager[BinaryIO]:
    if path != STDIN:
        return Path(path).open("rb")
    assert stdin is not None, "a stream for the path -"
    return nullcontext(stdin)  # not ours to close


def _read(
    stream: BinaryIO, name: str, kind: str, index: int, column: str = COLUMN
) -> Iterator[Record | Bad]:
    head = read_head(stream)
    try:
        encoding = find_encoding(head)
    except NotTextError as error:
        reason = f"is {error} (or UTF-16 without a byte order mark); {_REMEDY}"
        yield Bad(index, name, reason, len(head))
        return
    if kind == "file":
        data = head + stream.read(max(0, MAX_TEXT_BYTES + 1 - len(head)))
        yield _whole(data, name, index)
        return
    try:
        if kind == "json":
            items = array_items(stream, head, encoding, most=MAX_TEXT_BYTES)
            yield from _rows(items, f"{name}: item ", index, column)
            return
        lines = read_lines(stream, head, encoding, most=MAX_TEXT_BYTES)
        if kind in DELIMITERS:
            yield from _rows(table_rows(lines, DELIMITERS[kind]), f"{name}:", index, column)
            return
        for number, (line, size) in enumerate(lines, 1):
            if kind == "jsonl" and not line.strip():
                continue  # JSONL allows blank lines; in `lines` each one is a text of its own
            yield _record(line, size, f"{name}:{number}", kind, index, column)
            index += 1
    except UnicodeDecodeError as error:
        reason = f"is damaged {encoding.upper()} from here on ({error.reason}); {_REMEDY}"
        yield Bad(index, name, reason, 0)


def _whole(data: bytes, name: str, index: int) -> Record | Bad:
    if len(data) > MAX_TEXT_BYTES:
        return Bad(index, name, too_long(), len(data))
    try:
        return Record(index, name, decode_text(data), None, len(data))
    except NotTextError as error:
        return Bad(index, name, f"is {error}; {_REMEDY}", len(data))


def _rows(rows: Iterable[Row], name: str, index: int, column: str) -> Iterator[Record | Bad]:
    for row in rows:
        where = f"{name}{row.place}"
        if row.reason is not None:
            yield Bad(index, where, row.reason, row.size)
        else:
            record = _of_value(row.value, row.size, where, index, column)
            if isinstance(record, Record) and (reason := why_not_text(record.text)):
                record = Bad(index, where, reason, row.size)
            yield record
        index += 1


def too_long() -> str:
    """Why a text of more than MAX_TEXT_BYTES is none."""
    return f"is longer than {MAX_TEXT_BYTES // 2**20} MiB; split it into texts"


def not_utf8(error: UnicodeDecodeError) -> str:
    """Why bytes that could not be decoded are no text."""
    return f"is not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start + 1})"


def why_not_text(text: str) -> str | None:
    """Why a text with its bytes that could not be decoded is none."""
    if "\0" in text:
        return f"holds NUL characters, so it is not text; {_REMEDY}"
    if not text.isascii() and _UNDECODED.search(text):
        return f"is not UTF-8; {_REMEDY}"
    return None


def _record(data: bytes, size: int, where: str, kind: str, index: int, column: str) -> Record | Bad:
    if len(data) > MAX_TEXT_BYTES:
        return Bad(index, where, too_long(), size)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Bad(index, where, f"{not_utf8(error)}; {_REMEDY}", size)
    if "\0" in text:
        return Bad(index, where, f"holds NUL characters, so it is not text; {_REMEDY}", size)
    if kind == "lines":
        return Record(index, where, text.rstrip("\r\n"), None, size)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        return Bad(index, where, f"is not JSON ({message})", size)
    return _of_value(value, size, where, index, column)


def _of_value(value: object, size: int, where: str, index: int, column: str) -> Record | Bad:
    """The record of a JSON value, or of a table's row."""
    if isinstance(value, str):
        return Record(index, where, value, None, size)
    if not isinstance(value, dict) or column not in value:
        reason = f'is neither a JSON string nor an object with "{column}"'
        if isinstance(value, dict) and column != "id":
            held = ", ".join(map(str, list(value)[:_SHOWN]))
            reason += f"; it has {held or 'no fields'} (--column names another)"
        return Bad(index, where, reason, size)
    text = value[column]
    if not isinstance(text, str):
        return Bad(index, where, f'"{column}" is not a string', size)
    identity = value.get("id") if column != "id" else None
    if isinstance(identity, bool) or not isinstance(identity, (str, int, type(None))):
        return Bad(index, where, '"id" is neither a string nor a whole number', size)
    return Record(index, where, text, identity, size)
