"""What an index keeps, as questions and answers: files, their passages, and one vector a text.

Texts are stored once by the hash of their content, so that a renamed file, a moved paragraph or a
boilerplate header is embedded once. Vectors go in before the files that need them, a few at a
time; a file changes from old to new in one transaction. Takes and gives bytes for paths (a name
need not be Unicode), float32 (n, D) for vectors. Knows no folder, no splitting and no model.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedge.search.database import Database
from embedge.search.soundness import (
    Damage,
    DamagedRowsError,
    check_vectors,
    checksum,
    have_length_one,
    image_digest,
    is_hit,
    is_vector,
    text_digest,
)
from embedge.vectors import Vectors

STORED = np.dtype("<f4")  # not float16: NumPy widens it slower than SQLite reads twice the bytes
ROWS = 4096  # vectors read at a time
RUNTIMES = "onnxruntime"  # a name among the meaning's; its value is not compared
# Files whose row cannot be ours. They may lie anywhere, for their path may be what is wrong.
_BAD_FILES = (
    "SELECT id FROM files WHERE typeof(path) <> 'blob' OR kind NOT IN ('text', 'image') OR "
    "typeof(stamp) NOT IN ('text', 'null') OR typeof(digest) <> 'blob' OR "
    "typeof(reason) NOT IN ('text', 'null')"
)
_BELOW = "(files.path = ? OR (files.path >= ? AND files.path < ?))"

Kind = Literal["text", "image"]
IMAGE_PASSAGES = ((0, ""),)
Place = tuple[int, int]  # file and number of a passage in it


@dataclass(frozen=True, slots=True)
class Known:
    """What the index remembers of a file."""

    stamp: str | None
    digest: bytes
    reason: str | None  # why it holds no text; None where it does


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it is to be remembered."""

    path: Path
    known: Known
    passages: Sequence[tuple[int, str]]  # (line, text); of an image IMAGE_PASSAGES
    kind: Kind = "text"

    def passage_digest(self, text: str) -> bytes:
        """What one of its passages is known by."""
        return text_digest(text) if self.kind == "text" else image_digest(self.known.digest)


