"""What a table holds: the ids, the columns beside the vectors, and the vectors' type and width.

Pure: made from the columns of the parts and the options. Also turns values into what JSON and SQL
take.
"""

import base64
import json
import math
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import pyarrow as pa

from embedge.errors import OptionError

ROW_NUMBER = "row_number"  # the column of ids where the inputs have none


@dataclass(frozen=True, slots=True)
class Layout:
    """A table.

    Attributes:
        key: the column of ids.
        numbered: whether the ids are the numbers of the rows, from 0, in all inputs.
        columns: beside the vectors, as the parts have them; the key too, but for row numbers.
        vectors: the column of vectors.
        kind: float32, int8, uint8, binary or ubinary.
        width: numbers of a vector in the parts: bytes for binary and ubinary.
    """

    key: str
    numbered: bool
    columns: pa.Schema
    vectors: str
    kind: str
    width: int

    @property
    def dimensions(self) -> int:
        """Of a vector: bits for binary and ubinary."""
        return self.width * 8 if self.kind in ("binary", "ubinary") else self.width

    @property
    def key_type(self) -> pa.DataType:
        """int64 or string."""
        if self.numbered:
            return pa.int64()
        return pa.int64() if pa.types.is_integer(self.columns.field(self.key).type) else pa.string()


def make_layout(
    columns: pa.Schema, *, vectors: str, kind: str, width: int, id_column: str | None = None
) -> Layout:
    """The table for parts with these columns.

    Args:
        columns: of the parts, beside the vectors.
        vectors: name of the column of vectors.
        kind: their type, as `--embedding-type` names it.
        width: numbers of a vector in the parts.
        id_column: the column of ids; None for the numbers of the rows.

    Raises:
        OptionError: the parts have no such column, or it holds no ids; or, without one, the name
            of the column of row numbers is taken.
    """
    if id_column is None:
        if ROW_NUMBER in (*columns.names, vectors):
            raise OptionError(
                f'the ids go to a column "{ROW_NUMBER}", which the inputs have too; name it as '
                "--id-column, or leave it out with --keep"
            )
        return Layout(ROW_NUMBER, True, columns, vectors, kind, width)
    if id_column not in columns.names:
        held = ", ".join(columns.names) or "none"
        raise OptionError(
            f'--id-column "{id_column}" is not among the columns that are kept: {held}'
        )
    found = columns.field(id_column).type
    if not any(
        test(found) for test in (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    ):
        raise OptionError(
            f'--id-column "{id_column}" holds {found}; ids are whole numbers or strings'
        )
    return Layout(id_column, False, columns, vectors, kind, width)


def refuse_kind(store: str, layout: Layout, known: tuple[str, ...], why: str) -> None:
    """Refuses vectors of a type that a store does not have.

    Raises:
        OptionError: the type is none of `known`.
    """
    if layout.kind not in known:
        raise OptionError(
            f"{store} takes no {layout.kind} vectors: {why}; write another --out with "
            f"--embedding-type {' or '.join(known)}"
        )


def plain(value: Any) -> Any:
    """A value as JSON has it: dates as ISO text, bytes as base64, what is not finite as None.

    >>> plain({"at": date(2026, 11, 28), "raw": b"ab", "score": float("nan")})
    {'at': '2026-11-28', 'raw': 'YWI=', 'score': None}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)  # Decimal, timedelta, UUID


def flat(value: Any) -> Any:
    """A value as a cell of SQLite: lists and objects as JSON text, bytes as they are.

    >>> flat(["a", "b"]), flat(True)
    ('["a", "b"]', True)
    """
    if isinstance(value, bytes):
        return value
    value = plain(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
