"""The file of an index: made, recognized, checked, and changed in transactions that hold or do not.

Takes a path and what determines the vectors (the `meaning`), gives connections inside
transactions; every fault of SQLite leaves as a named error. A file that is not an embedge index is
never written to, nor deleted. Which tables there are is in `schema.py`.

The journal is SQLite's rollback journal, not a write-ahead log: that takes no second file to
read, so an index works on read-only media and network drives. The price is that a search holds
off a commit for its milliseconds, and the other way round; TIMEOUT is far beyond both.
"""

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedge.errors import (
    ClosedError,
    IndexBusyError,
    IndexFileError,
    IndexOutdatedError,
    IndexReadOnlyError,
    SearchIndexError,
)
from embedge.files.regular import check_regular
from embedge.search import schema

COMPANIONS = ("-journal", "-wal", "-shm")  # what SQLite looks for beside a database
MAGIC = b"SQLite format 3\0"
TIMEOUT = 60.0  # seconds to wait for another process
SYNCHRONOUS = "FULL"  # a commit is on the disk, so that not even a loss of power harms the index
PAGE_SIZE = 16384  # bytes; three vectors of 1,024 dimensions fit, in 4,096 not one
# 0: Python's own, for a text that is not UTF-8. ERROR: statements that do not fit the tables.
DAMAGED = (0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Python's module decodes SQLite's messages too; those that quote a damaged file may not be UTF-8.
FAULTS = (sqlite3.Error, UnicodeDecodeError)
_REMEDY = "delete it, or make it again (--rebuild, or SearchIndex(…, rebuild=True))"


class Database:
    """An open index file. Safe between threads: one transaction at a time.

    Args:
        path: absolute; None for one that is never seen and gone when closed.
        meaning: what determines the vectors, name -> value, the most telling first.
        rebuild: empty it first, also one that is damaged or of another meaning.

    Raises:
        IndexFileError: the file is damaged, not an embedge index, or cannot be opened.
        IndexOutdatedError: it was made with another meaning or format.
        IndexBusyError: another process held it too long.
    """

    def __init__(self, path: Path | None, meaning: Mapping[str, str], *, rebuild: bool) -> None:
        self._path = path
        self._meaning = dict(meaning)
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        with self._named_errors():
            try:
                self._connection = self._open(rebuild=rebuild)
            except FAULTS as error:
                if path is None or not rebuild or _code(error) not in DAMAGED:
                    raise
                # Only here is a file deleted: its header is an index's, and SQLite gave it up.
                # The journal goes first: it must not be applied to the new file.
                path.with_name(path.name + "-journal").unlink(missing_ok=True)
                path.unlink()
                self._connection = self._open(rebuild=True)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the index, whatever others write meanwhile."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are all kept at the end, or none if anything is raised.

        An index of an older format is brought up to date with it.
        """
        with self._transaction("BEGIN IMMEDIATE") as connection:
            if not schema.is_current(connection):
                schema.upgrade(connection)
            yield connection

    def close(self) -> None:
        """Closes the file; again, it does nothing."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._named_errors():
            if self._connection is None:
                raise ClosedError("this search index is closed; open it again")
            with _transaction(self._connection, begin):
                self._check(self._connection)  # another process may have made it again
                yield self._connection

    def _open(self, *, rebuild: bool) -> "Connection":
        if self._path is not None:
            _recognize(self._path)
        connection = sqlite3.connect(
            "" if self._path is None else self._path,
            timeout=TIMEOUT,
            isolation_level=None,  # transactions begin where this module says so
            check_same_thread=False,  # the lock sees to it
            factory=Connection,
        )
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            if rebuild or schema.is_empty(connection):
                with _transaction(connection, "BEGIN IMMEDIATE"):
                    if rebuild or schema.is_empty(connection):  # nobody was quicker
                        self._create(connection)
            with _transaction(connection, "BEGIN"):
                self._check(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        if not schema.is_empty(connection):
            self._check_owner(connection)
            schema.empty(connection)
        schema.create(connection, self._meaning)

    def _check(self, connection: sqlite3.Connection) -> None:
        """Whether this is an index of ours, whole, and with our meaning."""
        self._check_owner(connection)
        version = schema.version(connection)
        if version not in (*schema.OLDER, schema.FORMAT_VERSION):
            self._refuse_old(f"format changed: {version} -> {schema.FORMAT_VERSION}")
        if not schema.is_whole(connection):
            raise damage_error("its tables are not ours", self._path)
        held = dict(connection.execute("SELECT name, value FROM meaning"))
        for name, value in self._meaning.items():
            if held.get(name) != value:
                self._refuse_old(f"{name} changed: {held.get(name, 'unknown')} -> {value}")

    def _check_owner(self, connection: sqlite3.Connection) -> None:
        if not schema.is_owned(connection):
            raise _foreign(self._path)

    def _refuse_old(self, change: str) -> None:
        raise IndexOutdatedError(
            f"{self._path} does not fit: {change}; embed everything again (--rebuild, or "
            "SearchIndex(…, rebuild=True)), or name another file",
            change=change,
        )

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            raise _named(error, self._path, opened=self._connection is not None) from error
        except OSError as error:
            if self._connection is not None:
                raise  # not of opening: it belongs to who works inside the transaction
            raise IndexFileError(
                f"{self._path} cannot be opened: {error.strerror or error}; name another file "
                "(--index FILE), or search without one (--no-index)"
            ) from error


def damage_error(what: str, path: Path | None = None) -> IndexFileError:
    """The error for an index whose content cannot be."""
    return IndexFileError(f"{path or 'the search index'} is damaged ({what}); {_REMEDY}")


def _recognize(path: Path) -> None:
    """Makes the file if there is none; refuses one that is not an index, without touching it."""
    if not path.exists():
        # It holds what the texts hold, so it is the user's alone.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if not path.is_file():
        raise _foreign(path)
    for suffix in COMPANIONS:  # SQLite would wait for a pipe
        companion = path.with_name(path.name + suffix)
        try:
            if os.path.lexists(companion):
                check_regular(companion)
        except OSError as error:
            raise IndexFileError(
                f"{companion}, a file that SQLite reads with {path.name}, cannot be used: "
                f"{error.strerror}; remove it, or name another file (--index FILE)"
            ) from None
    with path.open("rb") as stream:
        header = stream.read(72)
    if header and (header[:16] != MAGIC or header[68:] != schema.APPLICATION_ID.to_bytes(4, "big")):
        raise _foreign(path)


def _foreign(path: Path | None) -> IndexFileError:
    return IndexFileError(
        f"{path} is not an embedge index, so it is left alone; name another file, or delete it "
        "yourself"
    )


class Connection(sqlite3.Connection):
    """A connection whose reads can be ended.

    SQLite holds a file's lock until each statement that reads has come to its end or was reset.
    A loop over rows that an exception left does neither while anybody holds the exception: its
    traceback holds the frame, and the frame the cursor.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As SQLite's module has it; the cursor is remembered."""
        cursor = super().execute(*arguments)
        self._cursors.add(cursor)
        return cursor

    def end_reads(self) -> None:
        """Closes all cursors."""
        for cursor in list(self._cursors):
            cursor.close()
        self._cursors.clear()

    def close(self) -> None:
        """Closes the file, and so gives its locks back, whoever still holds a cursor."""
        self.end_reads()
        super().close()


@contextlib.contextmanager
def _transaction(connection: Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.end_reads()
        connection.execute("COMMIT")
    except BaseException:
        connection.end_reads()
        if connection.in_transaction:  # SQLite ends some itself
            connection.execute("ROLLBACK")
        raise


def _code(error: Exception) -> int:
    """SQLite's primary code; 0 where Python's module raised on its own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _named(error: Exception, path: Path | None, *, opened: bool) -> SearchIndexError:
    code = _code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return IndexBusyError(
            f"{path} is being written by another process for more than {TIMEOUT:.0f} s; try again "
            "when that is done"
        )
    if code in DAMAGED:
        return damage_error(str(error), path)
    # What cannot be opened later on is the journal: the folder is read-only.
    if code == sqlite3.SQLITE_READONLY or (opened and code == sqlite3.SQLITE_CANTOPEN):
        return IndexReadOnlyError(
            f"{path} cannot be written ({error}), so it cannot be brought up to date; make it "
            "writable, or name another file"
        )
    if code == sqlite3.SQLITE_FULL:
        return IndexFileError(f"{path}: the disk is full; make room and run again, nothing is lost")
    return IndexFileError(f"{path} cannot be used: {error}; name another file, or {_REMEDY}")
