"""The codes of an index's vectors: kept in blocks beside them, and held between searches.

A block has the codes of the passages with 4,096 ids in a row, so that a million of them are read
in 245 rows. They change in the transaction that changes the vectors. A block that is damaged or
missing is made again from the vectors. Takes connections inside transactions; embeds nothing.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge.search.codes import CodedQuery, Codes
from embedge.search.soundness import STORED, have_length_one, is_vector
from embedge.vectors import Vectors

BLOCK = 4096  # ids
_OFFSET = np.dtype("<u2")  # of an id in its block
CREATE = (
    "CREATE TABLE codes (block INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, "
    "offsets BLOB NOT NULL, data BLOB NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class _Block:
    ids: NDArray[np.int64]  # (n,)
    codes: Codes


class Blocks:
    """The codes of one open index."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[object, _Block]] = {}  # block -> what it was known by, itself
        self._state: tuple[int, int] | None = None
        self.damaged: set[int] = set()  # blocks that were made again, here and not in the file

    def products(
        self, connection: sqlite3.Connection, query: Vectors
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """About the products of a query (D,) with all vectors: their passages (n,), and (n,)."""
        self._refresh(connection, len(query))
        blocks = [block for _, block in self._held.values()]
        total = sum(len(block.ids) for block in blocks)
        ids, products = np.empty(total, np.int64), np.empty(total, np.float32)
        coded = CodedQuery(query)
        start = 0
        for block in blocks:
            stop = start + len(block.ids)
            ids[start:stop] = block.ids
            products[start:stop] = coded.products(block.codes)
            start = stop
        return ids, products

    def drop(self) -> None:
        """Gives the memory back."""
        self._held.clear()
        self._state = None

    def _refresh(self, connection: sqlite3.Connection, width: int) -> None:
        """Reads the blocks that have changed since they were read last."""
        # The first changes with other connections' transactions, the second with this one's.
        state = (_pragma(connection, "data_version"), connection.total_changes)
        if state == self._state:
            return
        known = {
            block: (kept, size)
            for block, kept, size in connection.execute(
                "SELECT block, checksum, length(offsets) FROM codes ORDER BY block"
            )
        }
        self.damaged.clear()
        held = {}
        for block in _blocks_of_vectors(connection):
            key = known.get(block)
            before = self._held.get(block)
            if key is not None and before is not None and before[0] == key:
                held[block] = before
                continue
            found = None if key is None else _read(connection, block)
            if found is None or len(found.codes.mean) != width:
                self.damaged.add(block)
                found = _made(connection, block)
                key = None
            if found is not None:
                held[block] = (key, found)
        self.damaged.update(known.keys() - held.keys())  # of no vectors
        self._held = held
        self._state = state


def count(connection: sqlite3.Connection) -> int:
    """How many passages have codes."""
    (size,) = connection.execute("SELECT sum(length(offsets)) FROM codes").fetchone()
    return int(size or 0) // _OFFSET.itemsize


def renew(connection: sqlite3.Connection, passages: Iterable[int]) -> None:
    """Makes the codes of the blocks of some passages again, whose vectors are new."""
    for block in sorted({passage // BLOCK for passage in passages}):
        renew_block(connection, block)


def renew_block(connection: sqlite3.Connection, block: int) -> None:
    """Makes the codes of a block again, from its vectors."""
    made = _made(connection, block)
    if made is None:
        connection.execute("DELETE FROM codes WHERE block = ?", (block,))
    else:
        _write(connection, block, made.ids, made.codes.to_bytes())


def remove(connection: sqlite3.Connection, passages: Iterable[int]) -> None:
    """Forgets the codes of passages whose vectors are gone."""
    gone: dict[int, list[int]] = {}
    for passage in passages:
        gone.setdefault(passage // BLOCK, []).append(passage)
    for block, ids in gone.items():
        row = connection.execute("SELECT data FROM codes WHERE block = ?", (block,)).fetchone()
        found = _read(connection, block) if row is not None else None
        if found is None:
            renew_block(connection, block)
            continue
        stay = ~np.isin(found.ids, ids)
        if stay.all():
            continue
        if stay.any():
            _write(connection, block, found.ids[stay], found.codes.only(stay).to_bytes())
        else:
            connection.execute("DELETE FROM codes WHERE block = ?", (block,))


def fill(connection: sqlite3.Connection) -> None:
    """Makes the codes of all vectors."""
    for block in list(_blocks_of_vectors(connection)):
        renew_block(connection, block)


def _blocks_of_vectors(connection: sqlite3.Connection) -> Iterator[int]:
    """The blocks that have vectors, in order."""
    query = "SELECT id FROM vectors WHERE id >= ? ORDER BY id LIMIT 1"
    start = 0
    while (row := connection.execute(query, (start,)).fetchone()) is not None:
        block = row[0] // BLOCK
        yield block
        start = (block + 1) * BLOCK


def _made(connection: sqlite3.Connection, block: int) -> _Block | None:
    """A block made from the vectors, without those that are damaged; None if there are none."""
    rows = connection.execute(
        "SELECT id, checksum, vector FROM vectors WHERE id BETWEEN ? AND ? ORDER BY id",
        (block * BLOCK, (block + 1) * BLOCK - 1),
    )
    ids: list[int] = []
    data: list[bytes] = []
    for passage, kept, vector in rows:
        if is_vector(passage, vector, kept, len(data[0]) if data else _size(vector)):
            ids.append(passage)
            data.append(vector)
    if not ids:
        return None
    vectors = np.frombuffer(b"".join(data), STORED).reshape(len(ids), -1)
    sound = have_length_one(vectors)
    if not sound.any():
        return None
    return _Block(np.array(ids, np.int64)[sound], Codes.of(vectors[sound]))


def _size(vector: object) -> int:
    """The size of a vector's bytes where nothing else says it; 0, which none has, if it is none."""
    return len(vector) if isinstance(vector, bytes) and len(vector) % STORED.itemsize == 0 else 0


def _write(connection: sqlite3.Connection, block: int, ids: NDArray[np.int64], data: bytes) -> None:
    offsets = (ids - block * BLOCK).astype(_OFFSET).tobytes()
    connection.execute(
        "INSERT OR REPLACE INTO codes VALUES (?, ?, ?, ?)",
        (block, _checksum(block, offsets, data), offsets, data),
    )


def _read(connection: sqlite3.Connection, block: int) -> _Block | None:
    """A block as it was written; None if it is damaged."""
    row = connection.execute(
        "SELECT checksum, offsets, data FROM codes WHERE block = ?", (block,)
    ).fetchone()
    if row is None:
        return None
    kept, offsets, data = row
    if not isinstance(offsets, bytes) or not isinstance(data, bytes):
        return None
    if kept != _checksum(block, offsets, data):
        return None
    ids = np.frombuffer(offsets, _OFFSET).astype(np.int64) + block * BLOCK
    codes = Codes.from_bytes(data, len(ids))
    return None if codes is None else _Block(ids, codes)


def _checksum(block: int, offsets: bytes, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(offsets, block & 0xFFFFFFFF))


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
