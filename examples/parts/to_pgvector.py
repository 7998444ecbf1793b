"""The parts of `embedge bulk` as lines for PostgreSQL's COPY, into a table of pgvector.

    embedge bulk notes.jsonl --task retrieval --prompt-name document --out vectors
    python examples/parts/to_pgvector.py vectors > notes.sql
    psql -f notes.sql

Needs no driver and no server; a part is in memory at a time. Rows without a vector are left out.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from pyarrow import parquet as pq

COPY = "COPY notes (text, embedding) FROM stdin;"
SEARCH = "SELECT text FROM notes ORDER BY embedding <#> %s::vector LIMIT %s"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def table_sql(dimension: int) -> str:
    """The statements that make the table; make an HNSW index once the rows are in it."""
    return f"""CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE notes (text text NOT NULL, embedding vector({dimension}) NOT NULL);"""


def lines(folder: Path) -> Iterator[str]:
    """Lines of COPY's text format."""
    for path in sorted((folder / "parts").glob("*.parquet")):
        table = pq.read_table(path, columns=["text", "embedding"])
        vectors = table["embedding"].combine_chunks()
        width = vectors.type.list_size
        rows = iter(vectors.drop_null().flatten().to_numpy().reshape(-1, width))
        for text, vector in zip(table["text"].to_pylist(), vectors.is_valid(), strict=True):
            if vector.as_py():
                numbers = ",".join(str(number) for number in next(rows))
                yield f"{text.translate(_ESCAPES)}\t[{numbers}]"


def width_of(folder: Path) -> int:
    """The width of the vectors."""
    path = next((folder / "parts").glob("*.parquet"))
    return int(pq.read_schema(path).field("embedding").type.list_size)


def main() -> None:
    """Prints a script for psql."""
    folder = Path(sys.argv[1])
    print(table_sql(width_of(folder)))
    print(COPY)
    for line in lines(folder):
        print(line)
    print("\\.")


if __name__ == "__main__":
    main()
