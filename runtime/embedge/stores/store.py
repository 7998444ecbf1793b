"""What a store is to those who load into it."""

from typing import Protocol

from embedge.stores.rows import Rows


class Store(Protocol):
    """One table of a store, open."""

    def find(self) -> bool:
        """Whether the table is there.

        Raises:
            OptionError: it is, and holds other vectors or other columns.
        """

    def create(self) -> None:
        """Makes the table, which is not there."""

    def count(self) -> int:
        """How many rows it has."""

    def put(self, rows: Rows) -> None:
        """Adds rows, and replaces those with the same ids; the store has them when it returns."""

    def finish(self) -> None:
        """All rows are in."""

    def close(self) -> None:
        """Nothing more comes."""
