"""A table of Lance, by LanceDB: a folder NAME.lance below the place, which Lance itself reads too.

The columns are those of the parts. A search compares all rows until the table has an index.
"""

from typing import Any

import pyarrow as pa

from embedge.errors import OptionError
from embedge.integrations.libraries import needs
from embedge.stores.layout import Layout, refuse_kind
from embedge.stores.rows import Rows
from embedge.stores.target import Target


class LanceStore:
    """See `Store`."""

    def __init__(self, target: Target, layout: Layout) -> None:
        why = "LanceDB searches floats, and bits in bytes"
        refuse_kind("lance", layout, ("float32", "ubinary"), why)
        with needs("lancedb", package="lancedb"):
            import lancedb
        self._target = target
        vectors = pa.list_(pa.float32() if layout.kind == "float32" else pa.uint8(), layout.width)
        fields = [*layout.columns, pa.field(layout.vectors, vectors)]
        if layout.numbered:
            fields.insert(0, pa.field(layout.key, layout.key_type))
        self._schema = pa.schema(fields)
        self._key = layout.key
        self._vectors = layout.vectors
        self._database = lancedb.connect(target.place)
        self._table: Any = None

    def find(self) -> bool:
        """Whether the table is there; see `Store`."""
        if self._target.table not in self._names():
            return False
        self._table = self._database.open_table(self._target.table)
        self._check(self._table.schema)
        return True

    def create(self) -> None:
        """Makes the table."""
        self._table = self._database.create_table(self._target.table, schema=self._schema)

    def count(self) -> int:
        """How many rows it has."""
        return int(self._table.count_rows())

    def put(self, rows: Rows) -> None:
        """One version of the table: all of the rows are in it, or none."""
        merge = self._table.merge_insert(self._key)
        merge.when_matched_update_all().when_not_matched_insert_all().execute(
            rows.table.cast(self._schema)
        )

    def finish(self) -> None:
        """Joins the fragments, one for each part, to larger ones."""
        self._table.optimize()

    def close(self) -> None:
        """Nothing is held open."""

    def _names(self) -> list[str]:
        names: list[str] = []
        page = None
        while True:
            answer = self._database.list_tables(page_token=page)
            names += answer.tables
            page = answer.page_token
            if not page:
                return names

    def _check(self, found: pa.Schema) -> None:
        if self._vectors in found.names:
            held, ours = found.field(self._vectors).type, self._schema.field(self._vectors).type
            if _shape(held) != _shape(ours):
                raise OptionError(
                    f'{self._target} holds {held} in "{self._vectors}", and these vectors are '
                    f"{ours}; name another --table"
                )
        others = {field.name: field.type for field in found if field.name != self._vectors}
        ours = {field.name: field.type for field in self._schema if field.name != self._vectors}
        if self._vectors not in found.names or others != ours:
            names = ", ".join(str(name) for name in found.names)
            raise OptionError(
                f"{self._target} has other columns than these parts: {names}; name another --table"
            )


def _shape(kind: pa.DataType) -> Any:
    """Type and width of a column of vectors, whether its numbers may be null or not."""
    if not pa.types.is_fixed_size_list(kind):
        return kind
    return kind.value_type, kind.list_size
