"""What the window shows, and how it changes: plain values, without a toolkit and without threads.

The threads send events; `apply` gives the state after one. The window draws the state, and nothing
else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from embedge.search import Hit, UpdateProgress

SNIPPET = 240  # characters of a passage that are shown


class Phase(Enum):
    """What the indexer is doing."""

    IDLE = "idle"  # also before its first work
    INDEXING = "indexing"
    STOPPED = "stopped"  # by the person, before it was done
    FAILED = "failed"


@dataclass(frozen=True)
class State:
    """All that the window shows."""

    folders: tuple[Path, ...] = ()
    pack: Path | None = None  # None: the bundled one
    theme: str = "system"
    model: str = ""  # empty until it is opened
    takes_images: bool = False
    phase: Phase = Phase.IDLE
    progress: UpdateProgress | None = None
    compared: bool = False  # whether the index was brought up to date since the start
    files: int = 0
    passages: int = 0
    skipped: tuple[tuple[Path, str], ...] = ()  # with the reason
    problem: str = ""  # the last one, in a sentence; empty once it is over
    query: str = ""
    hits: tuple[Hit, ...] = ()
    answered: str = ""  # the query that the hits belong to
    seconds: float = 0.0  # that the answer took


@dataclass(frozen=True)
class Opened:
    """A pack was opened."""

    model: str
    takes_images: bool


@dataclass(frozen=True)
class Progress:
    """An update goes on."""

    progress: UpdateProgress


@dataclass(frozen=True)
class Indexed:
    """An update came to its end; so many files and passages are in the index now."""

    files: int
    passages: int
    skipped: tuple[tuple[Path, str], ...] = ()  # with the reason


@dataclass(frozen=True)
class Stopped:
    """An update was stopped by the person; what was embedded is kept."""


@dataclass(frozen=True)
class Found:
    """The answer to a query."""

    query: str
    hits: tuple[Hit, ...]
    seconds: float


@dataclass(frozen=True)
class Problem:
    """What went wrong, in a sentence made for people; `fatal` if no further work is tried."""

    message: str
    fatal: bool = False


Event = Opened | Progress | Indexed | Stopped | Found | Problem


def apply(state: State, event: Event) -> State:
    """The state after an event."""
    match event:
        case Opened(model, takes_images):
            return replace(state, model=model, takes_images=takes_images, problem="")
        case Progress(progress):
            return replace(state, phase=Phase.INDEXING, progress=progress)
        case Indexed(files, passages, skipped):
            return replace(
                state,
                phase=Phase.IDLE,
                progress=None,
                compared=True,
                files=files,
                passages=passages,
                skipped=skipped,
                problem="",
            )
        case Stopped():
            return replace(state, phase=Phase.STOPPED, progress=None)
        case Found(query, hits, seconds):
            if query != state.query:  # the person has typed on; a newer answer is under way
                return state
            return replace(state, hits=hits, answered=query, seconds=seconds)
        case Problem(message, fatal):
            phase = Phase.FAILED if fatal else state.phase
            return replace(state, phase=phase, problem=message, progress=None)


def asked(state: State, query: str) -> State:
    """The state once the person typed; the hits of before stay until there are new ones."""
    query = query.strip()
    if not query:
        return replace(state, query="", hits=(), answered="", seconds=0.0)
    return replace(state, query=query)


def status_line(state: State) -> str:
    """One line on what the program is doing."""
    if state.problem:
        return state.problem
    if state.phase is Phase.INDEXING and state.progress is not None:
        done = state.progress
        return f"Indexing {done.files:,} of {done.files_total:,} files, {done.fraction:.0%}"
    if not state.folders:
        return "No folder is watched yet"
    if not state.compared and state.phase is Phase.IDLE:
        return "Looking through the folders"
    held = f"{_count(state.passages, 'passage')} in {_count(state.files, 'file')}"
    if state.phase is Phase.STOPPED:
        return f"Stopped; {held} can be searched"
    if state.answered and state.answered == state.query:
        return f"{_count(len(state.hits), 'hit')} in {state.seconds * 1e3:.0f} ms, of {held}"
    return held[0].upper() + held[1:]


def snippet(text: str, words: Iterable[str]) -> list[tuple[str, bool]]:
    """A passage as pieces, each with whether it is a word; from a little before the first one.

    Args:
        text: of the passage.
        words: of the query that stand in it, as `Hit.words` has them.
    """
    flat = " ".join(text.split())
    spans = _spans(flat, words)
    start = 0
    if spans and spans[0][0] > SNIPPET // 2:
        start = flat.rfind(" ", 0, spans[0][0] - SNIPPET // 4) + 1
    end = min(len(flat), start + SNIPPET)
    pieces = [("…", False)] if start else []
    at = start
    for first, last in spans:
        if first >= at and last <= end:
            pieces += [(flat[at:first], False), (flat[first:last], True)]
            at = last
    pieces.append((flat[at:end] + ("…" if end < len(flat) else ""), False))
    return [piece for piece in pieces if piece[0]]


def _spans(text: str, words: Iterable[str]) -> list[tuple[int, int]]:
    """Where the words stand, in order; whatever their case."""
    folded = text.lower()
    if len(folded) != len(text):  # some letters become two
        folded = text
    spans = []
    for word in {word.lower() for word in words if word}:
        at = folded.find(word)
        while at >= 0:
            spans.append((at, at + len(word)))
            at = folded.find(word, at + len(word))
    return sorted(spans)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
