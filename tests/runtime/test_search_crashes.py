"""An update that is stopped anywhere leaves a whole index, and two at once do each other no harm.

Stopped by an error at every statement, by SIGKILL inside SQLite, and by other processes that
write, sweep, rebuild and lock at the worst moment.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedge import SearchIndex
from embedge.errors import IndexBusyError, IndexFileError, IndexOutdatedError, IndexReadOnlyError
from embedge.search import database, update
from support.search_cases import AFTER, BEFORE, Words, check_between, content, fresh, lay

QUERY = "these words stay"


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "FEWEST", 2)
    monkeypatch.setattr(update, "MOST", 2)
    # A killed process loses nothing that it wrote; waiting for the disk would take the time.
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay(tmp_path / "docs", BEFORE)


class Failing(database.Connection):
    """Raises at one statement that is no mere question, counted over all connections."""

    count = 0
    fails_at = 0
    error: type[BaseException] = sqlite3.OperationalError

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        if not arguments[0].startswith(("SELECT", "PRAGMA")):
            type(self).count += 1
            if self.count == self.fails_at:
                raise self.error("disk I/O error")
        return super().execute(*arguments)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Failing]]:
    monkeypatch.setattr(database, "Connection", Failing)
    yield Failing
    Failing.fails_at = 0


@pytest.mark.parametrize(
    ("error", "raised", "stride"),
    [
        (sqlite3.OperationalError, IndexFileError, 1),
        (KeyboardInterrupt, KeyboardInterrupt, 4),
    ],
)
def test_an_error_at_any_statement(tmp_path, folder, failing, error, raised, stride) -> None:
    index, start = tmp_path / "index", tmp_path / "start"
    with SearchIndex(start, Words()) as first:
        first.update(folder)
    before = content(start)
    lay(folder, AFTER)
    shutil.copy(start, index)
    failing.count, failing.error = 0, error
    with SearchIndex(index, Words()) as undisturbed:
        undisturbed.update(folder)
        total = failing.count
    after, hits = content(index), fresh(folder, Words(), QUERY)
    assert total > 80
    for step in range(1, total + 1, stride):
        shutil.copy(start, index)
        failing.count, failing.fails_at = 0, step
        disturbed = None
        try:
            disturbed = SearchIndex(index, Words())
            disturbed.update(folder)
        except raised:
            check_between(index, folder, before, after)
            if disturbed is not None:  # and it can go on itself
                disturbed.update(folder)
                assert disturbed.search(QUERY, top_k=100) == hits
        else:
            raise AssertionError(f"step {step} was never reached")
        finally:
            if disturbed is not None:
                disturbed.close()
        with SearchIndex(index, Words()) as again:
            again.update(folder)
            assert again.search(QUERY, top_k=100) == hits
        assert content(index) == after


def test_an_error_while_the_file_is_made(tmp_path, folder, failing) -> None:
    index = tmp_path / "index"
    failing.count, failing.error = 0, sqlite3.OperationalError
    SearchIndex(index, Words()).close()
    total = failing.count
    for step in range(1, total + 1):
        index.unlink()
        failing.count, failing.fails_at = 0, step
        with pytest.raises(IndexFileError):
            SearchIndex(index, Words())
        with SearchIndex(index, Words()) as again:
            assert again.update(folder).added == 6


def test_an_error_of_the_embedder(tmp_path, folder) -> None:
    index = tmp_path / "index"
    for fails_at in range(1, 7):
        index.unlink(missing_ok=True)
        words = Words()

        def fail(texts: Any, words: Words = words, at: int = fails_at, **options: Any) -> Any:
            if len(words.calls) + 1 == at:
                raise RuntimeError("out of order")
            return words.encode(texts, kind="document", **options)

        words.encode_document = fail  # type: ignore[method-assign]
        with SearchIndex(index, words) as disturbed:
            with pytest.raises(RuntimeError, match="out of order"):
                disturbed.update(folder)
            held = content(index)
            del words.encode_document
            disturbed.update(folder)
            assert len(words.embedded) == len(set(words.embedded)) == 12  # nothing twice
            assert all(content(index)[path] == passages for path, passages in held.items())
            assert disturbed.search(QUERY, top_k=99) == fresh(folder, Words(), QUERY)


KILLS = """
import os, shutil, signal, sqlite3, sys
from pathlib import Path

sys.path[:0] = {path!r}
from embedge import SearchIndex
from embedge.search import database, update
from support.search_cases import Words, check_between, content, fresh

update.FEWEST = update.MOST = 2
database.SYNCHRONOUS = "OFF"
start, index, folder = map(Path, {places!r})
before = content(start)
shutil.copy(start, index)
with SearchIndex(index, Words()) as whole:
    whole.update(folder)
