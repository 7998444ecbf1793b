"""Index files that are damaged, foreign or made to mislead: a named error, and nothing lost."""

import contextlib
import json
import os
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from embedge import SearchIndex
from embedge.errors import IndexFileError, IndexRowsError, NonFiniteError, SearchIndexError
from support.search_cases import BEFORE, Words, content, fresh, lay

QUERY = "these words stay"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedge.search.database.SYNCHRONOUS", "OFF")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay(tmp_path / "docs", BEFORE)


@pytest.fixture
def whole(tmp_path: Path, folder: Path) -> bytes:
    with SearchIndex(tmp_path / "index", Words()) as index:
        index.update(folder)
    return (tmp_path / "index").read_bytes()


def database(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path


def other_database(path: Path) -> None:
    database(path, "CREATE TABLE precious (x)", "INSERT INTO precious VALUES ('data')")


def image(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n" + bytes(200))


def short_text(path: Path) -> None:
    path.write_text("x")


def long_text(path: Path) -> None:
    path.write_text("SQLite format 3 is what this letter is about. " * 9)


def pretender(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"x" * 500)


@pytest.mark.parametrize("make", [other_database, image, short_text, long_text, pretender])
@pytest.mark.parametrize("rebuild", [False, True])
def test_a_file_of_another_kind_is_never_touched(tmp_path: Path, make: Any, rebuild: bool) -> None:
    path = tmp_path / "mine"
    make(path)
    data, status = path.read_bytes(), path.stat()
    with pytest.raises(IndexFileError, match="not an embedge index, so it is left alone"):
        SearchIndex(path, Words(), rebuild=rebuild)
    assert path.read_bytes() == data
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rebuild", [False, True])
def test_places_where_no_index_can_be(tmp_path: Path, rebuild: bool) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path, tmp_path / "link", Path("/dev/null"), Path("/dev/zero")):
        with pytest.raises(IndexFileError, match="not an embedge index"):
            SearchIndex(path, Words(), rebuild=rebuild)
    for path in (tmp_path / "no" / "folder", tmp_path / ("x" * 300)):
        with pytest.raises(IndexFileError, match="cannot be opened"):
            SearchIndex(path, Words(), rebuild=rebuild)
    assert not (tmp_path / "no").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_a_pipe_in_place_of_a_journal(tmp_path: Path, whole: bytes, suffix: str) -> None:
    os.mkfifo(tmp_path / f"index{suffix}")  # SQLite would wait for it
    for rebuild in (False, True):
        with pytest.raises(IndexFileError, match=rf"index{suffix}, .* a pipe.*remove it"):
            SearchIndex(tmp_path / "index", Words(), rebuild=rebuild)
    assert (tmp_path / "index").read_bytes() == whole


def test_an_empty_file_is_filled(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "index").touch()
    with SearchIndex(tmp_path / "index", Words()) as index:
        assert index.update(folder).added == 6


@pytest.mark.parametrize(
    "attack",
    [
        "DROP TABLE vectors",
        "CREATE TABLE more (x)",
        "CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM files; END",
        "CREATE VIEW v AS SELECT 1",
        "ALTER TABLE places ADD COLUMN x",
    ],
)
def test_other_tables_than_ours(tmp_path: Path, folder: Path, whole: bytes, attack: str) -> None:
    path = database(tmp_path / "index", attack)
    with pytest.raises(IndexFileError, match=r"its tables are not ours.*--rebuild"):
        SearchIndex(path, Words())
    with SearchIndex(path, Words(), rebuild=True) as index:
        assert index.update(folder).added == 6
        assert index.search(QUERY, top_k=99) == fresh(folder, Words(), QUERY)


ONE = "(SELECT passage FROM places ORDER BY file LIMIT 1)"
FIRST = "(SELECT min(file) FROM places)"
SWAP = (
    "CREATE TEMP TABLE held AS SELECT * FROM vectors ORDER BY id LIMIT 2",
    "DELETE FROM vectors WHERE id IN (SELECT id FROM held)",
    "INSERT INTO vectors SELECT (SELECT sum(id) FROM held) - id, checksum, vector FROM held",
)


@pytest.mark.parametrize(
    "attack",
    [
        ("UPDATE vectors SET vector = x'00'",),
        ("UPDATE vectors SET vector = 'sixteen letters!'",),
        ("UPDATE vectors SET vector = x'0000c07f0000c07f0000c07f0000c07f'",),  # NaN
        ("UPDATE vectors SET vector = x'0000807f000000000000000000000000'",),  # infinity
        # Of another length: it would be the first of all hits, its score cut to 1.
        (f"UPDATE vectors SET vector = x'0000c842000000000000000000000000' WHERE id = {ONE}",),
        # Of length 1, but another vector.
        (f"UPDATE vectors SET vector = x'0000803f000000000000000000000000' WHERE id = {ONE}",),
        (f"UPDATE vectors SET checksum = checksum + 1 WHERE id = {ONE}",),
        (f"UPDATE vectors SET checksum = 'text' WHERE id = {ONE}",),
        (f"DELETE FROM vectors WHERE id = {ONE}",),
        SWAP,
        (f"UPDATE passages SET text = 'other words' WHERE id = {ONE}",),
        (f"UPDATE passages SET text = CAST(text AS BLOB) WHERE id = {ONE}",),
        (f"UPDATE passages SET text = CAST(x'ff' AS TEXT) WHERE id = {ONE}",),
        (f"UPDATE passages SET digest = randomblob(16) WHERE id = {ONE}",),
        (f"UPDATE passages SET digest = 5 WHERE id = {ONE}",),
        (f"DELETE FROM passages WHERE id = {ONE}",),
        (f"UPDATE places SET line = 'x' WHERE file = {FIRST}",),
        (f"UPDATE places SET passage = x'00' WHERE file = {FIRST}",),
        ("UPDATE files SET path = 5 WHERE id = 1",),
        ("UPDATE files SET path = 'text' WHERE id = 1",),
        ("UPDATE files SET kind = 'sound' WHERE id = 1",),
        ("UPDATE files SET kind = 'image' WHERE id = 1",),
        ("UPDATE files SET digest = 5 WHERE id = 1",),
        ("UPDATE files SET stamp = 5 WHERE id = 1",),
    ],
)
@pytest.mark.parametrize("first", ["search", "update"])
def test_rows_that_are_not_what_they_were_are_made_again(
    tmp_path: Path, folder: Path, whole: bytes, attack: tuple[str, ...], first: str
) -> None:
    """A search says so and forgets them, the next update embeds them again, and all is right."""
    path = database(tmp_path / "index", *attack)
    assert path.read_bytes() != whole
    embedder = Words()
    with SearchIndex(path, embedder) as index:
        if first == "update":
            index.update(folder)
        for _ in range(3):
            try:
                hits = index.search(QUERY, top_k=99)
            except IndexRowsError as error:
                assert "update it" in str(error)  # noqa: PT017
            else:
                if hits == fresh(folder, Words(), QUERY):
                    break
            index.update(folder)
        else:
            pytest.fail("it is not right again")
        assert index.search(QUERY, top_k=99, path=folder) == hits
    content(path)
    texts = 5 + 7  # of the folder
    assert len(embedder.embedded) < texts or attack[0].startswith("UPDATE vectors SET vector = ")


def test_a_vector_that_could_not_be_found_is_not_kept(tmp_path: Path, folder: Path) -> None:
    class Short(Words):
        def encode_document(self, texts: Any, **options: Any) -> Any:
            return 0.5 * super().encode_document(texts, **options)

    with SearchIndex(None, Short()) as index, pytest.raises(NonFiniteError, match="of length 1"):
        index.update(folder)


def test_a_damaged_index_that_cannot_be_written(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database(tmp_path / "index", f"DELETE FROM vectors WHERE id = {ONE}")
    real = sqlite3.connect
    monkeypatch.setattr(
        "embedge.search.database.sqlite3.connect",
        lambda path, **options: real(f"{path.as_uri()}?mode=ro", uri=True, **options),
    )
    with (
        SearchIndex(path, Words()) as index,
        pytest.raises(IndexFileError, match=r"is damaged \(passages of a file are not.*--rebuild"),
    ):
        index.search(QUERY)


@pytest.mark.parametrize("size", [1, 71, 72, 100, 4096, 16384, 20000, 50000])
def test_truncated(tmp_path: Path, folder: Path, whole: bytes, size: int) -> None:
    path = tmp_path / "index"
    assert size < len(whole)
    path.write_bytes(whole[:size])
    with pytest.raises(IndexFileError, match="delete it"):
        use(path, folder)
    if size < 72:
        with pytest.raises(IndexFileError, match="not an embedge index"):
            SearchIndex(path, Words(), rebuild=True)
        return
    with SearchIndex(path, Words(), rebuild=True) as index:
        index.update(folder)
        assert index.search(QUERY, top_k=99) == fresh(folder, Words(), QUERY)
    content(path)


def use(path: Path, folder: Path, *, rebuild: bool = False) -> list[Any]:
    with SearchIndex(path, Words(), rebuild=rebuild) as index:
        index.update(folder)
        for hit in (hits := index.search(QUERY, top_k=99)):
            json.dumps([str(hit.path), hit.line, hit.text])
            assert isinstance(hit.text, str)
            vectors = Words().encode([hit.text, QUERY])
            assert hit.score == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-6)
        index.count(folder)
        return hits


@pytest.mark.parametrize("seed", range(60))
def test_any_damage_is_told_or_harmless(
    tmp_path: Path, folder: Path, whole: bytes, seed: int
) -> None:
    """Bytes overwritten anywhere: a named error or an answer; made anew, it is right again."""
    dice = random.Random(seed)
    data = bytearray(whole)
    used = [place for place, byte in enumerate(whole) if byte]  # most of the file is zeros
    for _ in range(dice.choice([1, 1, 3, 40, 400])):
        data[dice.choice(used)] = dice.randrange(256)
    if seed % 4:
        data[:100] = whole[:100]
    path = tmp_path / "index"
    path.write_bytes(data)
    with contextlib.suppress(SearchIndexError):
        use(path, folder)
    if path.read_bytes()[:100] != whole[:100]:
        return  # its header may say that it is something else
    assert use(path, folder, rebuild=True) == fresh(folder, Words(), QUERY)
    content(path)


def test_a_journal_left_by_a_damaged_index_is_not_applied_to_the_new_one(
    tmp_path: Path, folder: Path, whole: bytes
) -> None:
    path = tmp_path / "index"
    path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    (tmp_path / "index-journal").write_bytes(b"\xff" * 5000)
    assert use(path, folder, rebuild=True) == fresh(folder, Words(), QUERY)
    assert not (tmp_path / "index-journal").exists()
