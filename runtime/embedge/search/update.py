"""Brings an index up to date with a folder: embeds what is new, forgets what is gone.

Takes a `Store`, a function that embeds passages, and a path; gives an `UpdateReport`. The work is
kept as it goes, vectors a chunk at a time and files whole, so that an update that is stopped at
any moment, also by force, is only unfinished: the next one goes on from there. Knows no model
and no SQL.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from embedge.errors import CancelledError
from embedge.images.names import is_image_name
from embedge.search.files import (
    MAX_IMAGE_BYTES,
    Content,
    Found,
    RefusedError,
    decode,
    read,
    walk,
)
from embedge.search.passages import split_text
from embedge.search.pictures import Pictures, Square
from embedge.search.soundness import image_digest
from embedge.search.store import IMAGE_PASSAGES, Entry, Known, Store
from embedge.vectors import Vectors

# Passages embedded, and kept, at a time: many, for then texts of one length run together; but no
# more than take CHUNK_SECONDS, for that is what a kill costs.
FEWEST, MOST = 64, 512
FEWEST_IMAGES, MOST_IMAGES = 4, 64
CHUNK_SECONDS = 10.0
IMAGE_LOAD = 16  # passages that an image counts as: about so much longer it takes


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What an update did, in files.

    Attributes:
        added: new ones.
        updated: those whose content has changed.
        removed: those that are gone.
        unchanged: those that were not embedded again.
        refused: those that hold no text (nor an image, where the pack takes images) or cannot be
            read, and folders that cannot be listed,
            with the reason. Nothing of them is found any more, until they can be read again.
            Also files of which a passage cannot be embedded, with its line; the rest is found.
    """

    added: int
    updated: int
    removed: int
    unchanged: int
    refused: tuple[tuple[Path, str], ...]


@dataclass(frozen=True, slots=True)
class UpdateProgress:
    """How far an update is."""

    files: int  # read and done
    files_total: int  # to read: new ones, and those that look changed
    passages: int  # embedded
    fraction: float  # of the bytes to read, 0 to 1
    images: int = 0  # embedded


class Embed(Protocol):
    """Turns passages into vectors (n, D), float32 of length 1; NaN for one that cannot be."""

    def __call__(
        self,
        texts: list[str],
        *,
        on_error: Callable[[int, str], None],
        progress: Callable[[int, int], None],
        cancel: threading.Event | None,
    ) -> Vectors:
        """See the class."""
        ...


