"""A thread that keeps the index up to date with the folders, and sleeps while nothing changes.

It works in the background (half of the threads, low priority), and holds a network only while there
is something to embed: between two updates it has neither an embedder nor a file open.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from desk_search.state import Event, Indexed, Problem, Progress, Stopped
from embedge import (
    CancelledError,
    Embedder,
    EmbedgeError,
    IndexFileError,
    IndexOutdatedError,
    SearchIndex,
)
from embedge.search import UpdateProgress

SETTLE = 0.5  # seconds without a further change before an update begins
PAUSE = 10.0  # seconds between two updates that nobody asked for: some files change all the time
TELL = 0.1  # seconds between two reports of progress


def place_of(embedder: Embedder, data: Path) -> Path:
    """The index of a pack: each has its own, so that going back to one embeds nothing again."""
    return data / f"index-{embedder.manifest.fingerprint(embedder.precision)[:16]}.sqlite"


class Indexer:
    """Updates an index when it is asked to. All methods return at once.

    Args:
        data: the folder of the index.
        pack: the folder of the pack; None for the bundled one.
        folders: to index.
        tell: called with events, in this thread.
    """

    def __init__(
        self,
        data: Path,
        pack: Path | None,
        folders: Sequence[Path],
        tell: Callable[[Event], None],
    ) -> None:
        self._data, self._pack, self._tell = data, pack, tell
        self._changed = threading.Condition()  # guards what follows
        self._folders = tuple(folders)
        self._gone: list[Path] = []  # to be forgotten
        self._asked = time.monotonic() if folders else None  # when the last change was seen
        self._urgent = True
        self._closing = False
        self._cancel = threading.Event()
        self._last = 0.0  # when the last update ended
        self._told = 0.0
        # A daemon: the program may end at any moment, also in the middle of a run.
        self._thread = threading.Thread(target=self._work, name="indexer", daemon=True)
        self._thread.start()

    def watch(self, folders: Sequence[Path]) -> None:
        """Indexes these folders from now on, and forgets the others."""
        with self._changed:
            self._gone += [folder for folder in self._folders if folder not in folders]
            self._gone = [folder for folder in self._gone if folder not in folders]
            self._folders = tuple(folders)
            self._ask(urgent=True)
        self._cancel.set()  # an update under way has the old list

    def look_again(self, *, urgent: bool = False) -> None:
        """Something changed; `urgent` where a person asks."""
        with self._changed:
            self._ask(urgent=urgent)

    def stop(self) -> None:
        """Ends the update under way, and begins no other until something changes."""
        with self._changed:
            self._asked = None
        self._cancel.set()

    def close(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._cancel.set()

    def join(self, seconds: float) -> bool:
        """Waits for the thread; whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _ask(self, *, urgent: bool) -> None:
        self._asked = time.monotonic()
        self._urgent = self._urgent or urgent
        self._changed.notify()

    def _work(self) -> None:
        while (work := self._next()) is not None:
            folders, gone = work
            try:
                self._update(folders, gone)
            except CancelledError:
                with self._changed:
                    again = self._asked is not None or self._closing
                if not again:
                    self._tell(Stopped())
            except EmbedgeError as error:
                with self._changed:
                    self._gone += gone  # they are still to be forgotten
                if isinstance(error, IndexFileError | IndexOutdatedError):
                    self._rebuild(error)
                else:  # one sentence, made for people
                    self._tell(Problem(str(error), fatal=True))
            self._last = time.monotonic()

    def _next(self) -> tuple[tuple[Path, ...], list[Path]] | None:
        """Waits for work: the folders, and those to forget; None at the end."""
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                if self._asked is None:
                    self._changed.wait()
                    continue
                begin = self._asked + SETTLE
                if self._urgent:
                    begin = now
                elif self._last:
                    begin = max(begin, self._last + PAUSE)
                if now >= begin:
                    self._asked, self._urgent = None, False
                    self._cancel.clear()
                    gone, self._gone = self._gone, []
                    return self._folders, gone
                self._changed.wait(begin - now)
            return None

    def _update(self, folders: Sequence[Path], gone: Sequence[Path]) -> None:
        there = [folder for folder in folders if folder.exists()]
        with (
            Embedder(self._pack, background=True) as embedder,
            SearchIndex(place_of(embedder, self._data), embedder) as index,
        ):
            if gone:
                index.remove_files(gone)
            skipped: tuple[tuple[Path, str], ...] = ()
            if there:
                report = index.update(there, progress=self._progress, cancel=self._cancel)
                skipped = (*report.refused, *report.left_out)
            files, passages = index.count()
        self._tell(Indexed(files, passages, skipped))
        missing = [folder for folder in folders if folder not in there]
        if missing:  # a disk that is not connected: its files stay in the index
            self._tell(Problem(f"{missing[0]} is not there; what is known of it can be found"))

    def _rebuild(self, error: EmbedgeError) -> None:
        """An index is made of files that are there: a damaged or outdated one is made again."""
        self._tell(Problem(f"The index is made again: {error}"))
        try:
            with Embedder(self._pack) as embedder:
                SearchIndex(place_of(embedder, self._data), embedder, rebuild=True).close()
        except EmbedgeError as again:
            self._tell(Problem(str(again), fatal=True))
            return
        self.look_again(urgent=True)

    def _progress(self, progress: UpdateProgress) -> None:
        now = time.monotonic()
        if now - self._told >= TELL:
            self._told = now
            self._tell(Progress(progress))
