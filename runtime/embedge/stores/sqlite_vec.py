"""Two tables of an SQLite file: NAME with ids and columns, NAME_vectors with the vectors.

The second is a virtual table of the extension sqlite-vec, whose `rowid` is that of the first:

    SELECT text, distance FROM NAME_vectors JOIN NAME ON NAME.rowid = NAME_vectors.rowid
    WHERE embedding MATCH ? AND k = 10 ORDER BY distance

apsw is SQLite with its extensions switched on, which Python's own module often lacks.
"""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedge.errors import OptionError
from embedge.files.whole import find_obstacle
from embedge.integrations.libraries import needs
from embedge.stores.layout import Layout, flat, refuse_kind
from embedge.stores.rows import Rows
from embedge.stores.target import Target

_TYPES = {"float32": "float", "int8": "int8", "ubinary": "bit"}
_WRAPS = {"float32": "?", "int8": "vec_int8(?)", "ubinary": "vec_bit(?)"}
_PATIENCE = 10_000  # milliseconds that another writer is waited for
_SHAPE = re.compile(r"embedding (\w+\[\d+\])")


class SqliteVecStore:
    """See `Store`."""

    def __init__(self, target: Target, layout: Layout) -> None:
        refuse_kind("sqlite-vec", layout, tuple(_TYPES), "it has floats, int8 and bits")
        both = "apsw sqlite-vec"
        with needs("apsw", package="apsw", install=both):
            import apsw
        with needs("sqlite_vec", package="sqlite-vec", install=both):
            import sqlite_vec
        if obstacle := find_obstacle(target.place):
            raise OptionError(f"--to sqlite-vec:{target.place} {obstacle}")
        self._target = target
        self._layout = layout
        self._table, self._vectors = _quoted(target.table), _quoted(f"{target.table}_vectors")
        self._new = not Path(target.place).exists()
        self._database: Any = apsw.Connection(target.place)
        self._database.setbusytimeout(_PATIENCE)
        self._database.enable_load_extension(True)
        sqlite_vec.load(self._database)
        self._database.enable_load_extension(False)

    def find(self) -> bool:
        """Whether the tables are there; see `Store`."""
        if self._new:  # a look would make an empty file
            return False
        names = (self._target.table, f"{self._target.table}_vectors")
        found = dict(
            self._database.execute(
                "SELECT name, sql FROM sqlite_master WHERE name IN (?, ?)", names
            )
        )
        if not found:
            return False
        ours = dict(zip(names, self._statements(), strict=True))
        if found == ours:
            return True
        shapes = [_SHAPE.search(one.get(names[1]) or "") for one in (found, ours)]
        held, wanted = [shape.group(1) if shape else "others" for shape in shapes]
        if held != wanted:
            raise OptionError(
                f"{self._target} holds vectors {held}, and these are {wanted}; name another --table"
            )
        raise OptionError(
            f"{self._target} has other columns than these parts; name another --table"
        )

    def create(self) -> None:
        """Makes the tables."""
        with self._database:
            for statement in self._statements():
                self._database.execute(statement)
        self._new = False

    def count(self) -> int:
        """How many rows they have."""
        ((count,),) = self._database.execute(f"SELECT count(*) FROM {self._table}")
        return int(count)

    def put(self, rows: Rows) -> None:
        """One transaction: all of the rows are in, or none."""
        names = [_quoted(name) for name in rows.table.column_names if name != self._layout.vectors]
        columns = [
            [flat(value) for value in column.to_pylist()]
            for name, column in zip(rows.table.column_names, rows.table.columns, strict=True)
            if name != self._layout.vectors
        ]
        key = _quoted(self._layout.key)
        upsert = (
            f"INSERT INTO {self._table} ({', '.join(names)}) "
            f"VALUES ({', '.join('?' * len(names))}) ON CONFLICT ({key}) DO UPDATE SET "
            f"{', '.join(f'{name} = excluded.{name}' for name in names)} RETURNING rowid"
        )
        with self._database:
            cells = list(zip(*columns, strict=True))
            numbers = [number for (number,) in self._database.executemany(upsert, cells)]
            self._database.executemany(
                f"DELETE FROM {self._vectors} WHERE rowid = ?", [(number,) for number in numbers]
            )
            self._database.executemany(
                f"INSERT INTO {self._vectors} (rowid, embedding) "
                f"VALUES (?, {_WRAPS[self._layout.kind]})",
                [
                    (number, vector.tobytes())
                    for number, vector in zip(numbers, rows.vectors, strict=True)
                ],
            )

    def finish(self) -> None:
        """A search compares all vectors; there is no index to make."""

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def _statements(self) -> tuple[str, str]:
        layout = self._layout
        if pa.types.is_integer(layout.key_type):
            key = f"{_quoted(layout.key)} INTEGER PRIMARY KEY"
        else:  # without a number of its own in the table, VACUUM may give a row another one
            key = f"rowid INTEGER PRIMARY KEY, {_quoted(layout.key)} TEXT NOT NULL UNIQUE"
        others = [
            f"{_quoted(field.name)} {_sql_type(field.type)}"
            for field in layout.columns
            if field.name != layout.key
        ]
        # Bits are compared by Hamming distance, which needs no naming.
        metric = "" if layout.kind == "ubinary" else " distance_metric=cosine"
        return (
            f"CREATE TABLE {self._table} ({', '.join([key, *others])})",
            f"CREATE VIRTUAL TABLE {self._vectors} USING vec0"
            f"(embedding {_TYPES[layout.kind]}[{layout.dimensions}]{metric})",
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sql_type(kind: pa.DataType) -> str:
    types = pa.types
    if types.is_integer(kind) or types.is_boolean(kind):
        return "INTEGER"
    if types.is_floating(kind):
        return "REAL"
    return "BLOB" if types.is_binary(kind) or types.is_large_binary(kind) else "TEXT"