class Update:
    """One update of an index from a path. Made, run once, and thrown away."""

    def __init__(
        self,
        store: Store,
        embed: Embed,
        *,
        pictures: Pictures | None,
        progress: Callable[[UpdateProgress], None] | None,
        cancel: threading.Event | None,
        exclude: tuple[Path, ...],
    ) -> None:
        self._store = store
        self._embed = embed
        self._pictures = pictures  # None: the pack has no image tower
        self._progress = progress
        self._cancel = cancel
        self._exclude = exclude  # the index itself, where it stands in the folder
        self._refused: list[tuple[Path, str]] = []
        self._added = self._updated = self._unchanged = 0
        self._chunk, self._image_chunk = FEWEST, FEWEST_IMAGES
        self._waiting: list[Entry] = []  # read and split, not embedded yet
        self._bad: dict[str, str] = {}  # passages that cannot be embedded, and why
        self._squares: dict[bytes, Square] = {}  # of the images that wait, by digest
        self._stamps: dict[Path, str] = {}  # to be renewed
        self._wrote = False
        self._load = 0  # of what waits, in passages; a file without any counts as one
        self._files = self._files_waiting = self._files_total = 0
        self._passages = self._images = 0
        self._bytes = self._bytes_waiting = self._bytes_total = 0

    def run(self, root: Path) -> UpdateReport:
        """Brings what is at or below the root up to date; `root` is absolute and no link."""
        known = self._store.known_files(root)
        changed = [found for found in self._walk(root) if not self._is_unchanged(found, known)]
        self._files_total = len(changed)
        self._bytes_total = sum(found.size for found in changed)
        for found in changed:
            self._check_cancel()
            self._take(found, known)
            # Passages wait until they are many, then all their files are kept at once.
            if self._load >= MOST:
                self._flush()
        self._flush()
        removed = self._remove(known)
        if self._wrote:
            self._store.sweep()
        return UpdateReport(
            self._added, self._updated, removed, self._unchanged, tuple(self._refused)
        )

    def _walk(self, root: Path) -> list[Found]:
        found = []
        for file in walk(root, refuse=self._refuse):
            self._check_cancel()
            if file.path not in self._exclude:
                found.append(file)
        return found

    def _is_unchanged(self, found: Found, known: dict[Path, Known]) -> bool:
        """Whether a file need not be read. If so it is counted and leaves `known`."""
        before = known.get(found.path)
        if before is None or before.stamp != found.stamp:
            return False
        self._keep(found.path, known)
        return True

    def _keep(self, path: Path, known: dict[Path, Known]) -> None:
        """Counts a file that stays as it is known."""
        before = known.pop(path)
        if before.reason is None:
            self._unchanged += 1
        else:
            self._refuse(path, before.reason)

    def _take(self, found: Found, known: dict[Path, Known]) -> None:
        """Reads a file, and lets it wait for its vectors. What stays in `known` is gone."""
        path = found.path
        self._files_waiting += 1
        self._bytes_waiting += found.size
        self._load += 1
        pictures = self._pictures if is_image_name(path) else None
        if pictures is not None and pictures.missing is not None:
            self._refuse(path, pictures.missing)  # not remembered: it may be there next time
            return
        try:
            content = read(path) if pictures is None else read(path, most=MAX_IMAGE_BYTES)
        except RefusedError as error:
            self._refuse(path, str(error))
            return
        before = known.get(path)
        if before is not None and before.digest == content.digest:
            if content.stamp is not None:
                self._stamps[path] = content.stamp
            self._keep(path, known)
            return
        if pictures is None:
            entry, load = _entry(path, content), 1
        else:
            entry, load = self._picture(pictures, path, content), IMAGE_LOAD
        self._waiting.append(entry)
        self._load += max(len(entry.passages) * load - 1, 0)
        known.pop(path, None)
        if entry.known.reason is not None:
            self._refuse(path, entry.known.reason)
        elif before is None or before.reason is not None:
            self._added += 1
        else:
            self._updated += 1

    def _picture(self, pictures: Pictures, path: Path, content: Content) -> Entry:
        """An image that was read, its square waiting; or why it is none."""
        known = Known(content.stamp, content.digest, None)
        try:
            square = pictures.square(content.data)
        except RefusedError as error:
            return Entry(path, replace(known, reason=str(error)), (), "image")
        self._squares[image_digest(content.digest)] = square
        return Entry(path, known, IMAGE_PASSAGES, "image")

    def _flush(self) -> None:
        """Embeds what waits, and keeps it."""
        if self._stamps:
            self._store.renew_stamps(self._stamps)
            self._stamps.clear()
        if self._waiting:
            kept = False
            while not kept:
                self._embed_missing()
                self._drop_bad()
                kept = self._store.put_files(self._waiting)
            self._wrote = True
            self._waiting.clear()
            self._bad.clear()
            self._squares.clear()
        self._files += self._files_waiting
        self._bytes += self._bytes_waiting
        self._load = self._files_waiting = self._bytes_waiting = 0
        self._tell(0.0)

    def _embed_missing(self) -> None:
        texts = self._store.missing(
            text for entry in self._waiting if entry.kind == "text" for _, text in entry.passages
        )
        images = self._store.missing_digests(self._squares)
        total = len(texts) + IMAGE_LOAD * len(images)
        done = 0
        while done < len(texts):
            chunk = texts[done : done + self._chunk]

            def tell(count: int, _: int, before: int = done) -> None:
                self._tell((before + count) / total, count)

            start = time.monotonic()
            bad: dict[int, str] = {}
            vectors = self._embed(
                chunk, on_error=bad.__setitem__, progress=tell, cancel=self._cancel
            )
            rate = len(chunk) / max(time.monotonic() - start, 1e-9)
            self._bad |= {chunk[index]: reason for index, reason in bad.items()}
            good = [index for index in range(len(chunk)) if index not in bad]
            self._store.add_vectors([chunk[index] for index in good], vectors[good])
            self._chunk = int(min(max(rate * CHUNK_SECONDS, FEWEST), MOST))
            done += len(chunk)
            self._passages += len(chunk)
        done = 0
        while done < len(images):
            self._check_cancel()
            held = images[done : done + self._image_chunk]

            def tell_images(count: int, _: int, before: int = done) -> None:
                self._tell((len(texts) + IMAGE_LOAD * (before + count)) / total, 0, count)

            start = time.monotonic()
            assert self._pictures is not None  # it made the squares
            vectors = self._pictures.embed(
                [self._squares[digest] for digest in held],
                progress=tell_images,
                cancel=self._cancel,
            )
            rate = len(held) / max(time.monotonic() - start, 1e-9)
            self._store.add_images(held, vectors)
            self._image_chunk = int(min(max(rate * CHUNK_SECONDS, FEWEST_IMAGES), MOST_IMAGES))
            done += len(held)
            self._images += len(held)

    def _drop_bad(self) -> None:
        """Leaves passages that cannot be embedded out of their files, and says so."""
        for number, entry in enumerate(self._waiting if self._bad else ()):
            bad = [(line, self._bad[text]) for line, text in entry.passages if text in self._bad]
            if not bad:
                continue
            for line, reason in bad:
                self._refuse(entry.path, f"line {line}: {reason}")
            good = tuple(item for item in entry.passages if item[1] not in self._bad)
            known = entry.known if good else replace(entry.known, reason=bad[0][1])
            self._waiting[number] = replace(entry, passages=good, known=known)

    def _remove(self, known: dict[Path, Known]) -> int:
        """Forgets what is gone or can no longer be read; gives how many are gone."""
        if not known:
            return 0
        self._check_cancel()
        self._store.remove_files(known)
        self._wrote = True
        refused = {path for path, _ in self._refused}
        return sum(
            row.reason is None and refused.isdisjoint((path, *path.parents))
            for path, row in known.items()
        )

    def _refuse(self, path: Path, reason: str) -> None:
        self._refused.append((path, reason))

    def _check_cancel(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise CancelledError("cancelled; what was embedded so far is kept in the index")

    def _tell(self, part: float, more: int = 0, images: int = 0) -> None:
        """Reports progress: `part` of what waits is done, and so many more since the last."""
        if self._progress is not None:
            done = self._bytes + part * self._bytes_waiting
            self._progress(
                UpdateProgress(
                    files=self._files,
                    files_total=self._files_total,
                    passages=self._passages + more,
                    fraction=min(1.0, done / self._bytes_total) if self._bytes_total else 1.0,
                    images=self._images + images,
                )
            )


def _entry(path: Path, content: Content) -> Entry:
    """A file that was read, cut into passages; or why it holds none."""
    try:
        text = decode(content.data)
    except RefusedError as error:
        return Entry(path, Known(content.stamp, content.digest, str(error)), ())
    return Entry(path, Known(content.stamp, content.digest, None), split_text(text))
