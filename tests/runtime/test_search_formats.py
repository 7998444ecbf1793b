"""Indexes that older versions made: searched as they are, and brought up to date without embedding.

The last version that wrote formats 3 and 4 made `support/indexes/`, with the embedder of
`support/search_cases.py`, of the folder FOLDER; that of format 3 by a Python without FTS5.
"""

import gzip
import os
import shutil
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import pytest

from embedge import OptionError, SearchIndex
from embedge.errors import IndexOutdatedError, IndexReadOnlyError
from embedge.search import database
from support.search_cases import Words, content, fresh, lay

MADE = Path(__file__).parent.parent / "support" / "indexes"
FOLDER = b"/books"
FILES: dict[str, bytes | None] = {
    "lisbon.txt": b"a b c d The best custard tarts are in Belem",
    "leave.txt": b"e f g h Sick leave is paid for six weeks",
    "near.txt": b"charter tents",
    "same.txt": b"charter tents",
    "parts.txt": "\n\n".join(f"part {'x' * n} {'word ' * 45}" for n in range(1, 5)).encode(),
    "binary.bin": b"\0",
}
QUERY = "custard tarts"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedge.search.database.SYNCHRONOUS", "OFF")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay(tmp_path / "books", FILES)


@pytest.fixture(params=[3, 4])
def older(request: pytest.FixtureRequest, tmp_path: Path, folder: Path) -> Path:
    """An index of an older format, of `folder`."""
    path = tmp_path / "index"
    path.write_bytes(gzip.decompress((MADE / f"format{request.param}.sqlite.gz").read_bytes()))
    connection = sqlite3.connect(path)
    for file, place in connection.execute("SELECT id, path FROM files").fetchall():
        moved = os.fsencode(folder) + place.removeprefix(FOLDER)
        connection.execute("UPDATE files SET path = ? WHERE id = ?", (moved, file))
    connection.commit()
    assert connection.execute("PRAGMA user_version").fetchone() == (request.param,)
    connection.close()
    return path


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(found)


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    found = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master") if sql}
    connection.close()
    return found


def test_it_is_searched_as_it_is(older: Path, folder: Path) -> None:
    before, made = older.read_bytes(), version(older)
    with SearchIndex(older, Words()) as index:
        hits = index.search(QUERY, mode="vectors", top_k=99)
        assert hits == fresh(folder, Words(), QUERY, mode="vectors")
        assert index.search(QUERY, where={"lang": "en"}, mode="vectors") == []
        assert index.count() == (5, 8)
        if made == 3:
            with pytest.warns(UserWarning, match="the index has no words yet; update it"):
                index.search(QUERY)
            with pytest.raises(OptionError, match="no words yet; update it"):
                index.search(QUERY, mode="words")
        else:
            assert index.search(QUERY, top_k=99) == fresh(folder, Words(), QUERY)
    assert older.read_bytes() == before


def test_an_update_brings_it_up_to_date_without_embedding(older: Path, folder: Path) -> None:
    words = Words()
    with SearchIndex(older, words) as index:
        index.update(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert index.search(QUERY, top_k=99) == fresh(folder, Words(), QUERY)
    assert words.embedded == []
    assert version(older) == 5
    content(older)
    SearchIndex(older.with_name("new"), Words()).close()
    assert tables(older) == tables(older.with_name("new"))


def test_one_that_cannot_be_written_is_used_as_it_is(older: Path, monkeypatch: Any) -> None:
    real, made = sqlite3.connect, version(older)

    def connect(path: Path, **options: Any) -> sqlite3.Connection:
        return real(f"{path.as_uri()}?mode=ro", uri=True, **options)

    with monkeypatch.context() as patch:
        patch.setattr(database.sqlite3, "connect", connect)
        with SearchIndex(older, Words()) as index:
            assert len(index.search(QUERY, mode="vectors", top_k=99)) == 7
            if made == 3:  # its words are missing, which an update should not hide
                with pytest.raises(IndexReadOnlyError):
                    index._store.complete()
            else:
                index._store.complete()
    assert version(older) == made


def test_records_can_be_added_to_it(older: Path, folder: Path) -> None:
    words = Words()
    with SearchIndex(older, words) as index:
        index.add([{"id": 1, "text": "charter tents", "metadata": {"lang": "en"}}])
        assert words.embedded == []  # the text was there
        (hit,) = index.search("x", where={"lang": "en"}, mode="vectors")
        assert hit.id == 1
        index.update(folder)
        assert index.search(QUERY, top_k=99, path=folder) == fresh(folder, Words(), QUERY)
    assert version(older) == 5


def test_an_upgrade_that_is_stopped_anywhere(older: Path, folder: Path, monkeypatch: Any) -> None:
    class Failing(database.Connection):
        left = 0

        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            if (
                not arguments[0].startswith(("SELECT", "PRAGMA"))
                or "user_version =" in arguments[0]
            ):
                type(self).left -= 1
                if self.left == 0:
                    raise sqlite3.OperationalError("disk I/O error")
            return super().execute(*arguments)

    start = older.read_bytes()
    monkeypatch.setattr(database, "Connection", Failing)
    stopped = 0
    while True:
        older.write_bytes(start)
        Failing.left = stopped + 1
        try:
            with SearchIndex(older, Words()) as index:
                index.update(folder)
        except database.SearchIndexError:
            stopped += 1
        else:
            break
        Failing.left = 0
        with SearchIndex(older, words := Words()) as index:
            index.update(folder)
            assert index.search(QUERY, top_k=99) == fresh(folder, Words(), QUERY)
        assert words.embedded == []
    assert stopped > 6


def test_what_says_that_it_is_older_and_is_not(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "index"
    with SearchIndex(path, Words()) as index:
        index.update(folder)
    for number in (1, 2, 6, 3, 4):
        shutil.copy(path, tmp_path / "other")
        connection = sqlite3.connect(tmp_path / "other")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.close()
        if number in (3, 4):
            with pytest.raises(database.IndexFileError, match="tables are not ours"):
                SearchIndex(tmp_path / "other", Words())
        else:
            with pytest.raises(IndexOutdatedError, match=f"format changed: {number} -> 5"):
                SearchIndex(tmp_path / "other", Words())
