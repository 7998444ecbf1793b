"""Parquet and Arrow files as chunks of rows, in bounded memory.

Takes an `Input`; gives how many rows it has, its columns, a digest that changes with its content,
and the rows in given ranges. Of Parquet only the row groups that hold such rows are read, and only
the columns that are needed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
from pyarrow import ipc
from pyarrow import parquet as pq

from embedge.errors import InputError
from embedge.parts.chunks import Chunk, wanted_pieces
from embedge.parts.columns import Column
from embedge.parts.inputs import Input, why_unreadable
from embedge.reasons import one_line

BLOCK = 2**20  # bytes read at a time
# What pyarrow raises for a file that is damaged or is gone.
_FAILURES = (pa.ArrowException, OSError, SystemError, OverflowError, MemoryError)
_FOOTER = 8  # bytes at the end of a Parquet file: the footer's length, and "PAR1"


class Source(Protocol):
    """An input that was looked at.

    Attributes:
        input: the file.
        rows: how many it has.
        columns: their names and types, in the file's order.
        digest: SHA-256 of what it was known by.
    """

    input: Input
    rows: int
    columns: dict[str, pa.DataType]
    digest: str

    def chunks(self, wanted: Sequence[range], column: Column, schema: pa.Schema) -> Iterator[Chunk]:
        """The rows in ranges that ascend, none of them cut by a chunk.

        Args:
            wanted: row numbers, from 0.
            column: which one is embedded.
            schema: the columns to keep.
        """


class ColumnarSource:
    """A Parquet or Arrow file."""

    def __init__(self, source: Input) -> None:
        self.input = source
        try:
            if source.kind == "parquet":
                self._look_at_parquet()
            else:
                self._look_at_arrow()
        except _FAILURES as error:
            raise _unreadable(source, error) from None

    def chunks(self, wanted: Sequence[range], column: Column, schema: pa.Schema) -> Iterator[Chunk]:
        """The rows in ranges that ascend; see `Source`."""
        names = list(dict.fromkeys([*schema.names, column.name]))
        batches = self._parquet if self.input.kind == "parquet" else self._arrow
        try:
            for start, batch in batches(wanted, names, column.rows):
                for piece in wanted_pieces(start, batch.num_rows, wanted):
                    part = batch.slice(piece.start, piece.stop - piece.start)
                    items, reasons = column.from_arrow(part.column(column.name), self.input)
                    table = pa.Table.from_batches([part.select(schema.names)])
                    yield Chunk(table.cast(schema), items, reasons)
        except _FAILURES as error:
            raise _unreadable(self.input, error) from None

    def _look_at_parquet(self) -> None:
        with self._open() as stream:
            # The footer says where each column of each row group stands, how long it is, and its
            # smallest and largest values.
            stream.seek(max(0, self.input.size - _FOOTER))
            length = int.from_bytes(stream.read(_FOOTER)[:4], "little")
            stream.seek(max(0, self.input.size - _FOOTER - length))
            footer = stream.read(length)
            stream.seek(0)
            file = pq.ParquetFile(stream)
            self.digest = hashlib.sha256(footer).hexdigest()
            self._groups = [
                file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)
            ]
            self.rows = sum(self._groups)
            self.columns = self._columns(file.schema_arrow)

    def _parquet(
        self, wanted: Sequence[range], names: list[str], most: int
    ) -> Iterator[tuple[int, Any]]:
        with self._open() as stream:
            # Without pre_buffer a column is read page by page, however large the row group is.
            file = pq.ParquetFile(stream, buffer_size=BLOCK, pre_buffer=False)
            start = 0
            for group, rows in enumerate(self._groups):
                at = start
                if pieces := list(wanted_pieces(start, rows, wanted)):
                    for batch in file.iter_batches(most, row_groups=[group], columns=names):
                        yield at, batch
                        at += batch.num_rows
                        if at >= start + pieces[-1].stop:  # the rest of the group is not read
                            break
                start += rows

    def _look_at_arrow(self) -> None:
        digest = hashlib.sha256()
        with self._open() as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
        self.digest = digest.hexdigest()
        with self._open() as stream:
            reader = _reader(stream)
            self.columns = self._columns(reader.schema)
            self.rows = 0
            for batch in _batches(reader):
                _check_arrow(batch)
                self.rows += batch.num_rows

    def _arrow(
        self, wanted: Sequence[range], names: list[str], most: int
    ) -> Iterator[tuple[int, Any]]:
        with self._open() as stream:
            start, last = 0, max(one.stop for one in wanted)
            for whole in _batches(_reader(stream)):
                if start >= last:
                    return
                for at in range(0, whole.num_rows, most):
                    yield start + at, whole.select(names).slice(at, most)
                start += whole.num_rows

    def _columns(self, schema: pa.Schema) -> dict[str, pa.DataType]:
        for name in schema.names:
            if (count := schema.names.count(name)) > 1:
                raise InputError(
                    f'{self.input.name} has {count} columns named "{name}"; rename them'
                )
        return {field.name: field.type for field in schema}

    def _open(self) -> Any:
        return self.input.filesystem.open_input_file(self.input.path)


def _reader(stream: Any) -> Any:
    """Of the file format, or of a stream under the same name, as `datasets` writes it."""
    try:
        return ipc.open_file(stream)
    except pa.ArrowInvalid:
        stream.seek(0)
        return ipc.open_stream(stream)


def _batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(index) for index in range(reader.num_record_batches))
    return iter(reader)


def _check_arrow(batch: Any) -> None:
    """Refuses offsets that point out of their buffers, which would be followed later.

    Raises:
        pyarrow.ArrowInvalid: the reason.
    """
    for column in batch.columns:
        if pa.types.is_string(column.type):  # text that is not UTF-8 is a matter of its row
            column = column.view(pa.binary())
        elif pa.types.is_large_string(column.type):
            column = column.view(pa.large_binary())
        column.validate(full=True)


def _unreadable(source: Input, error: Exception) -> InputError:
    detail = why_unreadable(error) if isinstance(error, OSError) else one_line(error)
    return InputError(f"{source.name} cannot be read as {source.kind.title()}: {detail}")