class Store:
    """The content of an open index."""

    def __init__(self, database: Database, *, width: int) -> None:
        self._database = database
        self._width = width

    def known_files(self, root: Path) -> dict[Path, Known]:
        """Every file remembered at or below a path. Forgets those whose row is damaged."""
        with self._database.reading() as connection:
            bad = {file for (file,) in connection.execute(_BAD_FILES)}
        if bad:
            self.forget(Damage(files=bad))
        query = f"SELECT path, stamp, digest, reason FROM files WHERE {_BELOW}"
        with self._database.reading() as connection:
            return {
                Path(os.fsdecode(path)): Known(*rest)
                for path, *rest in connection.execute(query, _range(root))
            }

    def count(self, root: Path | None) -> tuple[int, int]:
        """How many files with text there are at or below a path (None: in all), and passages."""
        where, values = _condition(root)
        files = f"SELECT count(*) FROM files WHERE reason IS NULL AND {where}"
        places = f"SELECT count(*) FROM files JOIN places ON file = files.id WHERE {where}"
        with self._database.reading() as connection:
            (file_count,) = connection.execute(files, values).fetchone()
            (passage_count,) = connection.execute(places, values).fetchone()
        return file_count, passage_count

    def missing(self, texts: Iterable[str]) -> list[str]:
        """The texts that have no vector yet, each once."""
        digests = {text_digest(text): text for text in texts}
        return [digests[digest] for digest in self.missing_digests(digests)]

    def missing_digests(self, digests: Iterable[bytes]) -> list[bytes]:
        """What is known by these digests, and has no vector yet, each once."""
        query = "SELECT 1 FROM passages WHERE digest = ?"
        with self._database.reading() as connection:
            return [
                digest
                for digest in dict.fromkeys(digests)
                if connection.execute(query, (digest,)).fetchone() is None
            ]

    def add_vectors(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Keeps the vectors (n, D) of n texts."""
        self._add([(text_digest(text), text) for text in texts], vectors)

    def add_images(self, digests: Sequence[bytes], vectors: Vectors) -> None:
        """Keeps the vectors (n, D) of n images."""
        self._add([(digest, "") for digest in digests], vectors)

    def _add(self, passages: Sequence[tuple[bytes, str]], vectors: Vectors) -> None:
        rows = np.ascontiguousarray(vectors, dtype=STORED)
        check_vectors(rows)
        with self._database.writing() as connection:
            for passage, row in zip(passages, rows, strict=True):
                made = connection.execute(
                    "INSERT OR IGNORE INTO passages (digest, text) VALUES (?, ?)", passage
                )
                if made.rowcount:  # else another process was quicker
                    assert made.lastrowid is not None
                    vector = row.tobytes()
                    connection.execute(
                        "INSERT INTO vectors VALUES (?, ?, ?)",
                        (made.lastrowid, checksum(made.lastrowid, vector), vector),
                    )

    def put_files(self, entries: Iterable[Entry]) -> bool:
        """Remembers files with their passages in place of what was known of them.

        Returns:
            False, and nothing has changed, if a vector is missing: another process may have
            swept it away before a file needed it.
        """
        try:
            with self._database.writing() as connection:
                for entry in entries:
                    _put_file(connection, entry)
        except _MissingVectorError:
            return False
        return True

    def renew_stamps(self, stamps: Mapping[Path, str]) -> None:
        """Remembers new stamps of files whose content is unchanged."""
        with self._database.writing() as connection:
            connection.executemany(
                "UPDATE files SET stamp = ? WHERE path = ?",
                [(stamp, os.fsencode(path)) for path, stamp in stamps.items()],
            )

    def remove_files(self, paths: Iterable[Path]) -> None:
        """Forgets files and their places."""
        with self._database.writing() as connection:
            for path in paths:
                _remove_file(connection, os.fsencode(path))

    def forget(self, damage: Damage) -> None:
        """Forgets damaged rows, and files that need them, so that an update makes them again."""
        with self._database.writing() as connection:
            for file in damage.files:
                connection.execute("DELETE FROM places WHERE file = ?", (file,))
                connection.execute("DELETE FROM files WHERE id = ?", (file,))
            for passage in damage.passages:
                needing = "SELECT file FROM places WHERE passage = ?"
                connection.execute(f"DELETE FROM files WHERE id IN ({needing})", (passage,))
                connection.execute(f"DELETE FROM places WHERE file IN ({needing})", (passage,))
                connection.execute("DELETE FROM vectors WHERE id = ?", (passage,))
                connection.execute("DELETE FROM passages WHERE id = ?", (passage,))

    def runtimes(self) -> tuple[str, ...]:
        """The versions of ONNX Runtime that made its vectors, the first one first."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT value FROM meaning WHERE name = ?", (RUNTIMES,)
            ).fetchone()
        return tuple(row[0].split()) if row is not None and isinstance(row[0], str) else ()

    def add_runtime(self, version: str) -> None:
        """Remembers a version of ONNX Runtime that made vectors."""
        known = self.runtimes()
        if version not in known:
            with self._database.writing() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO meaning VALUES (?, ?)",
                    (RUNTIMES, " ".join((*known, version))),
                )

    def sweep(self) -> None:
        """Deletes texts and vectors that no file needs any more."""
        unused = "NOT IN (SELECT passage FROM places)"
        with self._database.writing() as connection:
            connection.execute(f"DELETE FROM vectors WHERE id {unused}")
            connection.execute(f"DELETE FROM passages WHERE id {unused}")

    def best(
        self, query: Vectors, count: int, root: Path | None, kind: Kind | None = None
    ) -> list[tuple[float, tuple[Path, int, str, Kind]]]:
        """Score and (path, line, text, kind) of the passages nearest to a query (D,), by product.

        Of equal products, the first in the order of paths and lines.

        Raises:
            DamagedRowsError: a vector, or a passage found, is not what was put in.
        """
        where, values = _condition(root)
        if kind is not None:
            where, values = f"{where} AND kind = ?", (*values, kind)
        # CROSS JOIN: in this order, so that rows come sorted without being sorted.
        rows = (
            "SELECT file, number, passage, checksum, vector FROM files "
            "CROSS JOIN places ON file = files.id LEFT JOIN vectors ON vectors.id = passage "
            f"WHERE {where} ORDER BY path, number"
        )
        description = (
            "SELECT passage, path, files.digest, kind, line, CAST(text AS BLOB), typeof(text), "
            "passages.digest FROM places JOIN files ON files.id = file "
            "LEFT JOIN passages ON passages.id = passage WHERE file = ? AND number = ?"
        )
        scores = np.empty(0, np.float32)  # of the best so far, falling
        places: list[Place] = []
        damage = Damage()
        with self._database.reading() as connection:
            for found, vectors in self._chunks(connection.execute(rows, values), damage):
                # Not `@`: what BLAS gives for a row varies with the rows around it.
                products = np.einsum("nd,d->n", vectors, query)  # (n, D), (D,) -> (n,)
                if len(places) == count:
                    better = np.flatnonzero(products > scores[-1])
                    found, products = [found[i] for i in better], products[better]
                scores, places = np.concatenate([scores, products]), places + found
                order = np.argsort(-scores, kind="stable")[:count]
                scores, places = scores[order], [places[i] for i in order]
            hits = []
            for score, place in zip(scores.tolist(), places, strict=True):
                passage, *row = connection.execute(description, place).fetchone()
                if is_hit(*row):
                    path, _, found_kind, line, text, *_ = row
                    hits.append((score, (Path(os.fsdecode(path)), line, text.decode(), found_kind)))
                else:
                    damage.add(place[0], passage)
        if damage.files:
            raise DamagedRowsError(damage)
        return hits

    def _chunks(
        self, cursor: sqlite3.Cursor, damage: Damage
    ) -> Iterator[tuple[list[Place], NDArray[np.float32]]]:  # n places, (n, D)
        size = self._width * STORED.itemsize  # bytes
        while rows := cursor.fetchmany(ROWS):
            good = []
            for row in rows:
                file, _, passage, kept, vector = row
                if is_vector(passage, vector, kept, size):
                    good.append(row)
                else:
                    damage.add(file, passage)
            data = b"".join([row[-1] for row in good])
            vectors = np.frombuffer(data, STORED).reshape(-1, self._width)
            sound = have_length_one(vectors)
            if not sound.all():
                for index in np.flatnonzero(~sound):
                    damage.add(good[index][0], good[index][2])
                good, vectors = [good[i] for i in np.flatnonzero(sound)], vectors[sound]
            yield [(file, number) for file, number, *_ in good], vectors


