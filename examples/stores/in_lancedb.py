"""Vectors in LanceDB: float32, half precision, and bits by Hamming distance.

    pip install "embedge[cpu]" lancedb
    python examples/stores/in_lancedb.py

LanceDB has no int8 vectors: its column of uint8 holds packed bits. A search by bits fetches more
rows than are asked for, and compares them again in float32.
"""

import tempfile
from collections.abc import Sequence
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedge import Embedder, quantize

CANDIDATES = 10  # times as many as are asked for, before they are compared again in float32


class Notes:
    """Texts in a LanceDB table, each with a topic."""

    kinds = ("float32", "float16", "bits", "bits, rescored")

    def __init__(self, folder: str, embedder: Embedder) -> None:
        self._embedder = embedder
        size = embedder.dimension
        columns = {
            "text": pa.string(),
            "topic": pa.string(),
            "float32": pa.list_(pa.float32(), size),
            "float16": pa.list_(pa.float16(), size),
            "bits": pa.list_(pa.uint8(), -(-size // 8)),
        }
        self._schema = pa.schema(columns)
        self._table = lancedb.connect(folder).create_table("notes", schema=self._schema)

    def add(self, texts: Sequence[str], *, topic: str) -> None:
        """Embeds texts and keeps them; all are kept, or none."""
        vectors = self._embedder.encode_document(texts)  # float32 (n, d), rows of length 1
        columns = [
            pa.array(texts, pa.string()),
            pa.array([topic] * len(texts), pa.string()),
            _lists(vectors),
            _lists(vectors.astype(np.float16)),
            _lists(quantize(vectors, "ubinary")),  # uint8 (n, d / 8)
        ]
        self._table.add(pa.table(columns, schema=self._schema))

    def search(
        self, query: str, *, kind: str = "float32", topic: str | None = None, top_k: int = 3
    ) -> list[str]:
        """The best texts, the best first; of one topic if it is named."""
        vector = self._embedder.encode_query(query)  # float32 (d,)
        column, _, rescored = kind.partition(", ")
        asked = {
            "float32": vector,
            "float16": vector.astype(np.float16),
            "bits": quantize(vector, "ubinary"),
        }[column]
        # Of vectors of length 1 the dot product is the cosine.
        metric = "hamming" if column == "bits" else "dot"
        search = self._table.search(asked, vector_column_name=column).distance_type(metric)
        if topic is not None:
            search = search.where(f"topic = '{topic.replace(chr(39), chr(39) * 2)}'")
        rows = search.limit(top_k * CANDIDATES if rescored else top_k).to_list()
        if rescored:
            rows.sort(key=lambda row: -float(np.asarray(row["float32"], np.float32) @ vector))
        return [str(row["text"]) for row in rows[:top_k]]


def _lists(rows: NDArray[Any]) -> pa.FixedSizeListArray:
    """An array (n, d) as a column of lists of d."""
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def main() -> None:
    """Fills a table in a temporary folder and asks it one question in every way."""
    with Embedder() as embedder, tempfile.TemporaryDirectory() as folder:
        notes = Notes(folder, embedder)
        notes.add(["The spare key is under the third flower pot."], topic="house")
        notes.add(["Water the tomatoes every second evening."], topic="garden")
        for kind in notes.kinds:
            print(f"{kind}: {notes.search('Where is the key to the house?', kind=kind)[0]}")


if __name__ == "__main__":
    main()
