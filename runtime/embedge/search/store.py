"""What an index keeps: files and records, their passages, and one vector a text.

Texts are stored once by the hash of their content, so that a renamed file, a moved paragraph or a
boilerplate header is embedded once. Vectors go in before the files that need them, a few at a
time; a file changes from old to new in one transaction. Takes and gives bytes for paths (a name
need not be Unicode), float32 (n, D) for vectors. Knows no folder, no splitting and no model.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedge.errors import IndexReadOnlyError, SearchIndexError
from embedge.search import blocks, records, rows, schema, words
from embedge.search.database import Database
from embedge.search.records import Record, RecordId
from embedge.search.rows import Known
from embedge.search.soundness import Damage, image_digest, text_digest
from embedge.search.where import BELOW, Kind, Where, path_range
from embedge.vectors import Vectors

# Names among the meaning's; their values are not compared.
RUNTIMES = "onnxruntime"
FOLDERS = "folders"
MOST_FOLDERS = 100  # that are remembered
# Files whose row cannot be ours. They may lie anywhere, for their path may be what is wrong.
_BAD_FILES = (
    "SELECT id FROM files WHERE (typeof(path) <> 'blob' OR kind NOT IN ('text', 'image') OR "
    "typeof(stamp) NOT IN ('text', 'null') OR typeof(digest) <> 'blob' OR "
    "typeof(reason) NOT IN ('text', 'null'))"
)

IMAGE_PASSAGES = ((0, ""),)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it is to be remembered."""

    path: Path
    known: Known
    passages: Sequence[tuple[int, str]]  # (line, text); of an image IMAGE_PASSAGES
    kind: Kind = "text"

    def passage_digest(self, text: str) -> bytes:
        """What one of its passages is known by."""
        return text_digest(text) if self.kind == "text" else image_digest(self.known.digest)


