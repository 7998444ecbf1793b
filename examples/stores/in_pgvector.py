"""Vectors for PostgreSQL with pgvector, as text: no driver and no server are needed to write them.

    python examples/stores/in_pgvector.py > notes.sql
    psql -f notes.sql

Writes a table with a column of each type, its rows for COPY, and an index; `search_sql` gives the
statement of a search. pgvector has no int8: `halfvec` takes 2 bytes a number, and `bit` one bit.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge import Embedder

CANDIDATES = 10  # times as many as are asked for, before they are compared again in float32
COPY = "COPY notes (text, topic, float32, float16, bits) FROM stdin;"
KINDS = ("float32", "float16", "bits", "bits, rescored")
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}  # of COPY's text format

Row = tuple[str, str, NDArray[np.float32]]  # text, topic, vector


def table_sql(dimension: int) -> str:
    """The statements that make the table, and an index for searches by bits."""
    return f"""CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text NOT NULL,
    topic text NOT NULL,
    float32 vector({dimension}) NOT NULL,
    float16 halfvec({dimension}) NOT NULL,
    bits bit({dimension}) NOT NULL
);
CREATE INDEX ON notes USING hnsw (bits bit_hamming_ops);"""


def search_sql(kind: str) -> str:
    """A statement whose parameters are those of `search_values`, as psycopg takes them.

    `<#>` is the negative dot product, of vectors of length 1 the cosine; `<~>` counts the bits that
    differ. An HNSW index gives `hnsw.ef_search` rows at most, 40 unless set: SET it to `many`.
    """
    order = {
        "float32": "float32 <#> %(float32)s::vector",
        "float16": "float16 <#> %(float32)s::halfvec",
        "bits": "bits <~> %(bits)s::varbit",
    }
    of_topic = "FROM notes WHERE %(topic)s::text IS NULL OR topic = %(topic)s"
    if kind == "bits, rescored":
        near = f"SELECT text, float32 {of_topic} ORDER BY {order['bits']} LIMIT %(many)s"
        return f"SELECT text FROM ({near}) near ORDER BY {order['float32']} LIMIT %(top_k)s"
    return f"SELECT text {of_topic} ORDER BY {order[kind]} LIMIT %(top_k)s"


def search_values(
    embedder: Embedder, query: str, *, topic: str | None = None, top_k: int = 3
) -> dict[str, Any]:
    """The parameters of `search_sql`; of all topics where none is named."""
    vector = embedder.encode_query(query)  # float32 (d,)
    return {
        "float32": floats(vector),
        "bits": bits(vector),
        "topic": topic,
        "top_k": top_k,
        "many": top_k * CANDIDATES,
    }


def floats(vector: NDArray[np.float32]) -> str:
    """The literal of vector and halfvec: each number in the fewest digits that give it back."""
    return "[" + ",".join(str(number) for number in vector) + "]"


def bits(vector: NDArray[np.float32]) -> str:
    """The literal of bit(d): 1 where a number is above 0, as `embedding_type="ubinary"` has it."""
    return "".join("1" if number > 0 else "0" for number in vector)


def copy_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Lines of COPY's text format."""
    for text, topic, vector in rows:
        fields = (escaped(text), escaped(topic), floats(vector), floats(vector), bits(vector))
        yield "\t".join(fields)


def read_line(line: str) -> Row:
    """A line of `copy_lines`, read back: what a script does with PostgreSQL's own COPY … TO."""
    text, topic, numbers, _, _ = line.split("\t")
    vector = np.array(numbers[1:-1].split(","), np.float32)
    return unescaped(text), unescaped(topic), vector


def escaped(text: str) -> str:
    """A text as a field of COPY. PostgreSQL keeps no zero byte."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def unescaped(field: str) -> str:
    """What `escaped` was given."""
    plain = {held: character for character, held in _ESCAPES.items()}
    pieces = iter(field)
    return "".join(
        plain[character + next(pieces)] if character == "\\" else character for character in pieces
    )


def dump(embedder: Embedder, texts: Sequence[str], *, topic: str) -> Iterator[str]:
    """The lines for texts of one topic."""
    vectors = embedder.encode_document(texts)  # float32 (n, d), rows of length 1
    yield from copy_lines((text, topic, v) for text, v in zip(texts, vectors, strict=True))


def main() -> None:
    """Prints a script for psql."""
    with Embedder() as embedder:
        print(table_sql(embedder.dimension))
        print(COPY)
        for line in dump(embedder, ["The spare key is under the third flower pot."], topic="house"):
            print(line)
        for line in dump(embedder, ["Water the tomatoes every second evening."], topic="garden"):
            print(line)
        print("\\.")


if __name__ == "__main__":
    main()
