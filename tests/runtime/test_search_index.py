"""`SearchIndex`: finds what a fresh index would find, embeds only what is new, mixes nothing."""

import dataclasses
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedge import Embedder, SearchIndex
from embedge.errors import (
    CancelledError,
    ClosedError,
    IndexOutdatedError,
    InputError,
    OptionError,
)
from embedge.search import UpdateProgress, UpdateReport, files, passages, update
from embedge.search.hits import Mode
from support.search_cases import AFTER, BEFORE, Words, content, fresh, lay

QUERY = "these words stay"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedge.search.database.SYNCHRONOUS", "OFF")


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay(tmp_path / "docs", BEFORE)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stamps are trusted at once, as if the files were older."""
    monkeypatch.setattr(files, "SETTLED_AFTER", -(10**18))


@pytest.fixture
def index(tmp_path: Path, words: Words) -> Iterator[SearchIndex]:
    with SearchIndex(tmp_path / "index.sqlite", words) as index:
        yield index


def changed(report: UpdateReport) -> tuple[int, int, int, int]:
    return report.added, report.updated, report.removed, report.unchanged


@pytest.mark.parametrize("trusted", [True, False])
def test_an_update_embeds_what_is_new_and_nothing_else(
    index: SearchIndex, words: Words, folder: Path, request: pytest.FixtureRequest, trusted: bool
) -> None:
    if trusted:
        request.getfixturevalue("settled")
    first = index.update(folder)
    assert changed(first) == (6, 0, 0, 0)
    assert first.refused == ((folder / "becomes.txt", "binary, no text"),)
    words.calls.clear()
    assert changed(index.update(folder)) == (0, 0, 0, 6)
    assert words.calls == []
    lay(folder, AFTER)
    second = index.update(folder)
    # becomes.bin is refused now, neither changed nor gone; becomes.txt is new.
    assert changed(second) == (4, 2, 2, 1)
    assert second.refused == ((folder / "becomes.bin", "binary, no text"),)
    # Neither the file that moved nor the parts of long.txt that stayed were embedded again.
    assert len(words.embedded) == 5
    assert "a file that moves" not in words.embedded
    assert index.search(QUERY, top_k=100) == fresh(folder, words, QUERY)
    assert index.count() == (7, 13)


def test_unchanged_files_are_not_even_read(index, folder, settled, monkeypatch) -> None:
    index.update(folder)

    def refuse(path: Path) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(update, "read", refuse)
    assert index.update(folder).unchanged == 6


def test_a_new_stamp_is_renewed_without_embedding(index, words, folder, settled) -> None:
    index.update(folder)
    words.calls.clear()
    for path in folder.rglob("*.txt"):
        os.utime(path, (10**9, 10**9))
    assert index.update(folder).unchanged == 6
    assert words.calls == []
    test = index.update  # the new stamps are remembered: nothing is read now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(update, "read", None)
        assert test(folder).unchanged == 6


def test_a_file_written_twice_in_one_tick_is_seen(index, words, tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("aaa")
    status = path.stat()
    index.update(path)
    path.write_text("a a")  # as long, and with the same times
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert index.update(path).updated == 1


def test_equal_passages_are_embedded_once(index, words, tmp_path) -> None:
    for name in "abc":
        (tmp_path / name).write_text("a header in every file")
    index.update(tmp_path)
    assert words.embedded == ["a header in every file"]
    (hit,) = index.search("a header in every")  # and are one hit
    assert (hit.path.name, hit.line) == ("a", 1)
    assert hit.also == ((tmp_path / "b", 1), (tmp_path / "c", 1))
    (tmp_path / "a").unlink()
    index.update(tmp_path)
    (hit,) = index.search("a header in every")
    assert (hit.path.name, hit.also) == ("b", ((tmp_path / "c", 1),))
    (hit,) = index.search("a header in every", path=tmp_path / "c")
    assert (hit.path.name, hit.also) == ("c", ())


def test_many_small_files_share_a_run_and_a_large_one_takes_several(
    index, words, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(update, "FEWEST", 8)
    monkeypatch.setattr(update, "MOST", 8)
    for number in range(20):
        (tmp_path / f"{number:02}").write_text(f"file {'x' * (number + 1)}")
    (tmp_path / "large").write_text("\n\n".join("y" * (n + 1) + " z" * 600 for n in range(30)))
    index.update(tmp_path)
    sizes = [len(call["texts"]) for call in words.calls]
    assert max(sizes) == 8
    assert sizes[:2] == [8, 8]
    assert len(sizes) <= (20 + 60) / 8 + 3
    assert index.search("y z z z", top_k=99) == fresh(tmp_path, words, "y z z z")


def test_a_slow_model_gets_small_chunks(index, words, tmp_path, monkeypatch) -> None:
    """A kill costs seconds, not the hour that 512 passages may take."""
    moment = 0.0
    monkeypatch.setattr("embedge.search.pace.time.monotonic", lambda: moment)
    encode = words.encode

    def slow(texts: Any, **options: Any) -> Any:
        nonlocal moment
        moment += len(texts) * (1.0 if len(words.calls) < 2 else 0.05)
        return encode(texts, **options)

    monkeypatch.setattr(words, "encode", slow)
    for number in range(600):
        (tmp_path / f"{number:03}").write_text(f"file {number}")
    index.update(tmp_path)
    assert [len(call["texts"]) for call in words.calls] == [64, 64, 64, 200, 120, 88]


def test_a_path_alone_is_updated_and_searched(index, words, tmp_path) -> None:
    for name in ("a/1", "a/2", "a-b/3", "ab/4", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"one word {name[-1]}")  # vectors of one direction
    index.update(tmp_path)
    for name in ("a/1", "ab/4"):
        (tmp_path / name).unlink()
    assert changed(index.update(tmp_path / "a")) == (0, 0, 1, 1)
    assert [hit.path.name for hit in index.search("one word")] == ["3", "a.txt", "2", "4"]
    assert [hit.path.name for hit in index.search("one word", path=tmp_path / "a")] == ["2"]
    assert index.count(tmp_path / "a") == (1, 1)
    assert [hit.path.name for hit in index.search("x", path=tmp_path / "a.txt")] == ["a.txt"]
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert [hit.path.name for hit in index.search("x", path=tmp_path / "link")] == ["2"]
    assert len(index.search("x", path="/")) == 4


def test_a_folder_that_becomes_a_file_and_back(index, tmp_path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "a").write_text("inside")
    index.update(place)
    shutil.rmtree(place)
    place.write_text("alone")
    assert changed(index.update(place)) == (1, 0, 1, 0)
    assert [hit.text for hit in index.search("x")] == ["alone"]
    place.unlink()
    place.mkdir()
    assert changed(index.update(place)) == (0, 0, 1, 0)
    assert index.search("x") == []


def test_names_that_are_no_unicode_are_found_again(index, words, tmp_path, settled) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    try:
        (tmp_path / name).write_text("odd name")
    except (OSError, UnicodeError):
        pytest.skip("this system wants Unicode names")
    index.update(tmp_path)
    (hit,) = index.search("odd name")
    assert hit.path.read_text() == "odd name"
    assert index.update(tmp_path).unchanged == 1
    (tmp_path / name).unlink()
    assert index.update(tmp_path).removed == 1


def test_files_that_cannot_be_read_are_told_and_tried_again(index, folder, monkeypatch) -> None:
    index.update(folder)
    real = update.read

    def fail(path: Path, *, most: int) -> files.Content:
        if path.name == "same.txt":
            raise files.RefusedError("it is being written to; it is tried again next time")
        return real(path, most=most)

    monkeypatch.setattr(update, "read", fail)
    report = index.update(folder)
    assert changed(report) == (0, 0, 0, 5)
    assert (folder / "same.txt", "it is being written to; it is tried again next time") in (
        report.refused
    )
    assert "same.txt" not in [hit.path.name for hit in index.search(QUERY, top_k=99)]
    monkeypatch.setattr(update, "read", real)
    assert changed(index.update(folder)) == (1, 0, 0, 5)


def test_an_index_in_the_folder_is_not_searched(words, tmp_path) -> None:
    (tmp_path / "a").write_text("text")
    with SearchIndex(tmp_path / "index", words) as index:
        for _ in range(2):
            report = index.update(tmp_path)
            assert report.refused == ()
            assert report.added + report.unchanged == 1


# --- the same hits as a fresh index -----------------------------------------------------------

NAMES = ["a.txt", "a-b", "a/x", "a/y.md", "b", os.fsdecode(b"caf\xe9")]
TEXTS = st.sampled_from(
    [b"", b"aa b", b"a bb", b"aaa", b"\0", b"\xff", b"aa b\n\n" + b"cc d " * 80, b"bb " * 500]
)
STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), TEXTS),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("update"), st.sampled_from(["", "a"]), st.none()),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=25), st.integers(1, 4), st.integers(1, 9))
def test_after_any_history_it_finds_what_a_fresh_index_finds(
    steps: list[tuple[str, str, Any]], chunk: int, top_k: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        pytest.MonkeyPatch.context() as patch,
        SearchIndex(Path(name) / "index", Words()) as index,
    ):
        patch.setattr(update, "FEWEST", chunk)
        patch.setattr(update, "MOST", chunk)
        folder = Path(name) / "docs"
        folder.mkdir()
        for kind, target, value in steps:
            path = folder / target
            (folder / "a").mkdir(exist_ok=True)
            if kind == "write":
                path.write_bytes(value)
            elif kind == "delete":
                path.unlink(missing_ok=True)
            elif kind == "rename" and path.exists():
                path.replace(folder / value)
            elif kind == "update":
                index.update(path)
        report = index.update(folder)
        words = Words()
        for query, mode in itertools.product(("aa b", "bb", "cc d cc d"), get_args(Mode)):
            hits = index.search(query, top_k=top_k, mode=mode)
            assert hits == fresh(folder, words, query, top_k=top_k, mode=mode)
            every = fresh(folder, words, query, mode=mode)
            assert hits == every[:top_k]
            if mode == "vectors":
                order = [(-hit.score, os.fsencode(hit.path), hit.line) for hit in every]
                assert order == sorted(order)
            texts = [hit.text for hit in every]
            assert len(texts) == len(set(texts))
        held = content(Path(name) / "index")
        assert len(held) == report.added + report.updated + report.unchanged


@pytest.mark.parametrize("rows", [1, 3, 4096])
def test_a_search_is_exact_whatever_is_read_at_a_time(words, tmp_path, monkeypatch, rows) -> None:
    monkeypatch.setattr("embedge.search.nearest.ROWS", rows)
    random = np.random.default_rng(0)
    vectors = random.standard_normal((200, 4)).astype(np.float32)
    vectors[50:60] = vectors[7]  # ties
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    monkeypatch.setattr(
        words,
        "encode_document",
        lambda texts, **_: vectors[[int(text.split()[0]) for text in texts]],
    )
    monkeypatch.setattr(words, "encode_query", lambda *_, **__: vectors[7])
    for number in range(200):
        (tmp_path / f"{number:03}").write_text(f"{number} text")
    with SearchIndex(None, words) as index:
        index.update(tmp_path)
        names = [int(hit.path.name) for hit in index.search("x", top_k=25)]
        scores = [hit.score for hit in index.search("x", top_k=1000)]
    assert names[:11] == [7, *range(50, 60)]
    expected = np.argsort(-(vectors.astype(np.float64) @ vectors[7]), kind="stable")[:25]
    assert set(names) == set(expected.tolist())
    assert len(scores) == 200
    assert scores == sorted(scores, reverse=True)
    assert scores[0] <= 1.0


# --- never mixed ------------------------------------------------------------------------------


def other(**changes: Any) -> Words:
    embedder = Words()
    for name, value in changes.items():
        setattr(embedder, name, value)
    return embedder


HASHES = {name: dataclasses.replace(e, sha256="1" * 64) for name, e in Words.manifest.files.items()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"manifest": dataclasses.replace(Words.manifest, files=HASHES)},
            "model changed: fake/wor",
        ),
        ({"manifest": dataclasses.replace(Words.manifest, model_id="new")}, "model changed: fake"),
        (
            {"manifest": dataclasses.replace(Words.manifest, prompts={"document": "Text: "})},
            "model changed",
        ),
        ({"precision": "fp16"}, "model changed"),
        ({"max_length": 7}, "longest text changed: 9 tokens -> 7 tokens"),
        ({"device": "cuda"}, "device changed: cpu -> cuda"),
    ],
)
def test_another_model_is_told_and_nothing_is_mixed(index, folder, tmp_path, change, told) -> None:
    index.update(folder)
    before = content(tmp_path / "index.sqlite")
    with pytest.raises(IndexOutdatedError, match=told) as caught:
        SearchIndex(tmp_path / "index.sqlite", other(**change))
    assert caught.value.change.startswith(told[:13])
    assert content(tmp_path / "index.sqlite") == before
    with SearchIndex(tmp_path / "index.sqlite", other(**change), rebuild=True) as again:
        assert again.count() == (0, 0)
        assert again.update(folder).added == 6
        assert content(tmp_path / "index.sqlite") == before
        with pytest.raises(IndexOutdatedError, match="changed"):  # the one that was open before
            index.update(folder)
        with pytest.raises(IndexOutdatedError, match="changed"):
            index.search("x")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"task": "text-matching"}, "task changed: retrieval -> text-matching"),
        ({"truncate_dim": 2}, "width changed: 4 -> 2"),
    ],
)
def test_other_options_make_other_vectors(index, words, folder, tmp_path, option, told) -> None:
    index.update(folder)
    with pytest.raises(IndexOutdatedError, match=told):
        SearchIndex(tmp_path / "index.sqlite", words, **option)
    with SearchIndex(tmp_path / "index.sqlite", words, **option, rebuild=True) as again:
        again.update(folder)
        assert words.calls[-1]["task"] == option.get("task", "retrieval")
        assert len(again.search("word")) == 5


def test_other_passages_and_formats(index, words, tmp_path, monkeypatch) -> None:
    for module, name, told in (
        ("meaning", "SPLITTING", "splitting changed: 1 -> 99"),
        ("schema", "FORMAT_VERSION", "format changed: 5 -> 99"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"embedge.search.{module}.{name}", 99)
            with pytest.raises(IndexOutdatedError, match=told):
                SearchIndex(tmp_path / "index.sqlite", words)
    assert passages.SPLITTING == 1
    SearchIndex(tmp_path / "index.sqlite", words).close()


def test_an_index_is_kept_across_an_upgrade_of_the_runtime_and_says_so(
    tmp_path, monkeypatch
) -> None:
    folder, embedder = lay(tmp_path / "docs", BEFORE), Words()
    with SearchIndex(tmp_path / "index", embedder) as index:
        assert index.runtimes == ()
        for version in ("1.31.0", "1.31.0"):
            monkeypatch.setattr("embedge.search.index.runtime_version", lambda v=version: v)
            index.update(folder)
            assert index.runtimes == ("1.31.0",)
    before = len(embedder.embedded)
    monkeypatch.setattr("embedge.search.index.runtime_version", lambda: "1.32.0")
    with SearchIndex(tmp_path / "index", embedder) as index:
        index.update(folder)  # nothing is new
        assert index.runtimes == ("1.31.0",)
        lay(folder, {"new.txt": b"a file of its own"})
        index.update(folder)
        assert index.runtimes == ("1.31.0", "1.32.0")
    assert embedder.embedded[before:] == ["a file of its own"]
    with SearchIndex(tmp_path / "index", embedder, rebuild=True) as index:
        index.update(folder)
        assert index.runtimes == ("1.32.0",)


def test_an_alias_of_the_same_task_is_the_same(index, words, tmp_path) -> None:
    for task in (None, "retrieval", "retrieval.passage"):
        SearchIndex(tmp_path / "index.sqlite", words, task=task).close()
    with pytest.raises(OptionError, match="task 'nonsense'"):
        SearchIndex(tmp_path / "other", words, task="nonsense")
    with pytest.raises(OptionError, match="truncate_dim"):
        SearchIndex(tmp_path / "other", words, truncate_dim=5)
    assert not (tmp_path / "other").exists()


def test_with_a_real_pack(make_pack: Callable[..., Path], tmp_path: Path) -> None:
    folder = lay(tmp_path / "docs", BEFORE)
    one = make_pack("one", precisions=("fp32", "int8"), max_length=4096)
    with (
        Embedder(one, precision="fp32") as embedder,
        SearchIndex(tmp_path / "index", embedder) as index,
    ):
        assert index.update(folder).added == 6
        hit = index.search("soon away", top_k=1)[0]
        expected = embedder.similarity(
            embedder.encode_document(hit.text), embedder.encode_query("soon away")
        )
        assert hit.score == pytest.approx(float(expected[0, 0]), abs=1e-6)
        lay(folder, AFTER)
        index.update(folder)
        assert index.search("soon", top_k=99) == fresh(folder, embedder, "soon")
    with Embedder(one, precision="int8") as embedder:
        with pytest.raises(IndexOutdatedError, match="model changed"):
            SearchIndex(tmp_path / "index", embedder)
        SearchIndex(tmp_path / "index", embedder, rebuild=True).close()
    with Embedder(one, precision="int8") as embedder:
        SearchIndex(tmp_path / "index", embedder).close()
    two = make_pack("two", precisions=("fp32", "int8"), constants=(-1, 0.5, -0.5, 0, 2))
    with Embedder(two, precision="int8") as embedder, pytest.raises(IndexOutdatedError):
        SearchIndex(tmp_path / "index", embedder)


def test_the_kernel_of_int8_counts(tmp_path, monkeypatch) -> None:
    from embedge.choice import Choice

    kernel = "uint8 x int8"
    monkeypatch.setattr("embedge.search.meaning.integer_kernel", lambda: Choice(kernel, ""))
    SearchIndex(tmp_path / "index", other(precision="int8")).close()
    kernel = "uint8 x uint8"
    told = "device changed: cpu, uint8 x int8 -> cpu, uint8 x uint8"
    with pytest.raises(IndexOutdatedError, match=told):
        SearchIndex(tmp_path / "index", other(precision="int8"))


# --- the rest of the contract -----------------------------------------------------------------


def test_progress_tells_of_files_and_passages(index, folder, monkeypatch) -> None:
    monkeypatch.setattr(update, "FEWEST", 2)
    monkeypatch.setattr(update, "MOST", 2)
    states: list[UpdateProgress] = []
    index.update(folder, progress=states.append)
    fractions = [state.fraction for state in states]
    assert fractions == sorted(fractions)
    assert states[-1] == UpdateProgress(files=7, files_total=7, passages=12, fraction=1.0)
    assert [state.passages for state in states] == sorted(state.passages for state in states)
    assert len(states) > 6


def test_cancel_keeps_what_is_done(index, words, folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(update, "FEWEST", 2)
    monkeypatch.setattr(update, "MOST", 2)
    cancel = threading.Event()

    def stop(state: UpdateProgress) -> None:
        if state.passages >= 6:
            cancel.set()

    with pytest.raises(CancelledError, match="is kept in the index"):
        index.update(folder, progress=stop, cancel=cancel)
    done = len(words.embedded)
    assert 6 <= done < 12
    assert 0 < index.count()[0] < 6
    index.update(folder)
    assert len(words.embedded) == len(set(words.embedded)) == 12  # nothing twice
    assert index.search(QUERY, top_k=99) == fresh(folder, words, QUERY)


def test_closing(words, tmp_path) -> None:
    with SearchIndex(tmp_path / "index", words) as index:
        pass
    index.close()
    for use in (lambda: index.search("x"), lambda: index.update(tmp_path), index.count):
        with pytest.raises(ClosedError, match="search index is closed"):
            use()
    assert words.closed is False  # it is not ours


def test_bad_arguments(index, words, tmp_path) -> None:
    for query in ("", "  \n", None, 3, ["x"]):
        with pytest.raises(InputError, match="the query is empty"):
            index.search(query)
    for top_k in (0, -1, 1.5, True):
        with pytest.raises(OptionError, match="top_k"):
            index.search("x", top_k=top_k)
    for path in (tmp_path / "missing", "nul\0", "~no-such-user/x"):
        with pytest.raises(InputError):
            index.update(path)
    assert words.embedded == []


def test_an_empty_folder(index, words, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    assert changed(index.update(tmp_path / "empty")) == (0, 0, 0, 0)
    assert index.search("x") == []
    assert index.count() == (0, 0)


def test_the_file_is_the_users_alone(index, tmp_path) -> None:
    if os.name == "posix":
        assert (tmp_path / "index.sqlite").stat().st_mode & 0o077 == 0


def test_an_index_is_searched_while_a_thread_updates_it(words, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(update, "FEWEST", 4)
    monkeypatch.setattr(update, "MOST", 4)
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(f"file {'x' * number}")
    (folder / "wanted.txt").write_text("the harbor bell")
    halfway, go_on = threading.Event(), threading.Event()

    def wait(state: UpdateProgress) -> None:
        if state.files >= 8:
            halfway.set()
            assert go_on.wait(60)

    with SearchIndex(tmp_path / "index", words) as index:
        assert not index.being_updated
        thread = threading.Thread(
            target=index.update, args=[folder], kwargs={"progress": wait, "query": "bells"}
        )
        thread.start()
        assert halfway.wait(60)
        assert index.being_updated
        (hit,) = index.search("bell", mode="words")
        assert hit.path == folder / "wanted.txt"  # read first, because of the query
        assert index.count() == (8, 8)
        go_on.set()
        thread.join()
        assert not index.being_updated
        assert index.count() == (41, 41)


def test_progress_may_search(index, words, tmp_path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(f"file {number}")
    found = []
    index.update(tmp_path, progress=lambda state: found.append(len(index.search("file"))))
    assert found[-1] == 3


def test_several_paths_are_updated_and_searched_together(index, tmp_path) -> None:
    for name in ("a/1.txt", "a/b/2.txt", "c/3.txt", "d/4.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"word {name}")
    paths = [tmp_path / name for name in ("a", "a/b", "c")]
    states: list[UpdateProgress] = []
    report = index.update(paths, progress=states.append)
    assert report.added == 3
    assert states[-1].files_total == 3
    index.update(tmp_path / "d")
    assert index.count() == (4, 4)
    assert index.count(paths) == (3, 3)
    found = index.search("word", path=paths[1:], include=["*.txt"], exclude=["3*"])
    assert [hit.path.name for hit in found] == ["2.txt"]
    (tmp_path / "c/3.txt").unlink()
    assert index.update(paths).removed == 1
    with pytest.raises(InputError, match="no path is given"):
        index.update([])


# Files that are to be forgotten.


def test_files_below_a_path_are_forgotten_with_their_texts(
    index: SearchIndex, words: Words, folder: Path, tmp_path: Path
) -> None:
    other = lay(tmp_path / "other", {"a.txt": b"elsewhere", "same.txt": b"these words stay"})
    index.update([folder, other])
    index.add([{"id": 1, "text": "a record of its own"}])
    passages = index.count()[1]
    assert index.remove_files(folder / "sub") == 2
    assert index.count()[1] == passages - 2
    assert index.remove_files([folder, folder]) == 4  # becomes.txt was refused
    assert [path.name for path in index_files(index)] == ["a.txt", "same.txt"]
    assert index.count(other) == (2, 2)
    assert index.ids() == [1]
    # What only they needed is gone, what others need too is not.
    words.calls.clear()
    index.update(other)
    assert words.embedded == []
    index.update(folder)
    assert "soon away" in words.embedded
    assert "these words stay" not in words.embedded


def test_the_folder_of_forgotten_files_may_be_gone(index: SearchIndex, folder: Path) -> None:
    index.update(folder)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="does not exist"):
        index.update(folder)
    assert index.remove_files(str(folder)) == 6
    assert index.remove_files(folder) == 0
    assert index.search("old words") == []
    for nothing in ([], ()):
        with pytest.raises(InputError, match="no path"):
            index.remove_files(nothing)


def index_files(index: SearchIndex) -> list[Path]:
    """The files of all hits there can be."""
    hits = index.search("words", top_k=100, mode="vectors")
    found = {hit.path for hit in hits} | {path for hit in hits for path, _ in hit.also}
    return sorted(path for path in found if path is not None)
