"""A search from query to hits: by vectors, by words, or by both.

Takes a database, and the query as a vector (D,) and as terms; gives hits, the best first. Equal
passages are one hit. Rows that are not what was put in are found on the way. Changes nothing, and
knows no model.
"""

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from embedge.search import words
from embedge.search.database import Database
from embedge.search.fit import fit
from embedge.search.fusion import fuse
from embedge.search.nearest import nearest, passages_in_order, score_of
from embedge.search.soundness import Damage, DamagedRowsError, is_hit
from embedge.search.store import Kind, Where
from embedge.search.terms import Term
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
    """A passage, or an image, that answers a query."""

    score: float  # cosine to the query, -1 to 1
    path: Path  # absolute, as the folder was resolved
    line: int  # where the passage starts, from 1
    text: str  # at most 1,200 characters
    kind: Kind = "text"  # of an image, line is 0 and text is empty
    words: tuple[str, ...] = ()  # of the query, that stand in the passage; not of mode "vectors"
    also: tuple[tuple[Path, int], ...] = ()  # other places of the same passage: path and line
    # Below 0, it hardly fits, though it is the best there is. None where that cannot be said: in
    # other modes than hybrid, among fewer than 200 passages, and where images are searched too.
    fit: float | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, and where."""

    vector: Vectors  # (D,), of length 1
    terms: Sequence[Term]  # none where words are not looked for
    by_vectors: bool
    count: int
    where: Where


def find(database: Database, query: Query) -> list[Hit]:
    """The passages and images that answer a query best.

    Vectors and words are each a ranking, and the two are fused. Of equal places in a ranking, the
    first in the order of paths and lines.

    Raises:
        DamagedRowsError: a vector, or a passage found, is not what was put in.
    """
    where = query.where
    damage = Damage()
    with database.reading() as connection:
        # Another process may have changed the words since the query was made.
        terms = query.terms if words.are_whole(connection) else ()
        depth = max(query.count, DEPTH) if terms else query.count
        if query.by_vectors:
            near = nearest(connection, query.vector, depth, damage, where)
            scores, places = near.scores, near.places
            spread = None if _has_images(connection, where) else near.spread
        else:
            scores, places, spread = {}, passages_in_order(connection, where), None
        share = SHARE if query.by_vectors else 0.0
        by_words = words.best(connection, terms, places, depth, share=share)
        ranked = fuse(by_words, list(scores))[: query.count]  # of equal ranks, first the word's
        held = words.words_of(connection, terms, ranked)
        rows = _rows_of(connection, ranked, where)
        hits = []
        for passage in ranked:
            score = scores.get(passage)
            if score is None:
                score = score_of(connection, passage, query.vector)
            bad = [row[0] for row in rows[passage] if score is None or not is_hit(*row[1:])]
            for file in bad:
                damage.add(file, passage)
            if score is not None and not bad:
                hit = _hit(score, rows[passage], held[passage])
                if spread is not None and terms:
                    share = len(hit.words) / len(terms)
                    hit = replace(hit, fit=fit(score, spread, share))
                hits.append(hit)
    if damage.files:
        raise DamagedRowsError(damage)
    return hits


def _has_images(connection: sqlite3.Connection, where: Where) -> bool:
    query = f"SELECT 1 FROM files WHERE kind = 'image' AND {where.sql} LIMIT 1"
    return connection.execute(query, where.values).fetchone() is not None


def _rows_of(
    connection: sqlite3.Connection, passages: Sequence[int], where: Where
) -> dict[int, list[tuple[Any, ...]]]:
    """For each passage its places, in order: the file, and what `is_hit` checks."""
    rows: dict[int, list[tuple[Any, ...]]] = {passage: [] for passage in passages}
    for some in words.chunks_of_ids(passages):  # each looks at all places, so not one by one
        query = (
            "SELECT passage, file, path, files.digest, kind, line, CAST(text AS BLOB), "
            "typeof(text), passages.digest FROM places JOIN files ON files.id = file "
            "LEFT JOIN passages ON passages.id = passage "
            f"WHERE passage IN ({some}) AND {where.sql} ORDER BY path, number"
        )
        for passage, *row in connection.execute(query, where.values):
            rows[passage].append(tuple(row))
    return rows


def _hit(score: float, rows: list[tuple[Any, ...]], held: tuple[str, ...]) -> Hit:
    """The hit that a sound passage is."""
    first, *others = [(Path(os.fsdecode(path)), line) for _, path, _, _, line, *_ in rows]
    cosine = max(-1.0, min(1.0, score))  # rounding may leave 1.0000001
    _, _, _, kind, _, text, *_ = rows[0]
    return Hit(cosine, *first, text.decode(), kind, held, tuple(others))
