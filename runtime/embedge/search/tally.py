"""What an update has done so far, counted: its report, and its progress.

Files are read first and wait until they are many; then their passages are embedded, and all of them
are kept at once. Bytes measure how far an update is, for they are known before a file is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedge.files.folders import Found


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What an update did, in files.

    Attributes:
        added: new ones.
        updated: those whose content has changed.
        removed: those that are gone.
        unchanged: those that were not embedded again.
        refused: with the reason: files that hold no text (nor an image, where the pack takes
            images) or cannot be read, and folders that cannot be listed. Nothing of them is found
            any more, until they can be read again. Also files of which a passage cannot be
            embedded, with its line; the rest is found.
        left_out: what people seldom look for, with a reason: lock files, minified code, large data
            files and logs. `update(everything=True)` takes them in.
        changed: whether the index is another than before: files came, changed or went, or were
            refused for the first time.
    """

    added: int
    updated: int
    removed: int
    unchanged: int
    refused: tuple[tuple[Path, str], ...]
    left_out: tuple[tuple[Path, str], ...] = ()
    changed: bool = False


@dataclass(frozen=True, slots=True)
class UpdateProgress:
    """How far an update is."""

    files: int  # read and done
    files_total: int  # to read: new ones, and those that look changed
    passages: int  # embedded
    fraction: float  # of the bytes to read, 0 to 1
    images: int = 0  # embedded


class Tally:
    """The counts of one update.

    Args:
        progress: called now and then.

    Attributes:
        added, updated, unchanged: files, as in the report.
        refused, left_out: paths with a reason, so far.
    """

    def __init__(self, progress: Callable[[UpdateProgress], None] | None) -> None:
        self.added = self.updated = self.unchanged = 0
        self.refused: list[tuple[Path, str]] = []
        self.left_out: list[tuple[Path, str]] = []
        self._progress = progress
        self._files = self._files_waiting = self._files_total = 0
        self._bytes = self._bytes_waiting = self._bytes_total = 0
        self._passages = self._images = 0

    def begin(self, changed: Sequence[Found]) -> None:
        """Notes all files that will be read."""
        self._files_total = len(changed)
        self._bytes_total = sum(found.size for found in changed)

    def refuse(self, path: Path, reason: str) -> None:
        """Notes what is not in the index, or not whole."""
        self.refused.append((path, reason))

    def leave_out(self, path: Path, reason: str) -> None:
        """Notes a file that is not read because of its kind."""
        self.left_out.append((path, reason))

    def take(self, found: Found) -> None:
        """Notes a file that was read; it waits."""
        self._files_waiting += 1
        self._bytes_waiting += found.size

    def embedded(self, *, passages: int = 0, images: int = 0) -> None:
        """Notes vectors that were made and kept."""
        self._passages += passages
        self._images += images

    def settle(self) -> None:
        """Notes that nothing waits any more, and reports it."""
        self._files += self._files_waiting
        self._bytes += self._bytes_waiting
        self._files_waiting = self._bytes_waiting = 0
        self.tell(0.0)

    def tell(self, part: float, *, passages: int = 0, images: int = 0) -> None:
        """Reports progress.

        Args:
            part: of the work on what waits that is done, 0 to 1.
            passages: embedded since `embedded` was called last.
            images: the same.
        """
        if self._progress is None:
            return
        done = self._bytes + part * self._bytes_waiting
        self._progress(
            UpdateProgress(
                files=self._files,
                files_total=self._files_total,
                passages=self._passages + passages,
                fraction=min(1.0, done / self._bytes_total) if self._bytes_total else 1.0,
                images=self._images + images,
            )
        )

    def report(self, *, removed: int, changed: bool) -> UpdateReport:
        """What was done."""
        return UpdateReport(
            self.added,
            self.updated,
            removed,
            self.unchanged,
            tuple(self.refused),
            tuple(self.left_out),
            changed,
        )
