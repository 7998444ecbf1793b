"""Which files and records of an index are wanted, as SQL for the rows of `files`.

Takes paths and metadata, gives a condition and the values of its question marks. Opens nothing.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedge.search import records

Kind = Literal["text", "image"]
BELOW = "(files.path = ? OR (files.path >= ? AND files.path < ?))"


@dataclass(frozen=True, slots=True)
class Where:
    """Some of the files and records: SQL for it, and the values of its question marks."""

    sql: str = "1"
    values: tuple[bytes, ...] = ()
    new: bool = False  # whether only an index of the newest format can have any

    @classmethod
    def files(cls) -> "Where":
        """All files, no records."""
        return cls(f"NOT {records.IS_RECORD}")

    @classmethod
    def below(cls, root: Path) -> "Where":
        """The files at or below a path."""
        return cls(BELOW, path_range(root))

    @classmethod
    def having(cls, fields: object) -> "Where":
        """The records with some metadata.

        Raises:
            OptionError: it is not a mapping of names to values.
        """
        return cls(records.condition(fields), new=True)

    @classmethod
    def either(cls, parts: Sequence["Where"]) -> "Where":
        """Those of any of the parts, of which there is one at least."""
        sql = " OR ".join(f"({part.sql})" for part in parts)
        values = tuple(value for part in parts for value in part.values)
        return cls(f"({sql})", values, any(part.new for part in parts))

    def and_kind(self, kind: Kind) -> "Where":
        """Those of one kind."""
        return Where(f"{self.sql} AND files.kind = '{kind}'", self.values, self.new)

    def among(self, files: Iterable[int]) -> "Where":
        """Those with these ids."""
        ids = ", ".join(map(str, files))
        return Where(f"{self.sql} AND files.id IN ({ids})", self.values, self.new)


def path_range(root: Path) -> tuple[bytes, bytes, bytes]:
    """The root's own path, and the bounds of the paths below it."""
    path = os.fsencode(root)
    separator = os.fsencode(os.sep)
    below = path if path.endswith(separator) else path + separator  # "/" ends with it
    return path, below, below[:-1] + bytes([below[-1] + 1])
