"""The class that users hold: an index file and an embedder, joined to search folders.

Joins the other modules: what determines the vectors -> `database` -> `store`; a folder -> `update`
-> the index; a query -> the best passages. Knows no SQL and reads no file of a folder itself.
"""

import hashlib
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self, get_args

from embedge.calls import Call, alias_options
from embedge.closing import Calls, counted
from embedge.embedder import Embedder
from embedge.engine.kernels import integer_kernel
from embedge.engine.loading import runtime_version
from embedge.errors import (
    IndexFileError,
    IndexReadOnlyError,
    IndexRowsError,
    InputError,
    OptionError,
)
from embedge.files.caches import cache_folder, check_private, make_private_folder
from embedge.files.paths import absolute_path
from embedge.options import check_callback, check_cancel, check_one_of, flag, shown, whole_number
from embedge.reopening import Reduced, reduce_index
from embedge.search.database import Database, damaged
from embedge.search.passages import SPLITTING
from embedge.search.pictures import Pictures
from embedge.search.soundness import Damage, DamagedRowsError
from embedge.search.store import Kind, Store
from embedge.search.update import Update, UpdateProgress, UpdateReport

_ELSEWHERE = "name a place for the index (--index FILE), or search without one (--no-index)"
DOCUMENTS = "retrieval.passage"  # the alias whose task and prompt passages are embedded with


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage, or an image, that answers a query."""

    score: float  # cosine to the query, -1 to 1
    path: Path  # absolute, as the folder was resolved
    line: int  # where the passage starts, from 1
    text: str  # at most 1,200 characters
    kind: Kind = "text"  # of an image, line is 0 and text is empty


class SearchIndex:
    """The passages and images of folders, in one file. A context manager; safe between threads.

    The file holds the texts of the passages as well as their vectors. Searching is exact: every
    vector is compared. Several processes may use one file; those that write take turns.

    Vectors of one text differ a little between versions of ONNX Runtime (cosine of at least 0.9998
    between 1.23 and 1.32), which hardly moves a score, so an index is kept across an upgrade:
    what is new is embedded with the new version, and `runtimes` names them all. Where every vector
    has to be of one version, rebuild it. Whatever changes vectors by more (another model,
    precision, task, device or integer kernel, …) is an IndexOutdatedError.

    Args:
        path: the file, made if there is none; None keeps the index for as long as it is open.
        embedder: embeds passages and queries. It stays yours: closing the index leaves it open.
        task: default: retrieval where the pack has it, else the pack's default task.
        truncate_dim: keep the first so many dimensions of every vector.
        rebuild: empty the index first, also where it is damaged or another model's.

    Raises:
        IndexFileError: the file is damaged, cannot be opened, or is no embedge index; one that is
            no index is never changed or deleted, whatever `rebuild` says.
        IndexOutdatedError: another model, precision, task, width, … made its vectors.
        IndexBusyError: another process has been writing to it for a minute.
        OptionError: the pack has no such task or width.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        embedder: Embedder,
        *,
        task: str | None = None,
        truncate_dim: int | None = None,
        rebuild: bool = False,
    ) -> None:
        rebuild = flag(rebuild, "rebuild")
        if not callable(getattr(embedder, "encode_query", None)):
            raise OptionError(f"embedder is {shown(embedder)}; it must be an Embedder")
        manifest = embedder.manifest
        call = Call.of(
            manifest, **alias_options(manifest, DOCUMENTS, task=task), truncate_dim=truncate_dim
        )
        device = embedder.device
        if device == "cpu" and embedder.precision == "int8":
            device += f", {integer_kernel().value}"
        meaning = {
            "model": f"{manifest.model_id} {manifest.fingerprint(embedder.precision)}",
            "precision": embedder.precision,
            "task": call.task,
            "prompt": repr(call.prompt),
            "width": str(call.width),
            "device": device,
            "longest text": f"{embedder.max_length} tokens",
            "splitting": str(SPLITTING),
        }
        if manifest.image is not None:  # its size and scaling are part of the fingerprint
            meaning["images"] = "upright"
        self._embedder = embedder
        self._call = call
        self._pictures = (
            None if manifest.image is None else Pictures(embedder, manifest.image, call)
        )
        self._path = None if path is None else absolute_path(path, "path")
        self._database = Database(self._path, meaning, rebuild=rebuild)
        self._store = Store(self._database, width=call.width)
        self._options = {  # to open it again, see __reduce__
            "embedder": embedder,
            "task": call.task,
            "truncate_dim": truncate_dim,
        }
        self._calls = Calls("this search index is closed; open it again", self._database.close)

    @counted
    def update(
        self,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[UpdateProgress], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> UpdateReport:
        """Brings the index up to date with a folder, or with one file.

        Files are embedded if their content is new. Afterwards the index holds exactly what could
        be read: what is gone, or was refused, is no longer found. Stopped at any moment, by an
        error, `cancel` or a kill, it holds some files old and some new, never one half; the next
        update goes on from there. A passage that cannot be embedded is left out, with the reason in
        the report; the rest of its file is found. What lies outside the path is left as it is.

        Args:
            path: UTF-8 texts, or UTF-16 with a byte order mark, of at most 8 MiB; and, where the
                pack has an image tower, images, by their suffix, of at most 64 MiB. Hidden files,
                links, and folders named build, dist, node_modules or __pycache__ are left out.
            progress: called now and then.
            cancel: set it from another thread to stop, also while the network runs.

        Raises:
            InputError: the path does not exist or cannot be read; nothing was changed.
            IndexReadOnlyError: the index cannot be written.
            IndexBusyError, IndexFileError, IndexOutdatedError: as for the class.
            CancelledError: `cancel` was set.
        """
        check_callback(progress, "progress(state)")
        check_cancel(cancel)
        own = self._path
        exclude = () if own is None else (own, own.with_name(own.name + "-journal"))
        update = Update(
            self._store,
            partial(
                self._embedder.encode_document,
                task=self._call.task,
                truncate_dim=self._call.width,
            ),
            pictures=self._pictures,
            progress=progress,
            cancel=cancel,
            exclude=exclude,
        )
        report = update.run(find_root(path))
        if report.added or report.updated:
            self._store.add_runtime(runtime_version())
        return report

    @counted
    def search(
        self,
        query: str,
        *,
        top_k: int = 5,
        path: str | os.PathLike[str] | None = None,
        kind: Kind | None = None,
    ) -> list[Hit]:
        """The passages, and images, that answer a query best, the best first.

        Cosines between two texts are commonly higher than those between a text and an image,
        however well it fits; `kind` keeps them apart.

        Args:
            query: what to look for, in words.
            top_k: at most so many.
            path: look only at or below it; everywhere if left out.
            kind: "text" or "image" for only those; both if left out.

        Returns:
            Of equal scores, first what comes first by path, then by line.

        Raises:
            InputError: the query is no str, or empty.
            OptionError: `kind` is unknown.
            ClosedError: the index or the embedder is closed.
            IndexRowsError: some passages are damaged. They are forgotten now, with their files:
                update the index, which embeds them again.
            IndexFileError, IndexOutdatedError: as for the class.
        """
        if not isinstance(query, str) or not query.strip():
            raise InputError("the query is empty; say in words what to look for")
        count = whole_number(top_k, "top_k")
        if kind is not None:
            check_one_of(kind, "kind", get_args(Kind))
        vector = self._embedder.encode_query(
            query, task=self._call.task, truncate_dim=self._call.width
        )  # (D,)
        root = None if path is None else find_root(path)
        try:
            found = self._store.best(vector, count, root, kind)
        except DamagedRowsError as error:
            raise self._forget(error.damage) from None
        # Rounding may leave a cosine of 1.0000001.
        return [Hit(max(-1.0, min(1.0, score)), *place) for score, place in found]

    @counted
    def count(self, path: str | os.PathLike[str] | None = None) -> tuple[int, int]:
        """How many files are in the index, and how many passages, at or below a path or in all."""
        return self._store.count(None if path is None else find_root(path))

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The versions of ONNX Runtime that made the vectors, the first one first."""
        return self._store.runtimes()

    def close(self) -> None:
        """Closes the file once the calls under way have ended; again, it does nothing."""
        self._calls.close()

    def __reduce__(self) -> Reduced:
        """Pickled by path and embedder; the other process, or the copy, opens the file again."""
        self._calls.check_open()
        if self._path is None:
            raise OptionError(
                "an index in memory cannot be pickled or copied; give SearchIndex a path"
            )
        return reduce_index(type(self), {"path": self._path, **self._options})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget(self, damage: Damage) -> IndexFileError:
        """Forgets damaged rows; gives the error that says so."""
        files = "a file" if len(damage.files) == 1 else f"{len(damage.files):,} files"
        try:
            self._store.forget(damage)
        except IndexReadOnlyError:
            return damaged(f"passages of {files} are not what they were", self._path)
        return IndexRowsError(
            f"{self._path or 'the search index'} was damaged (passages of {files} are not what "
            "they were), and has forgotten them; update it, which embeds them again"
        )


def find_root(path: str | os.PathLike[str]) -> Path:
    """The file or folder that a path means: absolute, links resolved.

    Raises:
        InputError: it does not exist, or cannot be reached.
    """
    absolute = absolute_path(path, "path")
    try:
        root = Path(os.path.realpath(absolute))
        root.stat()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give a file or a folder of texts") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return root


def default_place(root: Path) -> Path:
    """Where the index of a file or folder is kept if nobody says: among the user's caches.

    Its folder is made. It holds what the texts hold, so neither that folder nor the index may be
    anybody else's.

    Raises:
        IndexFileError: there is no such place, or another user could read or write what is there.
    """
    folder = cache_folder()
    if folder is None:
        raise IndexFileError(f"this user has no home folder for the index; {_ELSEWHERE}")
    readable = re.sub(r"[^\w.-]+", "-", root.name, flags=re.ASCII).strip("-.")[:40] or "root"
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    place = folder / "search" / f"{readable}-{digest}.sqlite"
    try:
        make_private_folder(folder)
        make_private_folder(place.parent)
        if os.path.lexists(place):
            check_private(place, place.lstat())
    except OSError as error:
        raise IndexFileError(
            f"{error.filename or place} cannot be used for the index "
            f"({error.strerror or error}); {_ELSEWHERE}"
        ) from error
    return place
