"""An application's own records: added, replaced, removed, found by their metadata, never lost."""

import re
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge import OptionError, SearchIndex
from embedge.errors import CancelledError, IndexRowsError, InputError
from embedge.search import additions, database
from support.search_cases import BEFORE, Words, content, fresh, lay

NOTES: list[dict[str, Any]] = [
    {"id": "a", "text": "custard tarts", "metadata": {"lang": "en", "year": 2023, "tags": ["x"]}},
    {"id": "b", "text": "sick leave", "metadata": {"lang": "de", "year": 2024.0, "tags": ["x", 7]}},
    {"id": 3, "text": "charter tents", "metadata": {"lang": "en", "year": None, "deep": {"k": 1}}},
    {"id": "3", "text": "a longer text of words"},
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def index(tmp_path: Path, words: Words) -> Iterator[SearchIndex]:
    with SearchIndex(tmp_path / "index", words) as index:
        yield index


def counts(report: additions.AdditionReport) -> tuple[int, int, int]:
    return report.added, report.replaced, report.unchanged


def found(index: SearchIndex, **options: Any) -> set[Any]:
    return {hit.id for hit in index.search("custard tarts", top_k=99, **options)}


def held(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(count)


# --- added, replaced, removed -----------------------------------------------------------------


def test_records_are_found_with_their_id_and_metadata(index: SearchIndex) -> None:
    report = index.add(NOTES)
    assert (counts(report), report.refused) == ((4, 0, 0), ())
    hit = index.search("custard tarts")[0]
    assert (hit.id, hit.text, hit.path) == ("a", "custard tarts", None)
    assert (hit.metadata, hit.words) == (NOTES[0]["metadata"], ("custard", "tarts"))
    assert (hit.line, hit.passage) == (1, 1)
    assert hit.score == pytest.approx(1.0)
    ids = {hit.id: hit.metadata for hit in index.search("x", top_k=9)}
    assert ids == {note["id"]: note.get("metadata", {}) for note in NOTES}
    assert index.ids() == ["3", "a", "b", 3]


def test_an_id_that_is_there_is_replaced(index: SearchIndex, words: Words, tmp_path: Path) -> None:
    index.add(NOTES)
    words.calls.clear()
    report = index.add([NOTES[0], {"id": "b", "text": "paid holidays"}, {"id": 9, "text": "new"}])
    assert counts(report) == (1, 1, 1)
    assert words.embedded == ["paid holidays", "new"]
    assert "sick leave" not in [hit.text for hit in index.search("sick leave", top_k=9)]
    assert index.search("sick", mode="words") == []
    assert found(index, where={"lang": "de"}) == set()
    # Metadata alone: nothing is embedded.
    words.calls.clear()
    assert counts(index.add([{**NOTES[0], "metadata": {"lang": "pt"}}])) == (0, 1, 0)
    assert words.embedded == []
    assert found(index, where={"lang": "pt"}) == {"a"}
    assert held(tmp_path / "index", "passages") == held(tmp_path / "index", "vectors") == 5


def test_removed_records_leave_nothing(index: SearchIndex, tmp_path: Path) -> None:
    index.add(NOTES)
    assert index.remove(["a", 3, 3, "nobody", 10**30]) == 2
    assert index.ids() == ["3", "b"]
    assert found(index) == {"b", "3"}
    assert index.remove(index.ids()) == 2
    for table in ("files", "places", "passages", "vectors", "records", "fields", "words_docsize"):
        assert held(tmp_path / "index", table) == 0, table
    assert index.search("x") == []


def test_a_long_text_is_cut_into_passages(index: SearchIndex) -> None:
    text = "\n\n".join(f"{'y' * n} part {'word ' * 45}" for n in range(1, 5))
    index.add([{"id": 1, "text": text, "metadata": {"k": True}}])
    hits = index.search("part", top_k=9, mode="words")
    assert sorted((hit.passage, hit.line) for hit in hits) == [(1, 1), (2, 3), (3, 5), (4, 7)]
    assert {hit.id for hit in hits} == {1}
    assert all(hit.text == text.split("\n\n")[hit.passage - 1].strip() for hit in hits)
    index.add([{"id": 1, "text": "short"}])
    assert [hit.text for hit in index.search("part", top_k=9)] == ["short"]


def test_equal_texts_are_embedded_once_and_are_hits_of_their_own(
    index: SearchIndex, words: Words, tmp_path: Path
) -> None:
    lay(tmp_path / "docs", {"1.txt": b"equal words", "2.txt": b"equal words"})
    index.add([{"id": n, "text": "equal words", "metadata": {"n": n}} for n in range(3)])
    index.update(tmp_path / "docs")
    assert words.embedded == ["equal words"]
    hits = index.search("equal words")
    assert [(hit.id, hit.metadata) for hit in hits[:3]] == [(n, {"n": n}) for n in range(3)]
    assert hits[3].path == tmp_path / "docs" / "1.txt"
    assert hits[3].also == ((tmp_path / "docs" / "2.txt", 1),)
    assert len(hits) == 4
    assert len(index.search("equal words", top_k=2)) == 2
    (hit,) = index.search("equal words", where={"n": 1})
    assert hit.id == 1
    index.remove(range(3))
    (hit,) = index.search("equal words")
    assert hit.path is not None


def test_any_number_of_records_comes_in_batches(index: SearchIndex, words: Words) -> None:
    seen: list[int] = []
    values = ({"id": n, "text": f"number {'z' * (n % 50)}{n}"} for n in range(1300))
    assert counts(index.add(values, progress=seen.append)) == (1300, 0, 0)
    assert seen == [512, 1024, 1300]
    assert max(len(call["texts"]) for call in words.calls) <= 512
    assert len(index.ids()) == 1300
    assert counts(index.add([{"id": 1, "text": "one"}, {"id": 1, "text": "two"}])) == (0, 1, 0)
    assert [hit.text for hit in index.search("two", mode="words")] == ["two"]


# --- bad records ------------------------------------------------------------------------------

BAD = [
    (7, r"it is 7; a record is {\"id\""),
    ({"text": "x"}, "a record's id is None; it must be a str or an int"),
    ({"id": True, "text": "x"}, "a record's id is True"),
    ({"id": 1.5, "text": "x"}, "a record's id is 1.5"),
    ({"id": 1}, "id 1: its text is None; it must be a str"),
    ({"id": "n", "text": " \n"}, "id 'n': its text is empty"),
    ({"id": 1, "text": "x", "lang": "en"}, "'lang' is not a key of a record; put it into its meta"),
    ({"id": 1, "text": "x", "metadata": [1]}, r"id 1: its metadata is \[1\]; it must be a dict"),
    ({"id": 1, "text": "x", "metadata": {1: 2}}, "it must be a dict of str"),
    ({"id": 1, "text": "x", "metadata": {"a": {2}}}, "cannot be written as JSON"),
    ({"id": 1, "text": "x", "metadata": {"a": float("nan")}}, "cannot be written as JSON"),
    ({"id": 1, "text": "x" * (8 * 2**20 + 1)}, "more than 8,388,608 characters; split it"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_a_bad_record_does_not_keep_the_others_out(
    index: SearchIndex, bad: Any, reason: str
) -> None:
    report = index.add([{"id": "first", "text": "x"}, bad, {"id": "last", "text": "y"}])
    assert counts(report) == (2, 0, 0)
    ((place, told),) = report.refused
    assert place == 1
    assert re.search(reason, told)
    assert index.ids() == ["first", "last"]


def test_a_passage_that_cannot_be_embedded_refuses_its_record_alone(
    index: SearchIndex, words: Words, tmp_path: Path
) -> None:
    index.add([{"id": 2, "text": "before"}])
    encode = words.encode_document

    def picky(texts: Any, *, on_error: Any, **options: Any) -> Any:
        vectors = encode(texts, **options)
        for number, text in enumerate(texts):
            if "bad" in text:
                vectors[number] = np.nan
                on_error(number, "the network gave NaN")
        return vectors

    words.encode_document = picky  # type: ignore[method-assign, assignment]
    long = "good " * 50
    records = [{"id": n, "text": f"{long}{n}\n\nmore"} for n in (1, 3)]
    records[1:1] = [{"id": 2, "text": f"{long}2\n\nbad {long}"}]
    report = index.add(records)
    assert report.refused == ((1, "line 3 of its text: the network gave NaN"),)
    assert counts(report) == (2, 0, 0)
    assert [hit.text for hit in index.search("before", mode="words")] == ["before"]
    assert set(index.ids()) == {1, 2, 3}
    connection = sqlite3.connect(tmp_path / "index")
    unused = "SELECT count(*) FROM passages WHERE id NOT IN (SELECT passage FROM places)"
    assert connection.execute(unused).fetchone() == (0,)
    connection.close()


def test_what_is_no_list_of_records(index: SearchIndex) -> None:
    for value in ({"id": 1, "text": "x"}, "text", None, 3):
        with pytest.raises(InputError, match=r"records is .*pass a list of"):
            index.add(value)
    for value in ("a", 3, None):
        with pytest.raises(InputError, match=r"ids is .*; pass a list"):
            index.remove(value)
    with pytest.raises(InputError, match="a record's id is None"):
        index.remove(["a", None])  # type: ignore[list-item]


def test_odd_ids_and_texts(index: SearchIndex) -> None:
    odd = ["", "\0", "\ud800", "é" * 500, "../x", np.int64(5), -1, 10**25]
    index.add([{"id": value, "text": f"text\ud800 {n}"} for n, value in enumerate(odd)])
    assert set(index.ids()) == {*odd}
    assert {hit.text[:6] for hit in index.search("text", top_k=9)} == {"text\ufffd "}
    assert index.remove(odd) == len(odd)


# --- by metadata ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"lang": "en"}, {"a", 3}),
        ({"lang": ["en", "de"]}, {"a", "b", 3}),
        ({"lang": "en", "year": [2023, 2024]}, {"a"}),
        ({"year": 2024}, {"b"}),
        ({"year": 2023.0}, {"a"}),
        ({"year": None}, {3}),
        ({"year": "2023"}, set()),
        ({"tags": "x"}, {"a", "b"}),
        ({"tags": [7, "y"]}, {"b"}),
        ({"lang": []}, set()),
        ({"nothing": 1}, set()),
        ({"deep": None}, set()),
        ({"lang": "en' OR '1"}, set()),
        ({}, {"a", "b", 3, "3"}),
    ],
)
@pytest.mark.parametrize("mode", ["hybrid", "vectors"])
def test_where(index: SearchIndex, tmp_path: Path, where: Any, ids: Any, mode: Any) -> None:
    index.add(NOTES)
    assert found(index, where=where, mode=mode) == ids
    index.update(lay(tmp_path / "docs", {"file.txt": b"custard tarts"}))
    assert found(index, where=where, mode=mode) == ids | ({None} if not where else set())


def test_bad_conditions(index: SearchIndex, tmp_path: Path) -> None:
    index.add(NOTES)
    for where, told in (
        (["lang"], r"where is \['lang'\]; pass"),
        ({1: 2}, "names a field 1; it must be a str"),
        ({"a": {"b": 1}}, r"where\['a'\] is .*; pass a str, a number"),
        ({"a": [[1]]}, r"where\['a'\] is .*; pass a str, a number"),
    ):
        with pytest.raises(OptionError, match=told):
            index.search("x", where=where)
    for other in ({"path": tmp_path}, {"include": ["*.md"]}, {"exclude": ["*.md"]}):
        with pytest.raises(OptionError, match="where is about records, and path, include and"):
            index.search("x", where={"lang": "en"}, **other)


# --- beside files -----------------------------------------------------------------------------


def test_files_and_records_do_not_disturb_each_other(
    index: SearchIndex, words: Words, tmp_path: Path
) -> None:
    folder = lay(tmp_path / "docs", BEFORE)
    index.add([*NOTES, {"id": "shared", "text": "these words stay"}])
    report = index.update(folder)
    assert (report.added, report.removed) == (6, 0)
    assert index.count() == (6, 12)
    assert index.search("words", top_k=99, path=folder) == fresh(folder, Words(), "words")
    assert index.search("words", top_k=99, path="/") == fresh(folder, Words(), "words")
    assert all(hit.path for hit in index.search("words", top_k=99, include=["*.txt"]))
    assert all(hit.path for hit in index.search("words", top_k=99, exclude=["*.md"]))
    assert len(index.search("words", top_k=99)) == 12 + 5
    lay(folder, dict.fromkeys(BEFORE))
    assert index.update(folder).removed == 6
    assert index.count() == (0, 0)
    assert len(index.ids()) == 5
    assert "shared" in found(index)
    lay(folder, BEFORE)
    index.update(folder)
    assert index.remove(index.ids()) == 5
    assert index.search("words", top_k=99) == fresh(folder, Words(), "words")
    content(tmp_path / "index")


# --- stopped, damaged -------------------------------------------------------------------------


class Failing(database.Connection):
    left = 0

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        if not arguments[0].startswith(("SELECT", "PRAGMA")):
            type(self).left -= 1
            if self.left == 0:
                raise sqlite3.OperationalError("disk I/O error")
        return super().execute(*arguments)


@pytest.mark.parametrize("work", ["add", "remove"])
def test_a_batch_is_kept_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    monkeypatch.setattr(database, "Connection", Failing)
    stopped = 0
    new: list[dict[str, Any]] = [
        {"id": "a", "text": "other words", "metadata": {"n": 1}},
        {"id": "new", "text": "more"},
    ]
    while True:
        path = tmp_path / str(stopped)
        with SearchIndex(path, Words()) as index:
            index.add(NOTES)
            before = {hit.id: hit.text for hit in index.search("x", top_k=9)}
            Failing.left = stopped + 1
            try:
                if work == "add":
                    index.add(new)
                else:
                    index.remove(["a", 3])
            except database.SearchIndexError:
                stopped += 1
            else:
                break
            finally:
                Failing.left = 0
            after = {hit.id: hit.text for hit in index.search("x", top_k=9)}
            whole = before | {note["id"]: note["text"] for note in new}
            assert after == before or (work == "add" and after == whole)
            index.add(new)
            assert "other words" in {hit.text for hit in index.search("x", top_k=9)}
    assert stopped > 8


def test_cancel_keeps_whole_batches(index: SearchIndex) -> None:
    cancel = threading.Event()
    values = ({"id": n, "text": f"number {n}"} for n in range(2000))
    with pytest.raises(CancelledError):
        index.add(values, progress=lambda done: cancel.set(), cancel=cancel)
    assert len(index.ids()) == 512


@pytest.mark.parametrize(
    "attack",
    [
        'UPDATE records SET metadata = \'{"lang": "xx"}\' WHERE file = 1',
        "UPDATE records SET metadata = x'00' WHERE file = 1",
        "DELETE FROM records WHERE file = 1",
        "UPDATE passages SET text = 'other' WHERE text = 'custard tarts'",
        "UPDATE vectors SET checksum = 0 WHERE id = 1",
    ],
)
def test_a_damaged_record_is_named_and_forgotten(tmp_path: Path, attack: str) -> None:
    path = tmp_path / "index"
    with SearchIndex(path, Words()) as index:
        index.add(NOTES)
    connection = sqlite3.connect(path)
    connection.execute(attack)
    connection.commit()
    connection.close()
    with SearchIndex(path, Words()) as index:
        with pytest.raises(IndexRowsError, match="add the records 'a' again"):
            index.search("custard tarts", top_k=9)
        assert set(index.ids()) == {"b", 3, "3"}
        index.add([NOTES[0]])
        assert index.search("custard tarts")[0].metadata == NOTES[0]["metadata"]


def test_two_add_at_once(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(start: int) -> None:
        try:
            with SearchIndex(tmp_path / "index", Words()) as own:
                for first in range(start, start + 200, 20):
                    own.add({"id": n, "text": f"same {n % 7}"} for n in range(first, first + 20))
                    own.remove([first])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with SearchIndex(tmp_path / "index", Words()) as index:
        assert len(index.ids()) == 3 * 190
        assert len(index.search("same", top_k=2000)) == 3 * 190