after, hits = content(index), fresh(folder, Words(), "these words stay")
steps, real = 0, sqlite3.connect
kills = 0
while True:
    steps += {stride}  # of SQLite's virtual machine
    index.with_name("index-journal").unlink(missing_ok=True)
    shutil.copy(start, index)
    if not (child := os.fork()):
        left = steps

        def step():
            global left
            left -= 5
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def connect(*arguments, **options):
            connection = real(*arguments, **options)
            connection.set_progress_handler(step, 5)
            return connection

        database.sqlite3.connect = connect
        with SearchIndex(index, Words(), rebuild={rebuild}) as disturbed:
            disturbed.update(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    kills += 1
    if {rebuild}:
        held = content(index)
        assert held == before or held.items() <= after.items()
    else:
        check_between(index, folder, before, after)
    with SearchIndex(index, Words()) as again:
        again.update(folder)
        assert again.search("these words stay", top_k=100) == hits
    assert content(index) == after
print(kills)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("rebuild", [False, True])
def test_sigkill_anywhere(tmp_path: Path, folder: Path, rebuild: bool) -> None:
    start = tmp_path / "start"
    with SearchIndex(start, Words()) as first:
        first.update(folder)
    lay(folder, AFTER)
    tests = Path(__file__).parent.parent
    script = KILLS.format(
        path=[str(tests), str(Path(database.__file__).parents[2])],
        places=[str(start), str(tmp_path / "index"), str(folder)],
        stride=150 if not rebuild else 250,
        rebuild=rebuild,
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 12


# --- several at once --------------------------------------------------------------------------


def test_two_updates_at_once(tmp_path: Path, folder: Path) -> None:
    index = tmp_path / "index"
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with SearchIndex(index, Words()) as own:
                for _ in range(4):
                    own.update(folder)
                    own.search(QUERY)
        except BaseException as error:
            errors.append(error)

    for _ in range(3):
        index.unlink(missing_ok=True)  # also making the file is a race
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        lay(folder, AFTER)
        time.sleep(0.02)
        lay(folder, BEFORE | {"new.txt": None, "empty.txt": None, "sub/renamed.txt": None})
        for thread in threads:
            thread.join()
        assert errors == []
        with SearchIndex(index, Words()) as last:
            last.update(folder)
            assert last.search(QUERY, top_k=99) == fresh(folder, Words(), QUERY)
        assert len(content(index)) == 6


def test_two_processes_at_once(tmp_path: Path, folder: Path) -> None:
    script = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent.parent), str(Path(database.__file__).parents[2])]!r}
from embedge import SearchIndex
from embedge.search import database, update
from support.search_cases import Words
database.SYNCHRONOUS = "OFF"
update.FEWEST = update.MOST = 2
for _ in range(10):
    with SearchIndex({str(tmp_path / "index")!r}, Words()) as index:
        index.update({str(folder)!r})
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    assert len(content(tmp_path / "index")) == 6


def test_one_thread_searches_while_another_updates(tmp_path: Path, folder: Path) -> None:
    with SearchIndex(tmp_path / "index", Words()) as index:
        index.update(folder)
        lay(folder, AFTER)
        found = index.search(QUERY, top_k=99)
        states = []
        worker = threading.Thread(
            target=lambda: index.update(folder, progress=lambda state: states.append(state))
        )
        worker.start()
        while worker.is_alive():
            assert len(index.search(QUERY, top_k=99)) >= len(found) - 2
        worker.join()
        assert states[-1].fraction == 1.0
        assert index.search(QUERY, top_k=99) == fresh(folder, Words(), QUERY)


def during(words: Words, call: int, action: Any) -> None:
    """Does something else while the embedder works for the n-th time."""
    encode = words.encode_document

    def encode_document(texts: Any, **options: Any) -> Any:
        vectors = encode(texts, **options)
        if len(words.calls) == call:
            action()
        return vectors

    words.encode_document = encode_document  # type: ignore[method-assign]


