"""examples/desktop/ without its window: the state, the settings, the threads."""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from desk_search import indexer, settings
from desk_search.program import Program
from desk_search.settings import Settings
from desk_search.state import (
    Event,
    Found,
    Indexed,
    Opened,
    Phase,
    Problem,
    Progress,
    State,
    Stopped,
    apply,
    asked,
    snippet,
    status_line,
)
from embedge import Embedder, SearchIndex
from embedge.search import Hit, UpdateProgress
from support.tiny import write_pack

PATIENCE = 30  # seconds
HIT = Hit(0.5, Path("a.txt"), 1, "a text")


# The state.


def after(*events: Event, state: State = State(folders=(Path("notes"),))) -> State:  # noqa: B008
    for event in events:
        state = apply(state, event)
    return state


def test_the_status_line_follows_the_work() -> None:
    begun = Progress(UpdateProgress(files=340, files_total=1200, passages=900, fraction=0.283))
    assert status_line(State()) == "No folder is watched yet"
    assert status_line(after(begun)) == "Indexing 340 of 1,200 files, 28%"
    done = after(begun, Indexed(1, 12345))
    assert (done.phase, done.progress) == (Phase.IDLE, None)
    assert status_line(done) == "12,345 passages in 1 file"
    assert status_line(after()) == "Looking through the folders"
    stopped = after(Indexed(2, 3), begun, Stopped())
    assert status_line(stopped) == "Stopped; 3 passages in 2 files can be searched"
    failed = after(begun, Problem("The disk is full.", fatal=True))
    assert (failed.phase, status_line(failed)) == (Phase.FAILED, "The disk is full.")
    assert status_line(after(Indexed(2, 3), state=failed)) == "3 passages in 2 files"


def test_an_answer_to_what_was_typed_before_is_left_out() -> None:
    state = after(Indexed(2, 3), Opened("mini", takes_images=False))
    state = asked(state, " pass ")
    assert state.query == "pass"
    answered = apply(state, Found("pass", (HIT,), 0.0042))
    assert status_line(answered) == "1 hit in 4 ms, of 3 passages in 2 files"
    typed = asked(answered, "passport")
    assert typed.hits == (HIT,)  # until there are others: a list that flickers is hard to read
    assert apply(typed, Found("pass", (), 0.1)) == typed
    assert asked(typed, "  ").hits == ()


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("a plain  text\nof two lines", (), [("a plain text of two lines", False)]),
        ("the Passport office", ("passport",), [("the ", 0), ("Passport", 1), (" office", 0)]),
        ("x " * 400, (), [("x " * 120 + "…", False)]),
        ("", ("a",), []),
    ],
)
def test_a_snippet_marks_the_words(
    text: str, words: tuple[str, ...], expected: list[tuple[str, bool]]
) -> None:
    assert snippet(text, words) == expected


def test_a_snippet_begins_a_little_before_the_first_word() -> None:
    pieces = snippet("far " * 200 + "passport " + "away " * 200, ("passport",))
    assert pieces[0] == ("…", False)
    assert ("passport", True) in pieces
    assert sum(len(piece) for piece, _ in pieces) < 250


# The settings.


