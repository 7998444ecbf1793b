"""Vectors in a database of your own: SQLite for the rows, NumPy for the search.

    python examples/own_index.py

`embedge.SearchIndex` keeps folders of files, and an application's records (records.py). Where a
database has the texts, keep the vectors beside them, and the pack's fingerprint with those.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from embedge import Embedder

NOTES = (
    "The passport office opens at nine on weekdays.",
    "Water the tomatoes every second evening.",
    "The spare key is under the third flower pot.",
    "Backups run at two in the morning and take an hour.",
)


class Notes:
    """Texts and their vectors in one SQLite file."""

    def __init__(self, path: str, embedder: Embedder) -> None:
        self._embedder = embedder
        self._database = sqlite3.connect(path)
        self._database.execute("CREATE TABLE IF NOT EXISTS model (fingerprint TEXT)")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS notes (text TEXT PRIMARY KEY, vector BLOB NOT NULL)"
        )
        # Vectors of two models say nothing about each other.
        now = embedder.manifest.fingerprint(embedder.precision)
        row = self._database.execute("SELECT fingerprint FROM model").fetchone()
        if row is None:
            self._database.execute("INSERT INTO model VALUES (?)", (now,))
        elif row[0] != now:
            self._database.close()
            raise ValueError(f"{path} holds vectors of another model; embed its texts again")

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def add(self, texts: Sequence[str]) -> None:
        """Embeds texts and keeps them; all are kept, or none."""
        vectors = self._embedder.encode_document(texts)  # float32 (n, d), rows of length 1
        rows = [(text, v.astype("<f4").tobytes()) for text, v in zip(texts, vectors, strict=True)]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", rows)

    def search(self, query: str, *, top_k: int = 3) -> list[tuple[float, str]]:
        """The best texts with their cosines, the best first. Exact: every vector is compared."""
        rows = self._database.execute("SELECT text, vector FROM notes").fetchall()
        if not rows:
            return []
        matrix: NDArray[np.float32] = np.stack([np.frombuffer(v, "<f4") for _, v in rows])
        scores = matrix @ self._embedder.encode_query(query)  # (n, d) @ (d,)
        best = np.argsort(-scores)[:top_k]
        return [(float(scores[index]), rows[index][0]) for index in best]


def main() -> None:
    """Fills an index in memory and asks it two questions."""
    with Embedder() as embedder, closing(Notes(":memory:", embedder)) as notes:
        notes.add(NOTES)
        for query in ("Where is the key to the house?", "When do the backups run?"):
            score, text = notes.search(query)[0]
            print(f"{query}  {score:.2f}  {text}")


if __name__ == "__main__":
    main()
