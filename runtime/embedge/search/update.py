"""Brings an index up to date with a folder: embeds what is new, forgets what is gone.

Takes a `Store`, what embeds passages and pictures, and a path; gives an `UpdateReport`. The work is
kept as it goes, vectors a chunk at a time and files whole, so that an update that is stopped at
any moment, also by force, is only unfinished: the next one goes on from there. Knows no SQL.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from embedge.errors import CancelledError
from embedge.files.folders import Found, walk
from embedge.images.names import is_image_name
from embedge.search.entries import entry_of, most_bytes
from embedge.search.files import MAX_IMAGE_BYTES, Content, RefusedError, read
from embedge.search.pace import Pace
from embedge.search.pictures import Pictures, Square
from embedge.search.readers import reader_of
from embedge.search.reading_order import reading_order
from embedge.search.rows import Known
from embedge.search.selection import Selection
from embedge.search.soundness import image_digest
from embedge.search.store import IMAGE_PASSAGES, Entry, Store
from embedge.search.tally import Tally, UpdateProgress, UpdateReport
from embedge.search.terms import Term
from embedge.vectors import Vectors

# Passages embedded, and kept, at a time: many, for then texts of one length run together; but no
# more than take pace.CHUNK_SECONDS.
FEWEST, MOST = 64, 512
FEWEST_IMAGES, MOST_IMAGES = 4, 64
IMAGE_LOAD = 16  # passages that an image counts as: about so much longer it takes


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
    """One update of an index from a path. Made, run once, and thrown away.

    Args:
        store: the content of the index.
        embed: for passages.
        pictures: for images; None where the pack has no image tower.
        progress: called now and then.
        cancel: set it to stop.
        selection: which files are wanted.
        terms: of a query; files that hold them are read first.
        own: files to leave out: the index itself, where it stands in the folder.
    """

    def __init__(
        self,
        store: Store,
        embed: Embed,
        *,
        pictures: Pictures | None,
        progress: Callable[[UpdateProgress], None] | None,
        cancel: threading.Event | None,
        selection: Selection,
        terms: Sequence[Term] = (),
        own: tuple[Path, ...] = (),
    ) -> None:
        self._store = store
        self._embed = embed
        self._pictures = pictures
        self._cancel = cancel
        self._selection = selection
        self._terms = terms
        self._own = own
        self._tally = Tally(progress)
        self._pace = Pace(FEWEST, MOST)
        self._image_pace = Pace(FEWEST_IMAGES, MOST_IMAGES)
        self._waiting: list[Entry] = []  # read and split, not embedded yet
        self._load = 0  # of what waits, in passages; a file without any counts as one
        # To be embedded; where a query waits few at first, so that its hits come soon.
        self._enough = min(FEWEST, MOST) if terms else MOST
        self._squares: dict[bytes, Square] = {}  # of the images that wait, by digest
        self._stamps: dict[Path, str] = {}  # to be renewed
        self._roots: Sequence[Path] = ()
        self._wrote = False

    def run(self, roots: Sequence[Path]) -> UpdateReport:
        """Brings what is at or below the roots up to date.

        Args:
            roots: absolute and no links; none of them lies below another.
        """
        self._roots = roots
        known: dict[Path, Known] = {}
        found: list[Found] = []
        for root in roots:
            held = self._store.known_files(root)
            if self._selection.chooses:  # the others stay as they are known
                wants = partial(self._selection.wants, root=root)
                held = {path: row for path, row in held.items() if wants(path)}
            known |= held
            found += self._walk(root)
        changed = [file for file in found if not self._is_unchanged(file, known)]
        changed = reading_order(changed, self._terms, self._check_cancel)
        self._tally.begin(changed)
        for file in changed:
            self._check_cancel()
            self._take(file, known)
            # Passages wait until they are many, then all their files are kept at once.
            if self._load >= self._enough:
                self._flush()
                self._enough = min(2 * self._enough, MOST)
        self._flush()
        removed = self._remove(known)
        if self._wrote:
            self._store.sweep()
        self._store.complete()
        return self._tally.report(removed=removed, changed=self._wrote)

    def _walk(self, root: Path) -> list[Found]:
        found = []
        selection = self._selection
        for file in walk(
            root,
            refuse=self._tally.refuse,
            gitignore=not selection.everything,
            built=selection.everything,
        ):
            self._check_cancel()
            if file.path in self._own or not selection.wants(file.path, root):
                continue
            reason = selection.reason_against(file, root)
            if reason is None:
                found.append(file)
            else:
                self._tally.leave_out(file.path, reason)
        return found

    def _is_unchanged(self, found: Found, known: dict[Path, Known]) -> bool:
        """Whether a file need not be read. If so it is counted and leaves `known`."""
        before = known.get(found.path)
        reader = reader_of(found.path)
        if before is None or before.stamp != found.stamp + (reader.mark if reader else ""):
            return False
        self._keep(found.path, known)
        return True

    def _keep(self, path: Path, known: dict[Path, Known]) -> None:
        """Counts a file that stays as it is known."""
        before = known.pop(path)
        if before.reason is None:
            self._tally.unchanged += 1
        else:
            self._tally.refuse(path, before.reason)

    def _take(self, found: Found, known: dict[Path, Known]) -> None:
        """Reads a file, and lets it wait for its vectors. What stays in `known` is gone."""
        path = found.path
        self._tally.take(found)
        self._load += 1
        pictures = self._pictures if is_image_name(path) else None
        if pictures is not None and pictures.missing is not None:
            # Not remembered: it may be there next time.
            self._tally.refuse(path, pictures.missing)
            return
        try:
            content = read(path, most=MAX_IMAGE_BYTES if pictures else most_bytes(path))
        except RefusedError as error:
            self._tally.refuse(path, str(error))
            return
        if reader := reader_of(path):
            content = content.marked(reader.mark)
        before = known.get(path)
        if before is not None and before.digest == content.digest:
            if content.stamp is not None:
                self._stamps[path] = content.stamp
            self._keep(path, known)
            return
        missing = None
        if pictures is None:
            (entry, missing), load = entry_of(path, content, self._check_cancel), 1
        else:
            entry, load = self._picture(pictures, path, content), IMAGE_LOAD
        self._waiting.append(entry)
        self._load += max(len(entry.passages) * load - 1, 0)
        known.pop(path, None)
        if missing is not None:
            self._tally.refuse(path, missing)
        if entry.known.reason is not None:
            self._tally.refuse(path, entry.known.reason)
        elif before is None or before.reason is not None:
            self._tally.added += 1
        else:
            self._tally.updated += 1

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
            if not self._wrote:
                self._store.add_folders(self._roots)
            kept = False
            while not kept:
                self._drop(self._embed_missing())
                kept = self._store.put_files(self._waiting)
            self._wrote = True
            self._waiting.clear()
            self._squares.clear()
        self._load = 0
        self._tally.settle()

    def _embed_missing(self) -> dict[str, str]:
        """Embeds what has no vector yet; gives the passages that cannot be, and why."""
        texts = self._store.missing(
            text for entry in self._waiting if entry.kind == "text" for _, text in entry.passages
        )
        images = self._store.missing_digests(self._squares)
        total = len(texts) + IMAGE_LOAD * len(images)
        bad: dict[str, str] = {}
        for done, chunk in self._pace.chunks(texts):
            reasons: dict[int, str] = {}

            def tell(count: int, _: int, before: int = done) -> None:
                self._tally.tell((before + count) / total, passages=count)

            vectors = self._embed(
                chunk, on_error=reasons.__setitem__, progress=tell, cancel=self._cancel
            )
            bad |= {chunk[index]: reason for index, reason in reasons.items()}
            good = [index for index in range(len(chunk)) if index not in reasons]
            self._store.add_vectors([chunk[index] for index in good], vectors[good])
            self._tally.embedded(passages=len(chunk))
        for done, digests in self._image_pace.chunks(images):
            self._check_cancel()

            def tell_images(count: int, _: int, before: int = done) -> None:
                part = (len(texts) + IMAGE_LOAD * (before + count)) / total
                self._tally.tell(part, images=count)

            assert self._pictures is not None  # it made the squares
            vectors = self._pictures.embed(
                [self._squares[digest] for digest in digests],
                progress=tell_images,
                cancel=self._cancel,
            )
            self._store.add_images(digests, vectors)
            self._tally.embedded(images=len(digests))
        return bad

    def _drop(self, bad: dict[str, str]) -> None:
        """Leaves passages that cannot be embedded out of their files, and says so."""
        for number, entry in enumerate(self._waiting if bad else ()):
            dropped = [(line, bad[text]) for line, text in entry.passages if text in bad]
            if not dropped:
                continue
            for line, reason in dropped:
                self._tally.refuse(entry.path, f"line {line}: {reason}")
            good = tuple(item for item in entry.passages if item[1] not in bad)
            known = entry.known if good else replace(entry.known, reason=dropped[0][1])
            self._waiting[number] = replace(entry, passages=good, known=known)

    def _remove(self, known: dict[Path, Known]) -> int:
        """Forgets what is gone or can no longer be read; gives how many are gone."""
        if not known:
            return 0
        self._check_cancel()
        self._store.remove_files(known)
        self._wrote = True
        refused = {path for path, _ in (*self._tally.refused, *self._tally.left_out)}
        return sum(
            row.reason is None and refused.isdisjoint((path, *path.parents))
            for path, row in known.items()
        )

    def _check_cancel(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise CancelledError("cancelled; what was embedded so far is kept in the index")
