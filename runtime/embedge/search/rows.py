"""The rows of an index: what stands for a file, a record or a passage, put in and taken out whole.

Takes connections inside transactions that write. A passage goes in and out with its vector, its
words and its codes, a file or record with its places. Decides nothing: see `store.py`.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge.search import blocks, records, words
from embedge.search.ids import chunks_of_ids
from embedge.search.soundness import STORED, check_vectors, checksum
from embedge.search.where import Kind
from embedge.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Known:
    """What the index remembers of a file."""

    stamp: str | None
    digest: bytes
    reason: str | None  # why it holds no text; None where it does


class MissingVectorError(Exception):
    """A passage has no vector: another process may have swept it away."""


def stored(vectors: Vectors) -> NDArray[np.float32]:
    """Vectors (n, D) as they are stored."""
    rows = np.ascontiguousarray(vectors, dtype=STORED)
    check_vectors(rows)
    return rows


def add_passages(
    connection: sqlite3.Connection,
    passages: Sequence[tuple[bytes, str]],
    vectors: NDArray[np.float32],
) -> None:
    """Adds passages, by digest and text, with their vectors (n, D), words and codes."""
    new = []
    for passage, row in zip(passages, vectors, strict=True):
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
            new.append(made.lastrowid)
    blocks.renew(connection, new)


def add_file(
    connection: sqlite3.Connection,
    path: bytes,
    kind: Kind,
    known: Known,
    passages: Sequence[tuple[int, bytes]],
) -> int:
    """Adds a file or record, and its places by line and digest; gives its id."""
    file = connection.execute(
        "INSERT INTO files (path, kind, stamp, digest, reason) VALUES (?, ?, ?, ?, ?)",
        (path, kind, known.stamp, known.digest, known.reason),
    ).lastrowid
    assert file is not None
    for number, (line, digest) in enumerate(passages):
        found = connection.execute("SELECT id FROM passages WHERE digest = ?", (digest,)).fetchone()
        if found is None:
            raise MissingVectorError
        connection.execute("INSERT INTO places VALUES (?, ?, ?, ?)", (file, number, line, *found))
    return file


def remove_file(connection: sqlite3.Connection, path: bytes) -> list[int] | None:
    """Forgets a file or record and its places; gives their passages, None if it was not there."""
    row = connection.execute("SELECT id FROM files WHERE path = ?", (path,)).fetchone()
    if row is None:
        return None
    found = connection.execute("SELECT passage FROM places WHERE file = ?", row).fetchall()
    remove_row(connection, *row)
    return [passage for (passage,) in found]


def remove_row(connection: sqlite3.Connection, file: int) -> None:
    """Forgets a file or record by its id; its passages stay."""
    connection.execute("DELETE FROM places WHERE file = ?", (file,))
    records.remove_beside(connection, file)
    connection.execute("DELETE FROM files WHERE id = ?", (file,))


def sweep(connection: sqlite3.Connection, passages: Sequence[int]) -> None:
    """Deletes those of some passages that nothing needs any more."""
    for some in chunks_of_ids(passages):
        unused = (
            f"SELECT id FROM passages WHERE id IN ({some}) AND "
            "NOT EXISTS (SELECT 1 FROM places WHERE passage = passages.id)"
        )
        remove_passages(connection, [passage for (passage,) in connection.execute(unused)])


def remove_passages(connection: sqlite3.Connection, passages: Sequence[int]) -> None:
    """Deletes passages with their vectors, words and codes."""
    for some in chunks_of_ids(passages):
        words.remove(connection, f"id IN ({some})")
        connection.execute(f"DELETE FROM vectors WHERE id IN ({some})")
        connection.execute(f"DELETE FROM passages WHERE id IN ({some})")
    blocks.remove(connection, passages)
