"""The program without its window: the state, the threads, the settings. Knows no toolkit.

A window calls its methods, which all return at once, and is told each new state, in whatever thread
it came about.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from desk_search import settings, state
from desk_search.indexer import Indexer
from desk_search.searcher import Searcher
from desk_search.state import Event, Indexed, State


class Watch(Protocol):
    """What says that files change; `watcher.Watcher` is one."""

    missed: list[Path]

    def close(self) -> None:
        """Ends it."""


MakeWatch = Callable[[Sequence[Path], Callable[[], None]], Watch]


def is_pack(folder: Path) -> bool:
    """Whether a folder is a model pack, and not one to search in."""
    return (folder / "manifest.json").is_file()


class Program:
    """One running program.

    Args:
        data: the folder of its settings and indexes.
        tell: called with each new state.
        watch: makes what says that files change.
    """

    def __init__(self, data: Path, tell: Callable[[State], None], watch: MakeWatch) -> None:
        self._data, self._tell, self._make_watch = data, tell, watch
        self._lock = threading.Lock()  # guards the state
        found = settings.load(data)
        self._state = State(
            folders=tuple(map(Path, found.folders)),
            pack=None if found.pack is None else Path(found.pack),
            theme=found.theme,
        )
        self._kind = "all"
        self._watch: Watch | None = None
        self._watched: dict[Path, int] = {}  # the folders, as `_there` gives them
        self._missed = False  # whether changes in one of them are not seen
        self._opened = 0  # how often: what threads of another pack still send is left out
        self._open()

    @property
    def state(self) -> State:
        """What the window shows."""
        with self._lock:
            return self._state

    def add_folder(self, folder: Path) -> None:
        """Watches one more folder; one below a watched one is watched already."""
        folder = folder.resolve()
        if any(other in (folder, *folder.parents) for other in self.state.folders):
            return
        others = [other for other in self.state.folders if folder not in other.parents]
        self._set_folders([*others, folder])

    def remove_folder(self, folder: Path) -> None:
        """Watches a folder no more, and forgets its texts."""
        self._set_folders([other for other in self.state.folders if other != folder])

    def use_pack(self, folder: Path | None) -> None:
        """Searches with another model; None is the bundled one. Each has an index of its own."""
        if folder is not None and not is_pack(folder):
            self._change(problem=f"{folder} is not a model pack: it has no manifest.json")
            return
        self._close_threads()
        self._change(pack=folder, model="", takes_images=False, problem="", compared=False)
        self._save()
        self._open()
        if self.state.query:
            self.ask(self.state.query)

    def drop(self, folder: Path) -> None:
        """Takes what was dropped on the window: a pack, or a folder to search in."""
        if is_pack(folder):
            self.use_pack(folder)
        elif folder.is_dir():
            self.add_folder(folder)
        else:
            self._change(problem=f"{folder.name} is a file; drop its folder")

    def set_theme(self, theme: str) -> None:
        """One of `settings.THEMES`."""
        self._change(theme=theme)
        self._save()

    def ask(self, query: str, kind: str | None = None) -> None:
        """Answers a query; each further one takes the place of what waits."""
        self._kind = self._kind if kind is None else kind
        with self._lock:
            self._state = state.asked(self._state, query)
            asked = self._state
        self._tell(asked)
        if asked.query:
            self._searcher.ask(asked.query, self._kind)

    def stop(self) -> None:
        """Stops indexing until something changes; what was embedded can be searched."""
        self._indexer.stop()

    def resume(self) -> None:
        """Brings the index up to date now."""
        self._indexer.look_again(urgent=True)

    def come_to_front(self) -> None:
        """The person looks at the window: so does the program at its folders.

        A network drive tells nobody of changes, and a disk may have been connected again.
        """
        if self._missed or self._there() != self._watched:
            self._watch_folders()
        self._indexer.look_again()

    def close(self, seconds: float = 2.0) -> bool:
        """Ends all threads; whether they ended in time. What is under way is kept as it is."""
        return self._close_threads(seconds)

    def _open(self) -> None:
        now = self.state
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._opened += 1
        tell = partial(self._on, self._opened)
        self._indexer = Indexer(self._data, now.pack, now.folders, tell)
        self._searcher = Searcher(self._data, now.pack, tell, self.resume)
        self._watch_folders()

    def _close_threads(self, seconds: float = 0.0) -> bool:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._indexer.close()
        self._searcher.close()
        return self._indexer.join(seconds) and self._searcher.join(seconds)

    def _watch_folders(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._watched = self._there()
        if self._watched:
            self._watch = self._make_watch(list(self._watched), self._indexer.look_again)
        self._missed = self._watch is not None and bool(self._watch.missed)

    def _there(self) -> dict[Path, int]:
        """The folders that are there, and their number on the disk: one may have been replaced."""
        found = {}
        for folder in self.state.folders:
            with contextlib.suppress(OSError):
                found[folder] = folder.stat().st_ino
        return found

    def _set_folders(self, folders: Sequence[Path]) -> None:
        self._change(folders=tuple(folders))
        self._save()
        self._indexer.watch(folders)
        self._watch_folders()

    def _save(self) -> None:
        now = self.state
        pack = None if now.pack is None else str(now.pack)
        names = tuple(map(str, now.folders))
        settings.save(self._data, settings.Settings(names, pack, now.theme))

    def _change(self, **values: object) -> None:
        with self._lock:
            self._state = replace(self._state, **values)  # type: ignore[arg-type]
            now = self._state
        self._tell(now)

    def _on(self, opened: int, event: Event) -> None:
        with self._lock:
            if opened != self._opened:
                return
            self._state = state.apply(self._state, event)
            now = self._state
        self._tell(now)
        if isinstance(event, Indexed) and now.query:  # what came in since may fit better
            self._searcher.ask(now.query, self._kind)
