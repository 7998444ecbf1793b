"""Batches of rows as other engines give them, behind one protocol: a column out, columns in.

Knows dicts of arrays or lists, pandas and Polars frames, Arrow tables and record batches. What
comes in goes out: the same kind, with all its rows and other columns, and new columns after them. A
batch is recognized by its type. None of these libraries is imported for that: where a batch of
theirs comes in, they are loaded already. Knows no model.
"""

import copy
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedge.bulk.vectors_column import vectors_column
from embedge.errors import InputError
from embedge.options import shown

KINDS = "a dict of lists or arrays, a pandas or Polars DataFrame, or an Arrow Table or RecordBatch"


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of a batch.

    Attributes:
        rows: (n, width), float32, int8 or uint8.
        missing: (n,), which rows have none.
    """

    rows: NDArray[Any]
    missing: NDArray[np.bool_]


Column = Vectors | Sequence[str | None]


class Frame(Protocol):
    """A batch of rows with named columns."""

    def names(self) -> list[Any]:
        """The names of its columns."""
        ...

    def values(self, name: str) -> list[Any]:
        """A column as Python objects; None where it has no value."""
        ...

    def with_columns(self, columns: Mapping[str, Column]) -> Any:
        """The batch with these columns too, in place of any of the same name."""
        ...


def frame_of(batch: object) -> Frame:
    """A batch behind the protocol.

    Raises:
        InputError: it is none of the kinds that are known.
    """
    if isinstance(batch, Mapping):
        return _DictFrame(batch)
    if _is(batch, "pandas", "DataFrame"):
        return _PandasFrame(batch)
    if _is(batch, "polars", "DataFrame"):
        return _PolarsFrame(batch)
    if _is(batch, "pyarrow", "Table") or _is(batch, "pyarrow", "RecordBatch"):
        return _ArrowFrame(batch)
    raise InputError(f"a batch is {shown(type(batch))}; it must be {KINDS}")


def values_of(frame: Frame, name: str) -> list[Any]:
    """A column as Python objects.

    Raises:
        InputError: the batch has no such column, or several.
    """
    names = frame.names()
    if (count := names.count(name)) == 1:
        return frame.values(name)
    if count:
        raise InputError(f"the batch has {count} columns named {name!r}; rename them")
    held = ", ".join(repr(one) for one in names) or "none"
    raise InputError(f"the batch has no column {name!r}; it has {held}. Name one with column=")


class _DictFrame:
    """A dict: the vectors are an array where the column that was read is one, and a list else."""

    def __init__(self, batch: Mapping[str, Any]) -> None:
        self._batch = batch
        self._of_arrays = False  # until a column is read

    def names(self) -> list[Any]:
        return list(self._batch)

    def values(self, name: str) -> list[Any]:
        values = self._batch[name]
        if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
            raise InputError(
                f"the column {name!r} is {type(values).__name__}, not a list or an array: pass "
                "batches of rows (datasets: batched=True; Ray Data: map_batches)"
            )
        self._of_arrays = isinstance(values, np.ndarray)
        if self._of_arrays and values.ndim == 1:
            return list(values.tolist())  # str, not numpy.str_
        return list(values)

    def with_columns(self, columns: Mapping[str, Column]) -> Any:
        # A shallow copy, and not a dict of all: `datasets` decodes a column when it is looked at.
        mutable = isinstance(self._batch, MutableMapping)
        result: Any = copy.copy(self._batch) if mutable else dict(self._batch)
        for name, column in columns.items():
            if isinstance(column, Vectors):
                result[name] = column.rows if self._of_arrays else _listed(column)
            else:
                result[name] = np.array(column, object) if self._of_arrays else list(column)
        return result


class _PandasFrame:
    """A pandas frame: each vector is an array (width,) in a column of objects."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def names(self) -> list[Any]:
        return list(self._frame.columns)

    def values(self, name: str) -> list[Any]:
        series = self._frame[name]
        # A missing text is NaN, NA or NaT there.
        return [
            None if missing else value
            for value, missing in zip(series.tolist(), series.isna().tolist(), strict=True)
        ]

    def with_columns(self, columns: Mapping[str, Column]) -> Any:
        import pandas as pd

        added = {}
        for name, column in columns.items():
            values = _listed(column) if isinstance(column, Vectors) else list(column)
            cells = np.empty(len(values), object)
            for index, value in enumerate(values):  # at once, NumPy would make rows a matrix
                cells[index] = value
            added[name] = pd.Series(cells, index=self._frame.index, dtype=object)
        return self._frame.assign(**added)


class _PolarsFrame:
    """A Polars frame: the vectors are of type Array."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def names(self) -> list[Any]:
        return list(self._frame.columns)

    def values(self, name: str) -> list[Any]:
        return list(self._frame.get_column(name).to_list())

    def with_columns(self, columns: Mapping[str, Column]) -> Any:
        import polars as pl

        added: list[Any] = []
        for name, column in columns.items():
            if not isinstance(column, Vectors):
                added.append(pl.Series(name, list(column), dtype=pl.String))
                continue
            vectors = pl.Series(name, np.ascontiguousarray(column.rows))
            if column.missing.any():
                held = pl.Series(~column.missing)
                added.append(pl.when(held).then(vectors).otherwise(None).alias(name))
            else:
                added.append(vectors)
        return self._frame.with_columns(added)


class _ArrowFrame:
    """An Arrow table or record batch: the vectors are lists of fixed size."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def names(self) -> list[Any]:
        return list(self._table.schema.names)

    def values(self, name: str) -> list[Any]:
        column = self._table.column(name)
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:  # nothing has checked what a file calls UTF-8
            import pyarrow as pa

            return [_text_or_bytes(value) for value in column.cast(pa.large_binary()).to_pylist()]

    def with_columns(self, columns: Mapping[str, Column]) -> Any:
        import pyarrow as pa

        result = self._table
        for name, column in columns.items():
            if isinstance(column, Vectors):
                values = vectors_column(column.rows, column.missing)
            else:
                values = pa.array(column, pa.string())
            field = pa.field(name, values.type)
            if name in result.schema.names:
                result = result.set_column(result.schema.names.index(name), field, values)
            else:
                result = result.append_column(field, values)
        return result


def _is(batch: object, library: str, name: str) -> bool:
    module = sys.modules.get(library)
    kind = getattr(module, name, None)
    return isinstance(kind, type) and isinstance(batch, kind)


def _listed(vectors: Vectors) -> list[Any]:
    """The vectors as a list of arrays (width,), None where there is none."""
    pairs = zip(vectors.rows, vectors.missing.tolist(), strict=True)
    return [None if missing else row for row, missing in pairs]


def _text_or_bytes(value: bytes | None) -> str | bytes | None:
    """What is not UTF-8 stays bytes, which are refused as such."""
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return value