def test_settings_are_kept(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "data"
    assert settings.load(place) == Settings()
    kept = Settings(folders=("/a", "/b"), pack="/pack", theme="dark")
    settings.save(place, kept)
    assert settings.load(place) == kept
    assert [path.name for path in place.iterdir()] == ["settings.json"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"folders": 1, "pack": [], "theme": "pink"}'])
def test_settings_that_are_not_ours_are_the_first_ones(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.json").write_text(text)
    assert settings.load(tmp_path) == Settings()


def test_settings_that_cannot_be_written_are_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    settings.save(tmp_path / "data", Settings())


# The program.


class Running:
    """A program, and the states that it tells."""

    def __init__(self, data: Path) -> None:
        self.states: queue.SimpleQueue[State] = queue.SimpleQueue()
        self.watched: Sequence[Path] = ()
        self.changed: Callable[[], None] = lambda: None
        self.missed: list[Path] = []
        self.program = Program(data, self.states.put, self.watch)

    def watch(self, folders: Sequence[Path], changed: Callable[[], None]) -> "Running":
        self.watched, self.changed = folders, changed
        return self

    def close(self) -> None:
        """Of what watches."""

    def until(self, true: Callable[[State], bool]) -> State:
        """The first state of which it is true."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            state = self.states.get(timeout=PATIENCE)
            if true(state):
                return state
        raise AssertionError(state)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "passport.txt").write_text("The passport office opens at nine.")
    (folder / "bike.txt").write_text("Lock the frame of a bicycle.")
    return folder.resolve()


@pytest.fixture
def running(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(indexer, "SETTLE", 0.05)
    monkeypatch.setattr(indexer, "PAUSE", 0.0)
    running = Running(data)
    yield running
    assert running.program.close(PATIENCE)


def holds(passages: int) -> Callable[[State], bool]:
    """Whether the index was brought up to date, and holds so many passages."""
    return lambda state: state.phase is Phase.IDLE and state.compared and state.passages == passages


@pytest.mark.usefixtures("bundled")
def test_folders_are_searched_watched_and_forgotten(
    running: Running, notes: Path, tmp_path: Path, data: Path
) -> None:
    program = running.program
    program.add_folder(notes)
    running.until(holds(2))
    assert running.watched == [notes]
    program.ask("where do I renew a passport?")
    found = running.until(lambda state: bool(state.hits))
    assert found.hits[0].path == notes / "passport.txt"
    (notes / "late.txt").write_text("Renew a passport early: in summer it takes eight weeks.")
    running.changed()
    # What comes in is found without asking again.
    running.until(lambda state: len(state.hits) == 3)
    assert settings.load(data).folders == (str(notes),)
    program.add_folder(notes / "below")  # is watched already
    assert program.state.folders == (notes,)
    program.add_folder(tmp_path)  # holds the other
    assert program.state.folders == (tmp_path.resolve(),)
    program.remove_folder(tmp_path.resolve())
    running.until(holds(0))
    assert running.program.state.folders == ()


@pytest.mark.usefixtures("bundled")
def test_a_folder_that_is_not_there_stays_searchable(
    running: Running, notes: Path, tmp_path: Path
) -> None:
    running.program.add_folder(notes)
    running.until(holds(2))
    notes.rename(tmp_path / "elsewhere")
    running.program.resume()
    state = running.until(lambda state: bool(state.problem))
    assert "is not there" in state.problem
    assert state.passages == 2
    (tmp_path / "elsewhere").rename(notes)
    running.program.come_to_front()
    assert running.until(lambda state: not state.problem).passages == 2


def test_another_pack_has_an_index_of_its_own(
    running: Running, notes: Path, tmp_path: Path, data: Path
) -> None:
    program = running.program
    program.add_folder(notes)
    running.until(holds(2))
    pack = write_pack(tmp_path / "pack")
    program.drop(pack)
    running.until(lambda state: state.pack == pack and holds(2)(state))
    assert settings.load(data).pack == str(pack)
    assert len(list(data.glob("index-*.sqlite"))) == 2
    program.drop(notes / "bike.txt")
    assert program.state.problem == "bike.txt is a file; drop its folder"
    program.use_pack(notes)
    assert "not a model pack" in program.state.problem
    program.use_pack(None)
    running.until(lambda state: state.pack is None and holds(2)(state))


@pytest.mark.usefixtures("bundled")
def test_a_pack_that_is_gone_is_named_and_another_can_be_chosen(data: Path, tmp_path: Path) -> None:
    settings.save(data, Settings(folders=(str(tmp_path),), pack=str(tmp_path / "gone")))
    running = Running(data)
    state = running.until(lambda state: state.phase is Phase.FAILED)
    assert "gone" in state.problem
    running.program.use_pack(None)
    assert running.until(lambda state: state.compared).problem == ""
    assert running.program.close(PATIENCE)


@pytest.mark.usefixtures("bundled")
def test_a_damaged_index_is_made_again(notes: Path, data: Path, running: Running) -> None:
    running.program.add_folder(notes)
    running.until(holds(2))
    assert running.program.close(PATIENCE)
    (place,) = data.glob("index-*.sqlite")
    content = bytearray(place.read_bytes())
    content[100:5000] = b"\xff" * 4900
    place.write_bytes(content)
    again = Running(data)
    state = again.until(lambda state: "made again" in state.problem)
    assert "damaged" in state.problem
    again.until(lambda state: holds(2)(state) and not state.problem)
    again.program.ask("passport")
    again.until(lambda state: bool(state.hits))
    assert again.program.close(PATIENCE)


@pytest.mark.usefixtures("bundled")
def test_indexing_stops_and_goes_on(running: Running, notes: Path) -> None:
    for number in range(300):
        (notes / f"{number}.txt").write_text("\n\n".join(f"{number} {p} " * 80 for p in range(4)))
    running.program.add_folder(notes)
    running.until(lambda state: state.phase is Phase.INDEXING)
    running.program.stop()
    assert running.until(lambda state: state.phase is Phase.STOPPED).progress is None
    running.program.resume()
    running.until(lambda state: state.phase is Phase.INDEXING)
    begin = time.monotonic()
    assert running.program.close(PATIENCE)  # in the middle of it
    assert time.monotonic() - begin < 20
    with Embedder() as embedder:
        (place,) = running.program._data.glob("index-*.sqlite")
        SearchIndex(place, embedder).close()  # it is whole
