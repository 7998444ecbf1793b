"""The indexes that are kept in the user's cache folder: what each is of, and how one is removed.

Takes paths, gives descriptions. Looks into an index without changing it, and never touches a file
that is not one.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedge.errors import IndexBusyError, IndexFileError
from embedge.files.caches import cache_folder
from embedge.files.regular import check_regular, open_regular
from embedge.search import schema
from embedge.search.database import COMPANIONS, FAULTS, MAGIC
from embedge.search.meaning import Maker, maker_of
from embedge.search.records import IS_RECORD
from embedge.search.store import folders_of
from embedge.search.updating import is_being_updated
from embedge.search.where import BELOW, path_range

WAIT_SECONDS = 5.0  # for another process, to look into an index


@dataclass(frozen=True, slots=True)
class KeptIndex:
    """An index in the cache folder.

    Attributes:
        path: of the file.
        folders: what it was brought up to date with, files or folders; they may be gone.
        maker: the model, task and precision; None where the file cannot be read.
        files, passages: how many it holds.
        size: of the file, in bytes.
        used: when it was last made, changed or searched, in seconds since 1970.
        fault: why it cannot be read; empty where it can.
    """

    path: Path
    folders: tuple[Path, ...]
    maker: Maker | None
    files: int
    passages: int
    size: int
    used: float
    fault: str = ""


def index_folder() -> Path | None:
    """Where indexes are kept for which nobody named a place; None without a home folder."""
    folder = cache_folder()
    return None if folder is None else folder / "search"


def kept_indexes() -> list[KeptIndex]:
    """All indexes of the cache folder, the last used first."""
    folder = index_folder()
    if folder is None or not folder.is_dir():
        return []
    found = (_described(path) for path in sorted(folder.glob("*.sqlite")))
    return sorted((kept for kept in found if kept is not None), key=lambda kept: -kept.used)


def forget(path: Path) -> None:
    """Removes an index of the cache folder, for good.

    Raises:
        IndexBusyError: it is in use; nothing was removed.
        IndexFileError: it is not an index of the cache folder, or cannot be removed.
    """
    if path.parent != index_folder() or not _is_index(path):
        raise IndexFileError(f"{path} is not an index in the cache folder, so it is left alone")
    if is_being_updated(path) or not _is_free(path):
        raise IndexBusyError(f"{path} is in use; try again when that is done")
    try:
        for suffix in COMPANIONS:  # first: a journal must not be left to another file
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.unlink()
    except OSError as error:
        raise IndexFileError(f"{path} cannot be removed: {error.strerror or error}") from error


def made_by(path: Path) -> Maker | None:
    """Who made an index; None if the file is not an index, or cannot be read."""
    with contextlib.suppress(*FAULTS), _reading(path) as connection:
        return _maker(connection)
    return None


def covers(path: Path, roots: Sequence[Path], maker: Maker) -> bool:
    """Whether an index of this maker holds files at or below each of the roots."""
    with contextlib.suppress(*FAULTS), _reading(path) as connection:
        query = f"SELECT 1 FROM files WHERE {BELOW} AND NOT {IS_RECORD} LIMIT 1"
        return _maker(connection) == maker and all(
            connection.execute(query, path_range(root)).fetchone() for root in roots
        )
    return False


def _described(path: Path) -> KeptIndex | None:
    if not _is_index(path):
        return None
    status = path.stat()
    size, used = status.st_size, status.st_mtime
    try:
        with _reading(path) as connection:
            files = f"SELECT count(*) FROM files WHERE reason IS NULL AND NOT {IS_RECORD}"
            (count,) = connection.execute(files).fetchone()
            (passages,) = connection.execute("SELECT count(*) FROM places").fetchone()
            folders, maker = tuple(folders_of(connection)), _maker(connection)
    except FAULTS as error:
        return KeptIndex(path, (), None, 0, 0, size, used, fault=str(error))
    return KeptIndex(path, folders, maker, count, passages, size, used)


def _maker(connection: sqlite3.Connection) -> Maker:
    return maker_of(dict(connection.execute("SELECT name, value FROM meaning")))


def _is_index(path: Path) -> bool:
    try:
        with open_regular(path) as stream:
            header = stream.read(72)
    except OSError:
        return False
    return header[:16] == MAGIC and header[68:] == schema.APPLICATION_ID.to_bytes(4, "big")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing.

    Raises:
        sqlite3.Error: the file is not an index, is damaged, or is held by somebody for long.
    """
    try:
        check_regular(path)
    except OSError as error:
        raise sqlite3.DatabaseError(error.strerror or str(error)) from error
    # Through SQLite alone: to open and close the file beside it would drop the locks that another
    # thread of this process may hold.
    with contextlib.closing(
        sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)
    ) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        if not schema.is_owned(connection):
            raise sqlite3.DatabaseError("it is not an embedge index")
        yield connection


def _is_free(path: Path) -> bool:
    """Whether nobody reads or writes it at this moment; true of one that is damaged."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=0.0, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return True
