"""A search from query to hits: by vectors, by words, or by both.

Takes a database, and the query as a vector (D,) and as terms; gives hits, the best first. Equal
passages of files are one hit; each record is a hit of its own. Rows that are not what was put in
are found on the way. Changes nothing, and knows no model.
"""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from embedge.search import records, schema, words
from embedge.search.blocks import Blocks
from embedge.search.database import Database
from embedge.search.fit import fit
from embedge.search.fusion import fuse
from embedge.search.ids import chunks_of_ids, first_places
from embedge.search.nearest import has_many, nearest, score_of
from embedge.search.records import RecordId
from embedge.search.soundness import Damage, DamagedRowsError, is_hit
from embedge.search.terms import Term
from embedge.search.where import Kind, Where
from embedge.vectors import Vectors

Mode = Literal["hybrid", "vectors", "words"]

# How far down the two rankings are fused. It does not follow from the number of hits, so that the
# best three are the same whether five or fifty are asked for.
DEPTH = 1000
# A passage counts as found by words if it has this share of the best one's BM25. Ranks do not show
# that one passage has the rare word of a query, and the next hundred only the common one.
SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage of a file or record, or an image, that answers a query."""

    score: float  # cosine to the query, -1 to 1
    path: Path | None  # absolute, as the folder was resolved; None of a record
    line: (
        int  # where the passage starts in its file or text, from 1; of PDF page, of DOCX paragraph
    )
    text: str  # at most 1,200 characters
    kind: Kind = "text"  # of an image, line is 0 and text is empty
    words: tuple[str, ...] = ()  # of the query, that stand in the passage; not of mode "vectors"
    also: tuple[tuple[Path, int], ...] = ()  # other places of the same passage: path and line
    # Below 0, it hardly fits, though it is the best there is. None where that cannot be said: in
    # other modes than hybrid, among fewer than 200 passages, and where images are searched too.
    fit: float | None = None
    passage: int = 1  # which one of its file or record, from 1
    id: RecordId | None = None  # of a record
    metadata: Mapping[str, Any] | None = None  # of a record, as it was added


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, and where."""

    vector: Vectors  # (D,), of length 1
    terms: Sequence[Term]  # none where words are not looked for
    by_vectors: bool
    count: int
    where: Where


def find(database: Database, query: Query, codes: Blocks) -> list[Hit]:
    """The passages and images that answer a query best.

    Vectors and words are each a ranking, and the two are fused. Of equal places in a ranking, the
    first in the order of paths and lines.

    Raises:
        DamagedRowsError: a vector, or a passage found, is not what was put in.
    """
    where = query.where
    damage = Damage()
    with database.reading() as connection:
        if where.new and not schema.is_current(connection):
            return []
        # Another process may have changed the words since the query was made.
        terms = query.terms if words.are_whole(connection) else ()
        depth = max(query.count, DEPTH) if terms else query.count
        scores: dict[int, float] = {}
        spread = wanted = None
        if query.by_vectors:
            near = nearest(connection, query.vector, depth, damage, where, codes)
            scores, wanted = near.scores, near.wanted
            spread = None if _has_images(connection, where) else near.spread
        share = SHARE if query.by_vectors else 0.0
        places = partial(first_places, connection, where=where, among=wanted)
        many = has_many(connection)
        by_words = words.best(connection, terms, places, depth, share=share, bounded=many)
        if many and not query.by_vectors and len(by_words) < query.count:
            by_words = words.best(connection, terms, places, depth)
        ranked = fuse(by_words, list(scores))[: query.count]  # of equal ranks, first the word's
        held = words.words_of(connection, terms, ranked)
        rows = _rows_of(connection, ranked, where)
        hits = []
        for passage in ranked:
            score = scores.get(passage)
            if score is None:
                score = score_of(connection, passage, query.vector)
            bad = [row.file for row in rows[passage] if score is None or not row.is_sound]
            for file in bad:
                damage.add(file, passage)
            if score is not None and not bad:
                found = _hits(score, rows[passage], held[passage])
                if spread is not None and terms:
                    share = len(held[passage]) / len(terms)
                    fits = fit(score, spread, share)
                    found = [replace(hit, fit=fits) for hit in found]
                hits.extend(found)
    if damage.files:
        raise DamagedRowsError(damage)
    return hits[: query.count]


def _has_images(connection: sqlite3.Connection, where: Where) -> bool:
    query = f"SELECT 1 FROM files WHERE kind = 'image' AND {where.check} LIMIT 1"
    return connection.execute(query, where.values).fetchone() is not None


@dataclass(frozen=True, slots=True)
class _Row:
    """A place of a passage, and what stands there."""

    file: int
    path: Any
    kind: Any
    line: Any
    number: Any
    text: Any  # bytes
    metadata: dict[str, Any] | None  # of a record, unless it is damaged
    is_sound: bool


def _rows_of(
    connection: sqlite3.Connection, passages: Sequence[int], where: Where
) -> dict[int, list[_Row]]:
    """For each passage its places, in order."""
    rows: dict[int, list[_Row]] = {passage: [] for passage in passages}
    beside, join = "NULL, NULL", ""
    if schema.is_current(connection):
        beside = "metadata, records.checksum"
        join = "LEFT JOIN records ON records.file = files.id"
    for some in chunks_of_ids(passages):  # in an older index each looks at all places
        query = (
            "SELECT passage, places.file, path, files.digest, kind, line, number, "
            f"CAST(text AS BLOB), typeof(text), passages.digest, {beside} "
            "FROM places JOIN files ON files.id = places.file "
            f"LEFT JOIN passages ON passages.id = passage {join} "
            f"WHERE passage IN ({some}) AND {where.check} ORDER BY path, number"
        )
        for passage, *row in connection.execute(query, where.values):
            rows[passage].append(_row(*row))
    return rows


def _row(
    file: int,
    path: Any,
    file_digest: Any,
    kind: Any,
    line: Any,
    number: Any,
    text: Any,
    text_type: Any,
    digest: Any,
    metadata: Any,
    checksum: Any,
) -> _Row:
    sound = is_hit(path, file_digest, kind, line, text, text_type, digest)
    if isinstance(path, bytes) and records.id_of(path) is None:
        return _Row(file, path, kind, line, number, text, None, sound)
    found = records.metadata_of(file, metadata, checksum)
    return _Row(file, path, kind, line, number, text, found, sound and found is not None)


def _hits(score: float, rows: Sequence[_Row], held: tuple[str, ...]) -> list[Hit]:
    """The hits that a sound passage is: one for all files, and one for each record."""
    cosine = max(-1.0, min(1.0, score))  # rounding may leave 1.0000001
    hits = []
    in_files = [row for row in rows if row.metadata is None]
    for row in rows:
        hit = Hit(cosine, None, row.line, row.text.decode(), row.kind, held, passage=row.number + 1)
        if row.metadata is not None:
            hits.append(replace(hit, id=records.id_of(row.path), metadata=row.metadata))
        elif row is in_files[0]:
            first, *others = [(Path(os.fsdecode(r.path)), r.line) for r in in_files]
            hits.append(replace(hit, path=first[0], also=tuple(others)))
    return hits
