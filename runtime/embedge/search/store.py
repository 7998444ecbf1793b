"""What an index keeps: files, their passages, and one vector a text.

Texts are stored once by the hash of their content, so that a renamed file, a moved paragraph or a
boilerplate header is embedded once. Vectors go in before the files that need them, a few at a
time; a file changes from old to new in one transaction. Takes and gives bytes for paths (a name
need not be Unicode), float32 (n, D) for vectors. Knows no folder, no splitting and no model.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from embedge.search import words
from embedge.search.database import Database
from embedge.search.soundness import (
    Damage,
    check_vectors,
    checksum,
    image_digest,
    text_digest,
)
from embedge.vectors import Vectors

STORED = np.dtype("<f4")  # not float16: NumPy widens it slower than SQLite reads twice the bytes
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

    def __init__(self, database: Database) -> None:
        self._database = database

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

    def count(self, where: "Where") -> tuple[int, int]:
        """How many files with text there are, and passages."""
        files = f"SELECT count(*) FROM files WHERE reason IS NULL AND {where.sql}"
        places = f"SELECT count(*) FROM files JOIN places ON file = files.id WHERE {where.sql}"
        with self._database.reading() as connection:
            (file_count,) = connection.execute(files, where.values).fetchone()
            (passage_count,) = connection.execute(places, where.values).fetchone()
        return file_count, passage_count

    def only(self, where: "Where", wants: Callable[[Path], bool]) -> "Where":
        """Of some files those whose path is wanted."""
        query = f"SELECT id, path FROM files WHERE typeof(path) = 'blob' AND {where.sql}"
        with self._database.reading() as connection:
            rows = connection.execute(query, where.values)
            ids = [str(file) for file, path in rows if wants(Path(os.fsdecode(path)))]
        return Where(f"{where.sql} AND files.id IN ({', '.join(ids)})", where.values)

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
                    words.add(connection, made.lastrowid, passage[1])
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
            if damage.passages:
                words.distrust(connection)

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
            words.remove(connection, f"id {unused}")
            connection.execute(f"DELETE FROM vectors WHERE id {unused}")
            connection.execute(f"DELETE FROM passages WHERE id {unused}")

    def reason_without_words(self) -> str:
        """Why words cannot be looked for, and what to do; nothing where they can."""
        if not words.available():
            return (
                "the SQLite of this Python was built without FTS5; use a Python whose SQLite has "
                'it, or mode="vectors"'
            )
        with self._database.reading() as connection:
            if words.are_whole(connection):
                return ""
        return "the index has no words yet; update it, which embeds nothing again"

    def complete_words(self) -> None:
        """Makes the words whole where they are not and can be: of an index of an older version.

        Nothing is embedded for it; of 100,000 passages it takes seconds.
        """
        with self._database.reading() as connection:
            if words.are_whole(connection) or not words.available():
                return
        with self._database.writing() as connection:
            if not words.are_whole(connection):
                words.fill(connection)


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


@dataclass(frozen=True, slots=True)
class Where:
    """Some of the files: SQL for it, and the values of its question marks."""

    sql: str
    values: tuple[bytes | str, ...]

    @classmethod
    def below(cls, root: Path | None, kind: Kind | None = None) -> "Where":
        """The files at or below a path (None: all), of one kind or of both."""
        found = cls("1", ()) if root is None else cls(_BELOW, _range(root))
        return found if kind is None else cls(f"{found.sql} AND kind = ?", (*found.values, kind))


def _range(root: Path) -> tuple[bytes, bytes, bytes]:
    """The root's own path, and the bounds of the paths below it."""
    path = os.fsencode(root)
    separator = os.fsencode(os.sep)
    below = path if path.endswith(separator) else path + separator  # "/" ends with it
    return path, below, below[:-1] + bytes([below[-1] + 1])
