"""Says when a file below a folder changes: watchdog, by the system (inotify, FSEvents, …).

Looking for changes by oneself would read the names of all files again and again; here nothing runs
while nothing changes. What the system cannot watch (a network drive, more folders than inotify
takes) is named, and looked at when the window comes to the front.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

# Not that a file was opened or read: the indexer does so itself.
CHANGES: list[type[FileSystemEvent]] = [
    *(DirCreatedEvent, DirDeletedEvent, DirMovedEvent),
    *(FileCreatedEvent, FileDeletedEvent, FileModifiedEvent, FileMovedEvent),
]


class Watcher:
    """Watches folders until it is closed.

    Args:
        folders: with all that is below them.
        changed: called in a thread of its own, once a change.

    Attributes:
        missed: the folders whose changes are not seen.
    """

    def __init__(self, folders: Sequence[Path], changed: Callable[[], None]) -> None:
        self.missed: list[Path] = []
        self._observer = Observer()
        for folder in folders:
            try:
                self._observer.schedule(
                    _Handler(folder, changed), str(folder), recursive=True, event_filter=CHANGES
                )
            except OSError:
                self.missed.append(folder)
        try:
            self._observer.start()
        except OSError:  # inotify's limit shows here
            self.missed = list(folders)

    def close(self) -> None:
        """Ends its threads."""
        self._observer.unschedule_all()
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()


class _Handler(FileSystemEventHandler):
    def __init__(self, folder: Path, changed: Callable[[], None]) -> None:
        self._folder, self._changed = folder, changed

    def on_any_event(self, event: FileSystemEvent) -> None:
        names = [str(event.src_path), str(event.dest_path or event.src_path)]
        if any(is_seen(Path(name), self._folder) for name in names):
            self._changed()


def is_seen(path: Path, folder: Path) -> bool:
    """Whether an index looks at a path: not at hidden files, nor at what is in hidden folders."""
    try:
        parts = path.relative_to(folder).parts
    except ValueError:
        return True
    return not any(part.startswith(".") for part in parts)