class _MissingVectorError(Exception):
    pass


def _put_file(connection: sqlite3.Connection, entry: Entry) -> None:
    path, known = os.fsencode(entry.path), entry.known
    _remove_file(connection, path)
    file = connection.execute(
        "INSERT INTO files (path, kind, stamp, digest, reason) VALUES (?, ?, ?, ?, ?)",
        (path, entry.kind, known.stamp, known.digest, known.reason),
    ).lastrowid
    for number, (line, text) in enumerate(entry.passages):
        found = connection.execute(
            "SELECT id FROM passages WHERE digest = ?", (entry.passage_digest(text),)
        ).fetchone()
        if found is None:
            raise _MissingVectorError
        connection.execute("INSERT INTO places VALUES (?, ?, ?, ?)", (file, number, line, *found))


def _remove_file(connection: sqlite3.Connection, path: bytes) -> None:
    connection.execute(
        "DELETE FROM places WHERE file = (SELECT id FROM files WHERE path = ?)", (path,)
    )
    connection.execute("DELETE FROM files WHERE path = ?", (path,))


def _condition(root: Path | None) -> tuple[str, tuple[bytes | str, ...]]:
    return ("1", ()) if root is None else (_BELOW, _range(root))


def _range(root: Path) -> tuple[bytes, bytes, bytes]:
    """The root's own path, and the bounds of the paths below it."""
    path = os.fsencode(root)
    separator = os.fsencode(os.sep)
    below = path if path.endswith(separator) else path + separator  # "/" ends with it
    return path, below, below[:-1] + bytes([below[-1] + 1])
