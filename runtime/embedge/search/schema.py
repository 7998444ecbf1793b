"""The tables of an index: made, recognized, brought up to date, dropped. Every statement is here.

Takes connections inside transactions. An index of an older format is searched as it is, and
becomes one of FORMAT_VERSION with the first transaction that writes; nothing is embedded for it.
Knows neither files nor what the tables are for: see `store.py`, `records.py` and `words.py`.
"""

import sqlite3
from collections.abc import Mapping

from embedge.search import blocks, words

# 1 had no kinds of files, 2 no checksums; 3 (words not whole) and 4 (whole) had no records.
FORMAT_VERSION = 5
OLDER = (3, 4)
APPLICATION_ID = 0x656D6267  # "embg", in SQLite's header at byte 68, big-endian
_TABLES = (
    "CREATE TABLE meaning (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    # path: bytes as the system has them; of a record its key, which no path can be. kind: text or
    # image. stamp: of the file as it was read. digest: of its content. reason: why it was refused.
    "CREATE TABLE files (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, kind TEXT NOT NULL, "
    "stamp TEXT, digest BLOB NOT NULL, reason TEXT)",
    # A text stands once, however many places it has; its vector has the same id. An image is one
    # passage without a text.
    "CREATE TABLE passages (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, "
    "text TEXT NOT NULL)",
    # float32, little-endian. Apart from the texts, so that a search need not read those.
    "CREATE TABLE vectors (id INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, "
    "vector BLOB NOT NULL)",
    "CREATE TABLE places (file INTEGER NOT NULL, number INTEGER NOT NULL, line INTEGER NOT NULL, "
    "passage INTEGER NOT NULL, PRIMARY KEY (file, number)) WITHOUT ROWID",
)
_SINCE_5 = (
    "CREATE INDEX places_of_passage ON places (passage)",
    "CREATE INDEX image_files ON files (kind) WHERE kind = 'image'",
    # metadata: a JSON object. The record's text is the passages of its row among the files.
    "CREATE TABLE records (file INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, "
    "metadata TEXT NOT NULL)",
    # digest: of the name and the value of a field of the metadata.
    "CREATE TABLE fields (digest BLOB NOT NULL, file INTEGER NOT NULL, "
    "PRIMARY KEY (digest, file)) WITHOUT ROWID",
    "CREATE INDEX fields_of_file ON fields (file)",
    blocks.CREATE,
)


def create(connection: sqlite3.Connection, meaning: Mapping[str, str]) -> None:
    """Makes the tables of an empty index."""
    for statement in _TABLES + _SINCE_5:
        connection.execute(statement)
    connection.executemany("INSERT INTO meaning VALUES (?, ?)", meaning.items())
    words.create(connection)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


def version(connection: sqlite3.Connection) -> int:
    """The format of an index."""
    return _pragma(connection, "user_version")


def is_current(connection: sqlite3.Connection) -> bool:
    """Whether an index is of FORMAT_VERSION."""
    return version(connection) == FORMAT_VERSION


def upgrade(connection: sqlite3.Connection) -> None:
    """Makes an index of an older format one of FORMAT_VERSION."""
    whole = words.are_whole(connection)
    for statement in _SINCE_5:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    if whole:
        words.trust(connection)
    blocks.fill(connection)


def is_owned(connection: sqlite3.Connection) -> bool:
    """Whether a database says that it is an index of ours."""
    return _pragma(connection, "application_id") == APPLICATION_ID


def is_whole(connection: sqlite3.Connection) -> bool:
    """Whether an index has the tables that its format should have, and nothing else."""
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    of_words = {name: found.pop(name) for name in words.TABLES & found.keys()}
    expected = _TABLES if version(connection) in OLDER else _TABLES + _SINCE_5
    if set(found.values()) != set(expected):
        return False
    if not of_words:
        return not words.are_whole(connection)
    return (
        of_words.keys() == words.TABLES
        and of_words.pop("words") == words.CREATE
        and all(
            isinstance(sql, str) and sql.startswith("CREATE TABLE") for sql in of_words.values()
        )
    )


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether a database has no tables."""
    (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(count == 0)


def empty(connection: sqlite3.Connection) -> None:
    """Drops all tables; an error if the file is too damaged to be sure that nothing is left."""
    if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("the integrity check failed")
    # FTS5 drops the tables that it made with its own.
    virtual = "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'"
    for (name,) in connection.execute(virtual).fetchall():
        connection.execute(f'DROP TABLE "{name}"')
    held = "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view')"
    for kind, name in connection.execute(held).fetchall():
        connection.execute(f'DROP {kind} "{name}"')
    if not is_empty(connection):
        raise sqlite3.DatabaseError("some of its tables cannot be dropped")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