def test_vectors_swept_away_before_their_file_came_are_made_again(tmp_path, folder) -> None:
    """long.txt takes several chunks; another process sweeps between two of them."""
    words, elsewhere = Words(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    swept = 0

    def sweep() -> None:
        nonlocal swept
        swept += 1
        (elsewhere / "file").write_text("word " * swept)
        with SearchIndex(tmp_path / "index", Words()) as other:
            assert other.update(elsewhere).added + swept > 1

    for call in (3, 4, 5):
        during(words, call, sweep)
    with SearchIndex(tmp_path / "index", words) as index:
        index.update(folder)
        assert swept == 3
        assert len(words.embedded) > len(set(words.embedded)) == 12  # some were made twice
        assert index.search(QUERY, top_k=99, path=folder) == fresh(folder, Words(), QUERY)
    content(tmp_path / "index")


def test_an_index_made_anew_under_an_update_is_not_mixed(tmp_path, folder) -> None:
    words, other = Words(), Words()
    other.precision = "fp16"

    def rebuild() -> None:
        with SearchIndex(tmp_path / "index", other, rebuild=True) as index:
            index.update(folder / "sub")

    during(words, 3, rebuild)
    with SearchIndex(tmp_path / "index", words) as index:
        with pytest.raises(IndexOutdatedError, match="changed"):
            index.update(folder)
        with pytest.raises(IndexOutdatedError, match="changed"):
            index.search(QUERY)
    held = content(tmp_path / "index")
    assert {Path(path).parent.name for path in held} == {"sub"}


def test_a_lock_is_waited_for_then_told(tmp_path, folder, monkeypatch) -> None:
    monkeypatch.setattr(database, "TIMEOUT", 0.2)
    with SearchIndex(tmp_path / "index", Words()) as index:
        index.update(folder)
        lay(folder, AFTER)
        holder = sqlite3.connect(tmp_path / "index", isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")  # writes, has not committed
        assert len(index.search(QUERY, top_k=99)) == 12
        with pytest.raises(IndexBusyError, match="by another process"):
            index.update(folder)
        holder.execute("ROLLBACK")
        holder.execute("BEGIN EXCLUSIVE")  # commits just now
        with pytest.raises(IndexBusyError, match="by another process"):
            index.search(QUERY)
        with pytest.raises(IndexBusyError):
            SearchIndex(tmp_path / "index", Words())
        timer = threading.Timer(0.05, holder.execute, ["ROLLBACK"])
        timer.start()
        assert len(index.search(QUERY, top_k=99)) == 12  # waited
        timer.join()
        index.update(folder)
        holder.close()
        assert index.search(QUERY, top_k=99) == fresh(folder, Words(), QUERY)


# --- read-only --------------------------------------------------------------------------------


@pytest.fixture(params=["connection", "mode"])
def read_only(request, tmp_path, monkeypatch) -> Iterator[Any]:
    """Makes the index read-only: for anyone, by how it is opened, and by its mode."""
    if request.param == "connection":
        real = sqlite3.connect

        def connect(path: Any, **options: Any) -> sqlite3.Connection:
            if not path:
                return real(path, **options)
            return real(f"{Path(path).as_uri()}?mode=ro", uri=True, **options)

        yield lambda: monkeypatch.setattr(database.sqlite3, "connect", connect)
        return
    if getattr(os, "geteuid", lambda: 0)() == 0:
        pytest.skip("root may write everything")

    def protect() -> None:
        (tmp_path / "index").chmod(0o400)
        tmp_path.chmod(0o500)

    yield protect
    tmp_path.chmod(0o700)


def test_a_read_only_index_can_be_searched(tmp_path, read_only) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        SearchIndex(tmp_path / "index", Words()) as index,
    ):
        patch.setattr("embedge.search.files.SETTLED_AFTER", -(10**18))
        folder = lay(tmp_path / "docs", BEFORE)
        index.update(folder)
        hits = index.search(QUERY, top_k=99)
    read_only()
    with SearchIndex(tmp_path / "index", Words()) as index:
        assert index.search(QUERY, top_k=99) == hits
        assert index.update(folder).unchanged == 6  # there was nothing to write
        (folder / "same.txt").write_text("changed now")
        with pytest.raises(IndexReadOnlyError, match="cannot be written"):
            index.update(folder)
        assert index.search(QUERY, top_k=99) == hits
    with pytest.raises(IndexReadOnlyError):
        SearchIndex(tmp_path / "index", Words(), rebuild=True)
    assert len(content(tmp_path / "index")) == 6


def test_a_read_that_broke_off_holds_no_lock(tmp_path: Path, monkeypatch: Any) -> None:
    """Though its exception, and so the frame and the cursor, are kept, as Python 3.13 may do."""
    monkeypatch.setattr(database, "TIMEOUT", 0.0)
    path = tmp_path / "index"
    first = database.Database(path, {"a": "1", "b": "2", "c": "3"}, rebuild=False)

    def break_off() -> None:
        with first.reading() as connection:
            rows = connection.execute("SELECT name FROM meaning")
            next(rows)
            raise KeyError

    with pytest.raises(KeyError) as kept:
        break_off()
    database.Database(path, {"a": "1"}, rebuild=True).close()  # would find the file busy
    first.close()
    assert "rows" in kept.traceback[-1].locals
