"""Whether what an index gives back is what was put in: checks of rows, and a list of bad ones.

A disk, a copy or another program may change bytes within a row, which SQLite does not see. Every
vector has a checksum that holds it to its row, and every text the digest that it is known by. Takes
rows, gives True or False; knows no SQL.
"""

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.errors import NonFiniteError

STORED = np.dtype("<f4")  # not float16: NumPy widens it slower than SQLite reads twice the bytes
TOLERANCE = 0.01  # of a vector's length, which is 1


class DamagedRowsError(Exception):
    """Some rows are not what they were: `damage` says which."""

    def __init__(self, damage: "Damage") -> None:
        super().__init__(damage)
        self.damage = damage


@dataclass(slots=True)
class Damage:
    """Rows that cannot be trusted any more."""

    passages: set[int] = field(default_factory=set)
    files: set[int] = field(default_factory=set)  # with places that lead to them

    def add(self, file: int, passage: object) -> None:
        """Notes a place in a file, and what it leads to."""
        self.files.add(file)
        if isinstance(passage, int):
            self.passages.add(passage)


def text_digest(text: str) -> bytes:
    """What a text is known by: 16 bytes."""
    return text_digest_of(text.encode())


def text_digest_of(data: bytes) -> bytes:
    """The same, of the text's UTF-8."""
    return hashlib.blake2b(data, digest_size=16).digest()


def image_digest(digest: bytes) -> bytes:
    """What an image is known by, from the digest of its file: 16 bytes, and never a text's."""
    return hashlib.blake2b(digest, digest_size=16, person=b"image").digest()


def checksum(row: int, vector: bytes) -> int:
    """What is kept beside a vector; it differs from row to row."""
    return zlib.crc32(vector, row & 0xFFFFFFFF)


def is_vector(row: object, vector: object, kept: object, size: int) -> bool:
    """Whether a vector of so many bytes is the one that was put into this row."""
    return (
        isinstance(row, int)
        and isinstance(vector, bytes)
        and len(vector) == size
        and kept == checksum(row, vector)
    )


def have_length_one(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the rows (n, D) are of length 1, within TOLERANCE; NaN never is: (n,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        return np.asarray(np.abs(lengths - 1) <= TOLERANCE)


def check_vectors(vectors: NDArray[np.float32]) -> None:
    """Refuses to keep vectors (n, D) that could not be searched.

    Raises:
        NonFiniteError: one is not of length 1.
    """
    if not have_length_one(vectors).all():
        raise NonFiniteError(
            "a vector for the index is not of length 1; see what `embedge verify` says of the "
            "pack, or try another precision"
        )


def is_hit(
    path: Any, file_digest: Any, kind: Any, line: Any, text: Any, text_type: Any, digest: Any
) -> bool:
    """Whether what a place leads to is what was put there.

    Args:
        path: of the file.
        file_digest: of the file's content.
        kind: text or image.
        line: where the passage starts.
        text: the passage, as bytes.
        text_type: SQLite's name for what the passage is kept as.
        digest: what the passage is known by.
    """
    if not (isinstance(path, bytes) and isinstance(line, int) and text_type == "text"):
        return False
    if kind == "text":
        return bool(text_digest_of(text) == digest)
    whole = kind == "image" and text == b"" and isinstance(file_digest, bytes)
    return whole and image_digest(file_digest) == digest
