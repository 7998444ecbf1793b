"""Which rows stand in which part: a pure function of the inputs and the rows of a part.

Takes inputs that were looked at, gives the schema of what is kept, and the chunks of the parts that
are asked for. Part k has the rows k x n to (k + 1) x n of all inputs in their order, so that any
process can make any part, and makes the same one.
"""

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import parquet as pq

from embedge.errors import InputError, OptionError
from embedge.parts.chunks import Chunk, joined
from embedge.parts.columnar import ColumnarSource, Source
from embedge.parts.columns import Column
from embedge.parts.inputs import Input
from embedge.parts.written_rows import WrittenSource, wider
from embedge.reasons import one_line

ROWS = 8192  # of a part, by default
ERROR = "error"  # the column with the reason why a row has no vector
_SHOWN = 12  # columns in a message


@dataclass(frozen=True, slots=True)
class Shard:
    """Parts that follow each other: the `index`-th of `count` shards, from 1.

    Every n-th part instead would lie in nearly all row groups of the inputs, and each shard would
    read nearly all of them.
    """

    index: int = 1
    count: int = 1

    def parts(self, count: int) -> range:
        """The numbers of its parts, of so many.

        >>> [list(Shard(index, 3).parts(8)) for index in (1, 2, 3)]
        [[0, 1], [2, 3, 4], [5, 6, 7]]
        """
        return range((self.index - 1) * count // self.count, self.index * count // self.count)


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of all shards.

    Attributes:
        sources: the inputs.
        column: which one is embedded.
        schema: the columns that are kept.
        rows_per_part: of all parts but the last.
    """

    sources: tuple[Source, ...]
    column: Column
    schema: pa.Schema
    rows_per_part: int

    @property
    def rows(self) -> int:
        """Of all inputs."""
        return sum(source.rows for source in self.sources)

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-self.rows // self.rows_per_part)

    def rows_of(self, part: int) -> range:
        """The rows of a part, counted through all inputs."""
        start = part * self.rows_per_part
        return range(start, min(start + self.rows_per_part, self.rows))

    def where(self, row: int) -> str:
        """The place of a row: "FILE, row 3", counted from 1 in the file."""
        ends = list(itertools.accumulate(source.rows for source in self.sources))
        index = bisect_right(ends, row)
        before = ends[index - 1] if index else 0
        return f"{self.sources[index].input.name}, row {row - before + 1:,}"

    def chunks(self, parts: Sequence[int]) -> Iterator[tuple[int, Iterator[Chunk]]]:
        """Each of these parts, whose numbers ascend, with its rows; read them in this order."""
        for part, pairs in itertools.groupby(self._pairs(parts), key=lambda pair: pair[0]):
            yield part, joined(chunk for _, chunk in pairs)

    def rows_alone(self, rows: Sequence[int]) -> Iterator[Chunk]:
        """What is embedded of these rows of all inputs, which ascend; without other columns."""
        return joined(self._pieces([range(row, row + 1) for row in rows]))

    def _pieces(self, spans: Sequence[range]) -> Iterator[Chunk]:
        first = 0
        for source in self.sources:
            inside = [
                range(span.start - first, span.stop - first)
                for span in spans
                if first <= span.start < first + source.rows
            ]
            if inside:
                yield from source.chunks(inside, self.column, pa.schema([]))
            first += source.rows

    def _pairs(self, parts: Sequence[int]) -> Iterator[tuple[int, Chunk]]:
        spans = [(part, self.rows_of(part)) for part in parts]
        first = 0  # row of the source at hand
        for source in self.sources:
            inside = [
                (part, range(max(span.start, first) - first, min(span.stop - first, source.rows)))
                for part, span in spans
                if span.start < first + source.rows and span.stop > first
            ]
            if inside:
                pending = iter(inside)
                part, span = next(pending)
                left = len(span)
                for chunk in source.chunks([s for _, s in inside], self.column, self.schema):
                    if not left:
                        part, span = next(pending)
                        left = len(span)
                    left -= len(chunk)
                    yield part, chunk
            first += source.rows


def look_at(source: Input, column: str) -> Source:
    """Counts the rows of an input and finds its columns.

    Raises:
        InputError: it cannot be read.
    """
    if source.kind in ("parquet", "arrow"):
        return ColumnarSource(source)
    return WrittenSource(source, column)


def make_plan(
    sources: Sequence[Source],
    *,
    column: Column,
    into: str,
    keep: Sequence[str] | None = None,
    rows_per_part: int = ROWS,
) -> Plan:
    """Checks that the inputs fit each other.

    Args:
        sources: the inputs.
        column: which one is embedded.
        into: the name of the column of vectors.
        keep: names of the columns to write beside the vectors; None for all but the bytes of
            images.
        rows_per_part: of all parts but the last.

    Raises:
        InputError: an input lacks a column, or two have it with different types.
        OptionError: a column that is kept is called as one that is written.
    """
    columns: dict[str, pa.DataType] = {}
    bulky = {column.name} if any(_is_bulky(source, column) for source in sources) else set[str]()
    for source in sources:
        held = source.columns
        kind = held.get(column.name)
        if kind is None and source.rows:
            raise _lacks(source, column.name, column.option)
        columnar = isinstance(source, ColumnarSource)
        if kind is not None and columnar and not column.fits(kind):
            raise InputError(
                f'{source.input.name}: column "{column.name}" holds {kind}, not {column.holds}; '
                f"name another with {column.option}"
            )
        for name in [one for one in held if one not in bulky] if keep is None else keep:
            if name in held:
                columns[name] = _type(source, name, columns)
            elif isinstance(source, ColumnarSource):
                raise _lacks(source, name, "--keep")
    for name in keep or ():
        if name not in columns:
            raise _lacks(sources[0], name, "--keep")
    for name in (into, ERROR):
        if name in columns:
            raise OptionError(
                f'the inputs have a column "{name}", which is what a column of the output is '
                f"called; choose the columns to write with --keep"
                + (", or name the vectors with --into" if name == into else "")
            )
    if keep is None:
        for source in sources:
            missing = [name for name in columns if name not in source.columns]
            if missing and isinstance(source, ColumnarSource):
                raise _lacks(source, missing[0], "--keep")
    for name, type_ in columns.items():
        if reason := _why_not_written(type_):
            raise InputError(
                f'the column "{name}" holds {type_}, which Parquet does not take ({reason}); '
                "leave it out with --keep"
            )
    kinds = [
        (name, pa.string() if pa.types.is_null(kind) else kind) for name, kind in columns.items()
    ]
    return Plan(tuple(sources), column, pa.schema(kinds), rows_per_part)


def _is_bulky(source: Source, column: Column) -> bool:
    """Whether the column that is embedded is not to be written once more."""
    kind = source.columns.get(column.name)
    return isinstance(source, ColumnarSource) and kind is not None and column.is_bulky(kind)


def _type(source: Source, name: str, columns: dict[str, pa.DataType]) -> pa.DataType:
    """The type of a column, with what the inputs before have for it."""
    found = source.columns[name]
    before = columns.get(name, found)
    if found == before or pa.types.is_null(before):
        return found
    if pa.types.is_null(found):  # all its values are null, and pandas knows no more of it
        return before
    if isinstance(source, ColumnarSource):
        raise InputError(
            f'{source.input.name}: column "{name}" holds {found}, and {before} in the inputs '
            "before; give inputs of one schema, or leave the column out with --keep"
        )
    return wider(before, found)


def _why_not_written(kind: pa.DataType) -> str | None:
    try:
        pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([("", kind)])).close()
    except pa.ArrowException as error:
        return one_line(error)
    return None


def _lacks(source: Source, name: str, option: str) -> InputError:
    held = ", ".join(list(source.columns)[:_SHOWN]) or "none"
    return InputError(
        f'{source.input.name} has no column "{name}"; it has {held} ({option} names another)'
    )
