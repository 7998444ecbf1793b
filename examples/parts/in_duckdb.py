"""The parts of `embedge bulk`, searched by DuckDB where they stand.

    embedge bulk notes.jsonl --task retrieval --prompt-name document --out vectors
    python examples/parts/in_duckdb.py vectors "where is the spare key?"

DuckDB reads the vectors as lists; a cast makes them arrays, whose functions are fast.
"""

import sys
from pathlib import Path
from typing import Any

import duckdb

from embedge import Embedder

SEARCH = """
    SELECT text, array_inner_product(embedding::FLOAT[{width}], $query::FLOAT[{width}]) AS score
    FROM read_parquet($files)
    WHERE error IS NULL
    ORDER BY score DESC
    LIMIT $top_k
"""


def search(folder: Path, embedder: Embedder, query: str, *, top_k: int = 3) -> list[Any]:
    """The nearest rows, each with its score: the cosine, for the vectors have length 1."""
    vector = embedder.encode_query(query)  # float32 (d,)
    values = {"query": vector.tolist(), "files": str(folder / "parts/*.parquet"), "top_k": top_k}
    return list(duckdb.execute(SEARCH.format(width=len(vector)), values).fetchall())


def main() -> None:
    """Prints what is nearest to a query."""
    folder, query = sys.argv[1:]
    with Embedder() as embedder:
        for text, score in search(Path(folder), embedder, query):
            print(f"{score:.3f}  {text}")


if __name__ == "__main__":
    main()
