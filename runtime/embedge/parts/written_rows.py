"""JSON lines, JSON arrays, CSV and TSV as chunks of rows: a bad row is a row with a reason.

Files of text do not say how many rows they have nor what their columns are, so each is read once
before anything is embedded. Columns of JSON take the type that all their values have: bool, int64,
float64 or string; a column of several types, of lists or of objects becomes JSON text. Columns of
a table are strings.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa

from embedge.bulk.lines import read_head, read_lines
from embedge.bulk.records import MAX_TEXT_BYTES, not_utf8, too_long
from embedge.bulk.tables import DELIMITERS, Row, array_items, table_rows
from embedge.errors import InputError
from embedge.files.encodings import NotTextError, find_encoding
from embedge.parts.chunks import Chunk, Item, wanted_pieces
from embedge.parts.columns import Column
from embedge.parts.inputs import Input, why_unreadable
from embedge.reasons import one_line
from embedge.texts.checks import clean

_BYTES = 8 * 2**20  # of input in one chunk
_LONG = 2**63  # beyond int64


class WrittenSource:
    """A file of rows that are written as text."""

    def __init__(self, source: Input, column: str) -> None:
        self.input = source
        self.columns: dict[str, pa.DataType] = {}
        self.rows = 0
        digest = hashlib.sha256()
        readable, first = False, None
        for row in self._read(column, digest):
            self.rows += 1
            readable, first = readable or row.reason is None, first or row.reason
            for name, value in (row.value or {}).items():
                if name != clean(name):  # not valid Unicode, which Arrow does not take
                    continue
                self.columns[name] = wider(self.columns.get(name, pa.null()), _type(value))
        self.digest = digest.hexdigest()
        if self.rows and not readable:
            raise InputError(
                f"{source.name} has no row that can be read as {source.kind.upper()}; the first "
                f"{first}"
            )

    def chunks(self, wanted: Sequence[range], column: Column, schema: pa.Schema) -> Iterator[Chunk]:
        """The rows in ranges that ascend; see `Source`."""
        last = max(one.stop for one in wanted)
        held: list[Row] = []
        size = start = 0
        for index, row in enumerate(self._read(column.name)):
            if index >= last:
                break
            held.append(row)
            size += row.size
            if len(held) == column.rows or size >= _BYTES:
                yield from self._pieces(held, start, wanted, column, schema)
                held, size, start = [], 0, index + 1
        yield from self._pieces(held, start, wanted, column, schema)

    def _pieces(
        self,
        rows: list[Row],
        start: int,
        wanted: Sequence[range],
        column: Column,
        schema: pa.Schema,
    ) -> Iterator[Chunk]:
        for piece in wanted_pieces(start, len(rows), wanted):
            items: list[Item | None] = [None] * len(rows[piece])
            reasons = [_lack(row, column.name) for row in rows[piece]]
            full = [index for index, reason in enumerate(reasons) if reason is None]
            given = [rows[piece][index].value[column.name] for index in full]
            found = zip(full, *column.from_json(given, self.input), strict=True)
            for index, item, reason in found:
                items[index], reasons[index] = item, reason
            values = [row.value or {} for row in rows[piece]]
            arrays = [
                pa.array([_as(value.get(field.name), field.type) for value in values], field.type)
                for field in schema
            ]
            yield Chunk(pa.Table.from_arrays(arrays, schema=schema), items, reasons)

    def _read(self, column: str, digest: Any = None) -> Iterator[Row]:
        """Each row with a mapping, or without a value and with the reason."""
        name, kind = self.input.name, self.input.kind
        try:
            with self.input.filesystem.open_input_stream(self.input.path) as stream:
                raw: Any = stream if digest is None else _Hashed(stream, digest)
                head = read_head(raw)
                rows = _rows(raw, head, find_encoding(head), kind)
                try:
                    for row in rows:
                        yield _mapping(row, column)
                except UnicodeDecodeError as error:
                    yield Row(0, None, f"is damaged from here on ({error.reason})", 0)
        except NotTextError as error:
            raise InputError(f"{name} cannot be read: it is {error}") from None
        except pa.ArrowException as error:
            raise InputError(f"{name} cannot be read: {one_line(error)}") from None
        except OSError as error:
            raise InputError(f"{name} cannot be read: {why_unreadable(error)}") from None


class _Hashed:
    """A stream whose bytes go into a digest as they are read."""

    def __init__(self, stream: Any, digest: Any) -> None:
        self._stream = stream
        self._digest = digest

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self._digest.update(data)
        return data


def wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds values of both; text where no other does.

    >>> print(wider(pa.int64(), pa.float64()), wider(pa.bool_(), pa.int64()))
    double string
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    return pa.string()


def _type(value: object) -> pa.DataType:
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int) and -_LONG <= value < _LONG:
        return pa.int64()
    return pa.float64() if isinstance(value, float) else pa.string()


def _rows(stream: BinaryIO, head: bytes, encoding: str, kind: str) -> Iterator[Row]:
    # Spark and others write JSON lines under this name, too.
    if kind == "json" and head.decode(encoding, "ignore").lstrip()[:1] == "[":
        return array_items(stream, head, encoding, most=MAX_TEXT_BYTES)
    lines = read_lines(stream, head, encoding, most=MAX_TEXT_BYTES)
    return table_rows(lines, DELIMITERS[kind]) if kind in DELIMITERS else _json_rows(lines)


def _json_rows(lines: Iterable[tuple[bytes, int]]) -> Iterator[Row]:
    for number, (line, size) in enumerate(lines, 1):
        if len(line) > MAX_TEXT_BYTES:
            yield Row(number, None, too_long(), size)
        elif line.strip():
            try:
                yield Row(number, json.loads(line.decode("utf-8")), None, size)
            except UnicodeDecodeError as error:
                yield Row(number, None, not_utf8(error), size)
            except (ValueError, RecursionError) as error:
                message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                yield Row(number, None, f"is not JSON ({message})", size)


def _mapping(row: Row, column: str) -> Row:
    if row.reason is not None or isinstance(row.value, dict):
        return row
    if isinstance(row.value, str):
        return Row(row.place, {column: row.value}, None, row.size)
    reason = f'is neither a JSON string nor an object with "{column}"'
    return Row(row.place, None, reason, row.size)


def _lack(row: Row, column: str) -> str | None:
    """Why a row has no value in the column; None where it has one, were it null."""
    if row.reason is None and column not in row.value:
        return f'has no "{column}"'
    return row.reason


def _as(value: Any, kind: pa.DataType) -> Any:
    """A value as its column's type holds it."""
    if value is None:
        return None
    if pa.types.is_float64(kind):
        return float(value)
    if not pa.types.is_string(kind):
        return value
    return clean(value) if isinstance(value, str) else json.dumps(value)
