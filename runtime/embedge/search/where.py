"""Which files and records of an index are wanted, as SQL for the rows of `files`.

Takes paths and metadata, gives a condition and the values of its question marks. Opens nothing.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from embedge.search import records

Kind = Literal["text", "image"]
BELOW = "(files.path = ? OR (files.path >= ? AND files.path < ?))"


@dataclass(frozen=True, slots=True)
class Where:
    """Some of the files and records: SQL for it, and the values of its question marks.

    Attributes:
        sql: for a query that lists them.
        check: the same, for a query that has files and asks which of them are among these.
        values: of either.
        new: whether only an index of the newest format can have any.
    """

    sql: str = "1"
    check: str = "1"
    values: tuple[bytes, ...] = ()
    new: bool = False

    @classmethod
    def files(cls) -> "Where":
        """All files, no records."""
        return cls._of(f"NOT {records.IS_RECORD}")

    @classmethod
    def below(cls, root: Path) -> "Where":
        """The files at or below a path."""
        return cls._of(BELOW, path_range(root))

    @classmethod
    def having(cls, fields: object) -> "Where":
        """The records with some metadata.

        Raises:
            OptionError: it is not a mapping of names to values.
        """
        return cls(records.condition(fields), records.condition(fields, check=True), new=True)

    @classmethod
    def either(cls, parts: Sequence["Where"]) -> "Where":
        """Those of any of the parts, of which there is one at least."""
        if len(parts) == 1:
            return parts[0]
        sql = " OR ".join(f"({part.sql})" for part in parts)
        check = " OR ".join(f"({part.check})" for part in parts)
        values = tuple(value for part in parts for value in part.values)
        return cls(f"({sql})", f"({check})", values, any(part.new for part in parts))

    def and_kind(self, kind: Kind) -> "Where":
        """Those of one kind."""
        return self._and(f"files.kind = '{kind}'")

    def among(self, files: Iterable[int]) -> "Where":
        """Those with these ids."""
        return self._and(f"files.id IN ({', '.join(map(str, files))})")

    @property
    def chooses(self) -> bool:
        """Whether these are not all files and records."""
        return self.sql != "1"

    @classmethod
    def _of(cls, sql: str, values: tuple[bytes, ...] = ()) -> "Where":
        return cls(sql, sql, values)

    def _and(self, sql: str) -> "Where":
        return replace(self, sql=f"{self.sql} AND {sql}", check=f"{self.check} AND {sql}")


def path_range(root: Path) -> tuple[bytes, bytes, bytes]:
    """The root's own path, and the bounds of the paths below it."""
    path = os.fsencode(root)
    separator = os.fsencode(os.sep)
    below = path if path.endswith(separator) else path + separator  # "/" ends with it
    return path, below, below[:-1] + bytes([below[-1] + 1])
