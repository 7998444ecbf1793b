"""The parts of `embedge bulk` as an index of FAISS, a part in memory at a time.

    embedge bulk notes.jsonl --task retrieval --prompt-name document --out vectors
    python examples/parts/in_faiss.py vectors "where is the spare key?"

A row's number in the index is its number in the whole, so that its other columns are found again;
rows without a vector are left out. Another index, such as `IndexHNSWFlat`, takes the same arrays.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from pyarrow import parquet as pq

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


def build(folder: Path, dimension: int) -> Any:
    """An index of all of them: exact, by dot product."""
    index = faiss.IndexIDMap(faiss.IndexFlatIP(dimension))
    for numbers, rows in parts(folder):
        index.add_with_ids(rows, numbers)
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
        scores, numbers = index.search(embedder.encode_query([query]), min(3, index.ntotal))
    for score, number in zip(scores[0], numbers[0], strict=True):
        print(f"{score:.3f}  {text_of(folder, number)}")


if __name__ == "__main__":
    main()