class Store:
    """The content of an open index."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known_files(self, root: Path) -> dict[Path, Known]:
        """Every file remembered at or below a path. Forgets those whose row is damaged."""
        with self._database.reading() as connection:
            # A damaged record is not forgotten in silence; a search that finds it names it.
            query = _BAD_FILES
            if schema.is_current(connection):
                query += " AND id NOT IN (SELECT file FROM records)"
            bad = {file for (file,) in connection.execute(query)}
        if bad:
            self.forget(Damage(files=bad))
        query = f"SELECT path, stamp, digest, reason FROM files WHERE {BELOW}"
        with self._database.reading() as connection:
            return {
                Path(os.fsdecode(path)): Known(*rest)
                for path, *rest in connection.execute(query, path_range(root))
            }

    def count(self, where: Where) -> tuple[int, int]:
        """How many files with text, or records, there are, and passages."""
        files = f"SELECT count(*) FROM files WHERE reason IS NULL AND {where.sql}"
        places = f"SELECT count(*) FROM files JOIN places ON file = files.id WHERE {where.sql}"
        with self._database.reading() as connection:
            (file_count,) = connection.execute(files, where.values).fetchone()
            (passage_count,) = connection.execute(places, where.values).fetchone()
        return file_count, passage_count

    def only(self, where: Where, wants: Callable[[Path], bool]) -> Where:
        """Of some files those whose path is wanted; no records."""
        query = (
            f"SELECT id, path FROM files WHERE typeof(path) = 'blob' AND {where.sql} "
            f"AND NOT {records.IS_RECORD}"
        )
        with self._database.reading() as connection:
            found = connection.execute(query, where.values)
            return where.among(file for file, path in found if wants(Path(os.fsdecode(path))))

    def missing(self, texts: Iterable[str]) -> list[str]:
        """The texts that have no vector yet, each once."""
        digests = {text_digest(text): text for text in texts}
        return [digests[digest] for digest in self.missing_digests(digests)]

    def missing_digests(self, digests: Iterable[bytes]) -> list[bytes]:
        """What is known by these digests, and has no vector yet, each once."""
        query = "SELECT 1 FROM passages WHERE digest = ?"
        with self._database.reading() as connection:
            return [
                digest
                for digest in dict.fromkeys(digests)
                if connection.execute(query, (digest,)).fetchone() is None
            ]

    def add_vectors(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Keeps the vectors (n, D) of n texts."""
        self._add([(text_digest(text), text) for text in texts], vectors)

    def add_images(self, digests: Sequence[bytes], vectors: Vectors) -> None:
        """Keeps the vectors (n, D) of n images."""
        self._add([(digest, "") for digest in digests], vectors)

    def _add(self, passages: Sequence[tuple[bytes, str]], vectors: Vectors) -> None:
        kept = rows.stored(vectors)
        with self._database.writing() as connection:
            rows.add_passages(connection, passages, kept)

    def put_files(self, entries: Iterable[Entry]) -> bool:
        """Remembers files with their passages in place of what was known of them.

        Returns:
            False, and nothing has changed, if a vector is missing: another process may have
            swept it away before a file needed it.
        """
        try:
            with self._database.writing() as connection:
                for entry in entries:
                    _put_file(connection, entry)
        except rows.MissingVectorError:
            return False
        return True

    def put_records(
        self, entries: Iterable[Record], texts: Sequence[str], vectors: Vectors
    ) -> tuple[int, int] | None:
        """Keeps records in place of those with the same ids, all or none.

        Args:
            entries: no two with one id.
            texts: of their passages, those whose vectors are given.
            vectors: (n, D), of the n texts.

        Returns:
            How many were new, and how many took the place of others. None, and nothing has
            changed, if a vector is missing.
        """
        kept = rows.stored(vectors)
        added = replaced = 0
        try:
            with self._database.writing() as connection:
                rows.add_passages(connection, [(text_digest(text), text) for text in texts], kept)
                for record in entries:
                    before = rows.remove_file(connection, record.key)
                    known = Known(None, record.digest, None)
                    passages = [(line, text_digest(text)) for line, text in record.passages]
                    file = rows.add_file(connection, record.key, "text", known, passages)
                    records.put_beside(connection, file, record)
                    rows.sweep(connection, before or ())
                    added, replaced = added + (before is None), replaced + (before is not None)
        except rows.MissingVectorError:
            return None
        return added, replaced

    def remove_records(self, keys: Iterable[bytes]) -> int:
        """Forgets records and what only they needed; gives how many there were."""
        removed = 0
        with self._database.writing() as connection:
            for key in keys:
                before = rows.remove_file(connection, key)
                rows.sweep(connection, before or ())
                removed += before is not None
        return removed

    def changed_records(self, entries: Iterable[Record]) -> list[Record]:
        """Those of some records that are not in the index as they are."""
        query = "SELECT digest FROM files WHERE path = ?"
        with self._database.reading() as connection:
            return [
                record
                for record in entries
                if connection.execute(query, (record.key,)).fetchone() != (record.digest,)
            ]

    def record_ids(self) -> list[RecordId]:
        """The ids of all records, ordered by their JSON."""
        query = f"SELECT path FROM files WHERE {records.IS_RECORD} ORDER BY path"
        with self._database.reading() as connection:
            ids = [records.id_of(path) for (path,) in connection.execute(query)]
        return [value for value in ids if value is not None]

    def renew_stamps(self, stamps: Mapping[Path, str]) -> None:
        """Remembers new stamps of files whose content is unchanged."""
        with self._database.writing() as connection:
            connection.executemany(
                "UPDATE files SET stamp = ? WHERE path = ?",
                [(stamp, os.fsencode(path)) for path, stamp in stamps.items()],
            )

    def remove_files(self, paths: Iterable[Path]) -> None:
        """Forgets files and their places."""
        with self._database.writing() as connection:
            for path in paths:
                rows.remove_file(connection, os.fsencode(path))

    def remove_below(self, roots: Iterable[Path]) -> int:
        """Forgets the files at or below some paths and what only they needed, all or none.

        Returns:
            How many there were that had text, or were images.
        """
        removed = 0
        query = f"SELECT id, reason FROM files WHERE {BELOW} AND NOT {records.IS_RECORD}"
        places = "SELECT passage FROM places WHERE file = ?"
        with self._database.writing() as connection:
            known = folders_of(connection)
            for root in roots:
                for file, reason in connection.execute(query, path_range(root)).fetchall():
                    unneeded = [row for (row,) in connection.execute(places, (file,))]
                    rows.remove_row(connection, file)
                    rows.sweep(connection, unneeded)
                    removed += reason is None
                known = [path for path in known if root not in (path, *path.parents)]
            _put_folders(connection, known)
        return removed

    def forget(self, damage: Damage) -> list[RecordId]:
        """Forgets damaged rows, and files that need them, so that an update makes them again.

        Returns:
            The ids of the records among them, which nothing else can make again.
        """
        with self._database.writing() as connection:
            files = set(damage.files)
            for passage in damage.passages:
                query = "SELECT file FROM places WHERE passage = ?"
                files.update(file for (file,) in connection.execute(query, (passage,)))
            lost = []
            for file in files:
                found = connection.execute("SELECT path FROM files WHERE id = ?", (file,))
                for (path,) in found.fetchall():
                    if isinstance(path, bytes) and (name := records.id_of(path)) is not None:
                        lost.append(name)
                rows.remove_row(connection, file)
            for passage in damage.passages:
                connection.execute("DELETE FROM vectors WHERE id = ?", (passage,))
                connection.execute("DELETE FROM passages WHERE id = ?", (passage,))
            blocks.remove(connection, damage.passages)
            if damage.passages:
                words.distrust(connection)
        return lost

    def runtimes(self) -> tuple[str, ...]:
        """The versions of ONNX Runtime that made its vectors, the first one first."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT value FROM meaning WHERE name = ?", (RUNTIMES,)
            ).fetchone()
        return tuple(row[0].split()) if row is not None and isinstance(row[0], str) else ()

    def add_runtime(self, version: str) -> None:
        """Remembers a version of ONNX Runtime that made vectors."""
        known = self.runtimes()
        if version not in known:
            with self._database.writing() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO meaning VALUES (?, ?)",
                    (RUNTIMES, " ".join((*known, version))),
                )

    def add_folders(self, roots: Sequence[Path]) -> None:
        """Remembers what it was brought up to date with: files and folders, none below another."""
        with self._database.writing() as connection:
            known = folders_of(connection)
            wanted = dict.fromkeys([*known, *roots])
            kept = [p for p in wanted if not any(other in p.parents for other in wanted)]
            if kept != known:
                _put_folders(connection, kept)

    def sweep(self) -> None:
        """Deletes texts and vectors that no file needs any more."""
        unused = "SELECT id FROM passages WHERE id NOT IN (SELECT passage FROM places)"
        with self._database.writing() as connection:
            rows.remove_passages(connection, [passage for (passage,) in connection.execute(unused)])

    def reason_without_words(self) -> str:
        """Why words cannot be looked for, and what to do; nothing where they can."""
        if not words.available():
            return (
                "the SQLite of this Python was built without FTS5; use a Python whose SQLite has "
                'it, or mode="vectors"'
            )
        with self._database.reading() as connection:
            if words.are_whole(connection):
                return ""
        return "the index has no words yet; update it, which embeds nothing again"

    def complete(self) -> None:
        """Makes an index of an older format one of the newest, and its words whole.

        Nothing is embedded for it; of 100,000 passages it takes seconds.
        """
        with self._database.reading() as connection:
            wordless = not words.are_whole(connection) and words.available()
            if schema.is_current(connection) and not wordless:
                return
        # An index that cannot be written is searched as it is; but words that are missing are said.
        refused = () if wordless else (IndexReadOnlyError,)
        with contextlib.suppress(*refused), self._database.writing() as connection:
            if wordless and not words.are_whole(connection):
                words.fill(connection)

    def renew_codes(self, damaged: Iterable[int]) -> None:
        """Makes blocks of codes again, where this index may be written."""
        with contextlib.suppress(SearchIndexError), self._database.writing() as connection:
            for block in damaged:
                blocks.renew_block(connection, block)


def folders_of(connection: sqlite3.Connection) -> list[Path]:
    """What an index was brought up to date with; nothing where it does not say so."""
    row = connection.execute("SELECT value FROM meaning WHERE name = ?", (FOLDERS,)).fetchone()
    try:
        return [Path(name) for name in json.loads(row[0])] if row else []
    except (TypeError, ValueError):
        return []


def _put_folders(connection: sqlite3.Connection, folders: Sequence[Path]) -> None:
    value = json.dumps([str(path) for path in folders[:MOST_FOLDERS]])
    connection.execute("INSERT OR REPLACE INTO meaning VALUES (?, ?)", (FOLDERS, value))


def _put_file(connection: sqlite3.Connection, entry: Entry) -> None:
    path = os.fsencode(entry.path)
    rows.remove_file(connection, path)
    passages = [(line, entry.passage_digest(text)) for line, text in entry.passages]
    rows.add_file(connection, path, entry.kind, entry.known, passages)
