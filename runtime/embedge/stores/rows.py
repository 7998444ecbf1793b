"""The rows of a part on their way into a store: ids, columns and vectors, in pieces.

Rows without a vector are left out. Takes a part's file; a piece is one of its row groups, at most
8,192 rows, so that memory stays bounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc
from pyarrow import parquet as pq

from embedge.errors import InputError
from embedge.stores.layout import Layout


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with a vector.

    Attributes:
        table: the key, the other columns, then the vectors, which have no null.
        layout: of them.
    """

    table: pa.Table
    layout: Layout

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def ids(self) -> list[Any]:
        """Whole numbers or strings, none twice."""
        return list(self.table[self.layout.key].to_pylist())

    @property
    def vectors(self) -> NDArray[Any]:
        """Float32, int8 or uint8 (n, width)."""
        flat = self.table[self.layout.vectors].combine_chunks().flatten()
        return np.asarray(flat.to_numpy()).reshape(-1, self.layout.width)

    def records(self) -> list[dict[str, Any]]:
        """The other columns, a dict for each row; the key among them, but for row numbers."""
        return list(self.table.select(self.layout.columns.names).to_pylist())


def read_rows(path: Path, first: int, layout: Layout) -> Iterator[Rows]:
    """The rows of a part.

    Args:
        path: its file.
        first: the number of its first row in all inputs.
        layout: of the table.

    Raises:
        InputError: an id is null, stands twice in a piece, or does not fit into 64 bits.
    """
    with pq.ParquetFile(path) as file:
        names = [*layout.columns.names, layout.vectors]
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=names)
            if layout.numbered:
                numbers = pa.array(range(first, first + table.num_rows), pa.int64())
                table = table.add_column(0, layout.key, numbers)
            first += table.num_rows
            table = table.filter(table[layout.vectors].is_valid())
            if table.num_rows:
                yield Rows(table if layout.numbered else _checked(table, layout, path), layout)


def _checked(table: pa.Table, layout: Layout, path: Path) -> pa.Table:
    """With the key as int64 or string, each once."""
    ids = table[layout.key]
    if ids.null_count:
        raise InputError(
            f'{path.name}: "{layout.key}" is null in {ids.null_count:,} rows, so they have no id; '
            "name another --id-column"
        )
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise InputError(
            f'{path.name}: "{layout.key}" is {twice.field("values")[0].as_py()!r} in more than '
            "one row, and each row needs an id of its own; name another --id-column"
        )
    try:
        keys = ids.cast(layout.key_type)
    except pa.ArrowInvalid:
        raise InputError(
            f'{path.name}: "{layout.key}" holds numbers above 2^63; ids are smaller'
        ) from None
    place = table.column_names.index(layout.key)
    return table.set_column(place, layout.key, keys)
