"""Vectors in SQLite by the extension sqlite-vec: float32, int8 and bits in one table.

    pip install "embedge[cpu]" sqlite-vec apsw
    python examples/stores/in_sqlite_vec.py

apsw is SQLite with its extensions switched on, which Python's own module often lacks. The vectors
are compared one by one, so that results are exact but for what the smaller types round.
"""

from collections.abc import Sequence

import apsw
import numpy as np
import sqlite_vec

from embedge import Embedder, quantize

LIMIT = 0.5  # a little more than the largest number of any of the model's vectors
CANDIDATES = 10  # times as many as are asked for, before they are compared again in float32

_TABLE = """
CREATE VIRTUAL TABLE notes USING vec0(
    topic TEXT,
    float32 FLOAT[{d}] DISTANCE_METRIC=cosine,
    int8 INT8[{d}] DISTANCE_METRIC=cosine,
    bits BIT[{d}],
    +body TEXT
)
"""
_INSERT = """
INSERT INTO notes (topic, float32, int8, bits, body) VALUES (?, ?, vec_int8(?), vec_bit(?), ?)
"""
_NEAREST = "SELECT body FROM notes WHERE {match} AND k = :k{topic} ORDER BY distance"
_MATCH = {
    "float32": "float32 MATCH :float32",
    "int8": "int8 MATCH vec_int8(:int8)",
    "bits": "bits MATCH vec_bit(:bits)",
}
# The nearest by bits, compared again in float32.
_RESCORED = f"""
SELECT body FROM (SELECT body, float32 FROM notes WHERE {_MATCH["bits"]} AND k = :k{{topic}})
ORDER BY vec_distance_cosine(float32, :float32) LIMIT :top_k
"""


class Notes:
    """Texts in an SQLite file, each with a topic."""

    kinds = ("float32", "int8", "bits", "bits, rescored")

    def __init__(self, path: str, embedder: Embedder) -> None:
        self._embedder = embedder
        # One range for all dimensions: a range for each would stretch them against each other.
        self._ranges = np.full((2, embedder.dimension), [[-LIMIT], [LIMIT]], np.float32)
        self._database = apsw.Connection(path)
        self._database.enable_load_extension(True)
        sqlite_vec.load(self._database)
        self._database.enable_load_extension(False)
        self._database.execute(_TABLE.format(d=embedder.dimension))

    def add(self, texts: Sequence[str], *, topic: str) -> None:
        """Embeds texts and keeps them; all are kept, or none."""
        vectors = self._embedder.encode_document(texts)  # float32 (n, d), rows of length 1
        small = quantize(vectors, "int8", ranges=self._ranges)  # int8 (n, d)
        bits = quantize(vectors, "ubinary")  # uint8 (n, d / 8)
        with self._database:
            for row, text in enumerate(texts):
                held = [array[row].tobytes() for array in (vectors, small, bits)]
                self._database.execute(_INSERT, (topic, *held, text))

    def search(
        self, query: str, *, kind: str = "float32", topic: str | None = None, top_k: int = 3
    ) -> list[str]:
        """The best texts, the best first; of one topic if it is named."""
        vector = self._embedder.encode_query(query)  # float32 (d,)
        rescored = kind == "bits, rescored"
        values = {
            "float32": vector.tobytes(),
            "int8": quantize(vector, "int8", ranges=self._ranges).tobytes(),
            "bits": quantize(vector, "ubinary").tobytes(),
            "topic": topic,
            "k": top_k * CANDIDATES if rescored else top_k,
            "top_k": top_k,
        }
        only = "" if topic is None else " AND topic = :topic"
        sql = _RESCORED if rescored else _NEAREST
        match = "" if rescored else _MATCH[kind]
        found = self._database.execute(sql.format(match=match, topic=only), values)
        return [str(body) for (body,) in found]


def main() -> None:
    """Fills a table in memory and asks it one question in every way."""
    with Embedder() as embedder:
        notes = Notes(":memory:", embedder)
        notes.add(["The spare key is under the third flower pot."], topic="house")
        notes.add(["Water the tomatoes every second evening."], topic="garden")
        for kind in notes.kinds:
            print(f"{kind}: {notes.search('Where is the key to the house?', kind=kind)[0]}")


if __name__ == "__main__":
    main()
