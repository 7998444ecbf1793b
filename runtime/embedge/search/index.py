"""The class that users hold: an index file and an embedder, joined to search folders and records.

Joins the other modules: what determines the vectors -> `database` -> `store`; a folder -> `update`
-> the index; records -> `additions` -> the index; a query -> `hits` -> the best passages. Knows no
SQL and reads no file of a folder itself.
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, get_args

from embedge.cautions import warn
from embedge.closing import Lifetime, counted
from embedge.embedder import Embedder
from embedge.engine.loading import runtime_version
from embedge.errors import (
    IndexFileError,
    IndexReadOnlyError,
    IndexRowsError,
    InputError,
    OptionError,
)
from embedge.files.paths import absolute_path
from embedge.options import check_callback, check_cancel, check_one_of, flag, shown, whole_number
from embedge.reopening import Reduced, reduce_index
from embedge.search import additions
from embedge.search.additions import AdditionReport
from embedge.search.blocks import Blocks
from embedge.search.database import Database, damage_error
from embedge.search.hits import Hit, Mode, Query, find
from embedge.search.meaning import Maker, call_of, maker_of, meaning_of
from embedge.search.pictures import Pictures
from embedge.search.places import Paths, find_roots, is_several
from embedge.search.records import RecordId, key_of
from embedge.search.selection import Selection
from embedge.search.soundness import Damage, DamagedRowsError
from embedge.search.store import Store
from embedge.search.tally import UpdateProgress, UpdateReport
from embedge.search.terms import query_terms
from embedge.search.update import Embed, Update
from embedge.search.updating import is_being_updated, updating
from embedge.search.where import Kind, Where


class SearchIndex:
    """The passages and images of folders, and an application's own records, in one file.

    A context manager; safe between threads.

    The file holds the texts of the passages as well as their vectors, and which words stand in
    them. Up to 50,000 passages every vector is compared; of more, the candidates that codes of two
    bits a dimension choose (see docs/search.md). Several processes may use one file; those
    that write take turns.

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
        IndexFileError: the file is damaged, cannot be opened, or is not an embedge index; one
            that is not is never changed or deleted, even with `rebuild`.
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
        call = call_of(embedder, task, truncate_dim)
        manifest = embedder.manifest
        self._embedder = embedder
        self._call = call
        self._pictures = (
            None if manifest.image is None else Pictures(embedder, manifest.image, call)
        )
        self._path = None if path is None else absolute_path(path, "path")
        self._database = Database(self._path, meaning_of(embedder, call), rebuild=rebuild)
        self._store = Store(self._database)
        self._codes = Blocks()
        self._options = {  # to open it again, see __reduce__
            "embedder": embedder,
            "task": call.task,
            "truncate_dim": truncate_dim,
        }
        self._lifetime = Lifetime(
            "this search index is closed; open it again", self._database.close
        )

    @counted
    def update(
        self,
        path: Paths,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        everything: bool = False,
        query: str | None = None,
        progress: Callable[[UpdateProgress], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> UpdateReport:
        """Brings the index up to date with a folder or a file, or with several.

        Files are embedded if their content is new. Afterwards the index holds exactly what could
        be read: what is gone, or was refused, is no longer found. Stopped at any moment, by an
        error, `cancel` or a kill, it holds some files old and some new, never one half; the next
        update goes on from there. A passage that cannot be embedded is left out, with the reason in
        the report; the rest of its file is found. What lies outside the path is left as it is.

        What is embedded so far can be searched meanwhile, from `progress`, from other threads and
        from other processes.

        Args:
            path: one, or a list of them. Read are UTF-8 texts, or UTF-16 with a byte order mark, of
                at most 8 MiB; PDFs (extra `documents`) and Word documents (.docx) of at most
                64 MiB; and, where the pack has an image tower, images, by their suffix, of at most
                64 MiB. Hidden files and links are left out.
            include: patterns as .gitignore writes them, relative to the path: only files that fit
                one, also generated ones. Other files stay in the index as they are.
            exclude: patterns of files and folders that are not to be read; they too stay.
            everything: read also what .gitignore names, folders named build, dist, node_modules or
                __pycache__, and the files of `report.left_out`.
            query: what is looked for meanwhile: files that hold its words are read first.
            progress: called now and then, also each time that more files can be found.
            cancel: set it from another thread to stop, also while the network runs.

        Raises:
            InputError: the path does not exist or cannot be read; nothing was changed.
            IndexReadOnlyError: the index cannot be written.
            IndexBusyError, IndexFileError, IndexOutdatedError: as for the class.
            CancelledError: `cancel` was set.
        """
        check_callback(progress, "progress(state)")
        check_cancel(cancel)
        if not isinstance(query, str | None):
            raise OptionError(f"query is {shown(query)}; it must be a str")
        selection = Selection(include, exclude, everything=flag(everything, "everything"))
        own = self._path
        update = Update(
            self._store,
            self._embed,
            pictures=self._pictures,
            progress=progress,
            cancel=cancel,
            selection=selection,
            terms=() if query is None else query_terms(query),
            own=() if own is None else (own, own.with_name(own.name + "-journal")),
        )
        with updating(own):
            report = update.run(find_roots(path))
        if report.added or report.updated:
            self._store.add_runtime(runtime_version())
        return report

    @counted
    def add(
        self,
        records: Iterable[Mapping[str, Any]],
        *,
        progress: Callable[[int], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> AdditionReport:
        """Adds an application's own records; one whose id is there takes the place of that.

        They are taken a batch at a time, so any number of them may come, also from a generator.
        Each batch is kept in one transaction: stopped at any moment, the index holds whole records
        only. Records and files share an index without meeting: `update` never removes a record.

        Args:
            records: `{"id": …, "text": …, "metadata": …}` each. The id is a str or an int, and
                "1" is not 1; the text is cut into passages as files are; the metadata, which may
                be left out, is a dict that JSON can write.
            progress: called as progress(done) after each batch, in records.
            cancel: set it from another thread to stop, also while the network runs.

        Returns:
            How many are new, replaced and unchanged, and which were refused, with the reason: one
            bad record does not keep the others out.

        Raises:
            InputError: `records` is not an iterable of mappings but one of them, or a str.
            IndexReadOnlyError, IndexBusyError, IndexFileError, IndexOutdatedError: as for
                `update`.
            CancelledError: `cancel` was set; the batches before are kept.

        >>> from embedge import Embedder, SearchIndex
        >>> with Embedder() as embedder, SearchIndex(None, embedder) as index:
        ...     report = index.add(
        ...         [
        ...             {"id": 1, "text": "The key is under the pot.", "metadata": {"lang": "en"}},
        ...             {"id": 2, "text": "Backups run at two.", "metadata": {"lang": "en"}},
        ...         ]
        ...     )
        ...     (hit,) = index.search("Where is the key?", top_k=1, where={"lang": "en"})
        >>> report.added, hit.id, hit.metadata
        (2, 1, {'lang': 'en'})
        """
        check_callback(progress, "progress(done)")
        check_cancel(cancel)
        report = additions.add(self._store, self._embed, records, progress=progress, cancel=cancel)
        if report.added or report.replaced:
            self._store.add_runtime(runtime_version())
        return report

    @counted
    def remove(self, ids: Iterable[RecordId]) -> int:
        """Removes records, all of them or none; ids that are not there are ignored.

        Returns:
            How many there were.

        Raises:
            InputError: `ids` is not an iterable of str and int.
            IndexReadOnlyError, IndexBusyError, IndexFileError, IndexOutdatedError: as for
                `update`.
        """
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise InputError(f"ids is {shown(ids)}; pass a list of ids")
        return self._store.remove_records(dict.fromkeys(key_of(value) for value in ids))

    @counted
    def remove_files(self, path: Paths) -> int:
        """Forgets the files at or below a path, or several, with their texts and vectors.

        The files on disk stay, and need not be there any more; so do records. A later update of the
        same path takes them in again.

        Returns:
            How many files there were, without those that were refused.

        Raises:
            InputError: there is no path.
            IndexReadOnlyError, IndexBusyError, IndexFileError, IndexOutdatedError: as for
                `update`.
        """
        paths: Sequence[Any] = path if is_several(path) else [path]
        if not paths:
            raise InputError("no path is given; name a file or folder at least")
        roots = [Path(os.path.realpath(absolute_path(one, "path"))) for one in paths]
        return self._store.remove_below(roots)

    @counted
    def ids(self) -> list[RecordId]:
        """The ids of all records in the index."""
        return self._store.record_ids()

    @counted
    def search(
        self,
        query: str,
        *,
        top_k: int = 5,
        path: Paths | None = None,
        kind: Kind | None = None,
        mode: Mode = "hybrid",
        where: Mapping[str, Any] | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> list[Hit]:
        """The passages, and images, that answer a query best, the best first.

        A hybrid search ranks twice, by the cosine of the vectors and by the words of the query
        that stand in a passage (BM25), and joins the two by reciprocal rank fusion; so the scores
        of its hits, which are cosines, need not fall. Equal passages of files are one hit; each
        record is a hit of its own.

        Cosines between two texts are commonly higher than those between a text and an image,
        however well it fits; `kind` keeps them apart.

        Args:
            query: what to look for, in words.
            top_k: at most so many.
            path: look only in files at or below it, or one of a list; everywhere if left out.
            kind: "text" or "image" for only those; both if left out.
            mode: "hybrid", "vectors" (by meaning alone) or "words" (only what holds at least one
                of the words). Without words in the index, a hybrid search warns (UserWarning) and
                goes by vectors.
            where: look only in records whose metadata has these values: {"lang": "en"}; or one
                of several: {"year": [2023, 2024]}. All the fields have to fit. A field that is a
                list in the metadata fits with any of its values.
            include: patterns as for `update`: look only in files that fit one.
            exclude: look in files alone, and in none that fits one.

        Returns:
            Of equal scores, first what comes first by path, then by line. `hit.words` are the
            words of the query that stand in it, `hit.also` the other places of an equal passage.

        Raises:
            InputError: the query is not a str, or empty.
            OptionError: `kind` or `mode` is unknown; `where` stands beside `path`, `include` or
                `exclude`, which are about files, or holds what no field can be; or mode="words"
                and the index has no words: this Python's SQLite lacks FTS5, or the index was made
                without it and not updated.
            ClosedError: the index or the embedder is closed.
            IndexRowsError: some passages are damaged. They are forgotten now, with their files and
                records: update the index, which embeds them again; the error names the records.
            IndexFileError, IndexOutdatedError: as for the class.
        """
        if not isinstance(query, str) or not query.strip():
            raise InputError("the query is empty; say in words what to look for")
        count = whole_number(top_k, "top_k")
        if kind is not None:
            check_one_of(kind, "kind", get_args(Kind))
        check_one_of(mode, "mode", get_args(Mode))
        terms = [] if mode == "vectors" or kind == "image" else query_terms(query)
        if terms and (reason := self._store.reason_without_words()):
            if mode == "words":
                raise OptionError(f'mode="words" cannot be used: {reason}')
            warn(f"searching by vectors alone: {reason}", UserWarning, stacklevel=4)
            terms = []
        if where is not None and (path is not None or include or exclude):
            raise OptionError(
                "where is about records, and path, include and exclude are about files; pass one "
                "or the other"
            )
        wanted = Where.having(where) if where else self._files(path, include, exclude)
        if kind is not None:
            wanted = wanted.and_kind(kind)
        vector = self._embedder.encode_query(
            query, task=self._call.task, truncate_dim=self._call.width
        )  # (D,)
        found = Query(vector, terms, mode != "words", count, wanted)
        try:
            hits = find(self._database, found, self._codes)
        except DamagedRowsError as error:
            raise self._forget(error.damage) from None
        if self._codes.damaged:
            self._store.renew_codes(self._codes.damaged)
        return hits

    @counted
    def count(
        self,
        path: Paths | None = None,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> tuple[int, int]:
        """How many files are in the index, and how many passages, at or below a path or in all.

        `include` and `exclude` are patterns as for `update`.
        """
        chosen = path is not None or include or exclude
        return self._store.count(self._files(path, include, exclude) if chosen else Where.files())

    @staticmethod
    def maker_of(embedder: Embedder, *, task: str | None = None) -> Maker:
        """The model, task and precision that an index of this embedder has, for `default_place`."""
        return maker_of(meaning_of(embedder, call_of(embedder, task)))

    @property
    def being_updated(self) -> bool:
        """Whether another process of this user, or another thread, is updating it just now.

        It can be searched as it stands. To update it too is no error, but embeds things twice.
        """
        return self._path is not None and is_being_updated(self._path)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The versions of ONNX Runtime that made the vectors, the first one first."""
        return self._store.runtimes()

    def close(self) -> None:
        """Closes the file once the calls under way have ended; again, it does nothing."""
        self._lifetime.close()

    def __reduce__(self) -> Reduced:
        """Pickled by path and embedder; the other process, or the copy, opens the file again."""
        self._lifetime.check_open()
        if self._path is None:
            raise OptionError(
                "an index in memory cannot be pickled or copied; give SearchIndex a path"
            )
        return reduce_index(type(self), {"path": self._path, **self._options})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _embed(self) -> Embed:
        return partial(
            self._embedder.encode_document, task=self._call.task, truncate_dim=self._call.width
        )

    def _files(
        self,
        path: Paths | None,
        include: Sequence[str],
        exclude: Sequence[str],
    ) -> Where:
        """Some files of the index; everything, records too, where none are named."""
        roots = [None] if path is None else find_roots(path)
        parts = [Where() if root is None else Where.below(root) for root in roots]
        selection = Selection(include, exclude)
        if selection.chooses:
            parts = [
                self._store.only(part, partial(selection.wants, root=root))
                for root, part in zip(roots, parts, strict=True)
            ]
        return Where.either(parts)

    def _forget(self, damage: Damage) -> IndexFileError:
        """Forgets damaged rows; gives the error that says so."""
        files = "a file" if len(damage.files) == 1 else f"{len(damage.files):,} files"
        try:
            lost = self._store.forget(damage)
        except IndexReadOnlyError:
            return damage_error(f"passages of {files} are not what they were", self._path)
        again = "update it, which embeds them again"
        if lost:
            names = ", ".join(shown(name) for name in lost[:5])
            more = f" and {len(lost) - 5:,} more" if len(lost) > 5 else ""
            again += f"; add the records {names}{more} again"
        return IndexRowsError(
            f"{self._path or 'the search index'} was damaged (passages of {files} are not what "
            f"they were), and has forgotten them; {again}"
        )
