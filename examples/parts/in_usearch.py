"""The parts of `embedge bulk` as an index of USearch, a part in memory at a time.

    embedge bulk notes.jsonl --task retrieval --prompt-name document --out vectors
    python examples/parts/in_usearch.py vectors "where is the spare key?"

A row's key in the index is its number in the whole, so that its other columns are found again; rows
without a vector are left out. The index is approximate (HNSW); `exact=True` in a search is not.
`index.save("notes.usearch")` writes it, and `Index.restore("notes.usearch", view=True)` searches
the file where it stands.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import parquet as pq
from usearch.index import Index

from embedge import Embedder


def parts(folder: Path) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The numbers of the rows with a vector, and the vectors (n, d), a part at a time."""
    first = 0
    for path in sorted((folder / "parts").glob("*.parquet")):
        column = pq.read_table(path, columns=["embedding"])["embedding"].combine_chunks()
        held = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        rows = column.drop_null().flatten().to_numpy().reshape(-1, column.type.list_size)
        yield held + first, rows
        first += len(column)


def build(folder: Path, dimension: int) -> Index:
    """An index of all of them, by cosine; `dtype="i8"` or `"b1"` holds smaller vectors."""
    index = Index(ndim=dimension, metric="cos", dtype="f32")
    for numbers, rows in parts(folder):
        index.add(numbers, rows)
    return index


def text_of(folder: Path, row: int) -> str:
    """The text of a row: its part follows from its number, for all parts but the last are full."""
    paths = sorted((folder / "parts").glob("*.parquet"))
    per_part = pq.read_metadata(paths[0]).num_rows
    table = pq.read_table(paths[row // per_part], columns=["text"])
    return str(table["text"][row % per_part])


def main() -> None:
    """Prints what is nearest to a query."""
    folder, query = Path(sys.argv[1]), sys.argv[2]
    with Embedder() as embedder:
        index = build(folder, embedder.dimension)
        found = index.search(embedder.encode_query(query), 3)
    for match in found:
        print(f"{1 - match.distance:.3f}  {text_of(folder, int(match.key))}")


if __name__ == "__main__":
    main()
