"""Exact search: every vector of an index against a query, and the passages nearest to it.

Takes a database and a query (D,), gives hits, the best first; rows that are not what was put in are
found on the way. Changes nothing, and knows no model.
"""

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedge.search.database import Database
from embedge.search.soundness import Damage, DamagedRowsError, have_length_one, is_hit, is_vector
from embedge.search.store import STORED, Kind, condition
from embedge.vectors import Vectors

ROWS = 4096  # vectors read at a time
_Place = tuple[int, int]  # file and number of a passage in it


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage, or an image, that answers a query."""

    score: float  # cosine to the query, -1 to 1
    path: Path  # absolute, as the folder was resolved
    line: int  # where the passage starts, from 1
    text: str  # at most 1,200 characters
    kind: Kind = "text"  # of an image, line is 0 and text is empty


def nearest(
    database: Database,
    query: Vectors,
    count: int,
    *,
    root: Path | None = None,
    kind: Kind | None = None,
) -> list[Hit]:
    """The passages and images nearest to a query, by product; the best first.

    Of equal products, the first in the order of paths and lines.

    Args:
        database: an open index.
        query: (D,), of length 1, as the vectors of the index are.
        count: at most so many.
        root: only at or below this path; None: in all.
        kind: only of this kind; None: of both.

    Raises:
        DamagedRowsError: a vector, or a passage found, is not what was put in.
    """
    where, values = condition(root)
    if kind is not None:
        where, values = f"{where} AND kind = ?", (*values, kind)
    # CROSS JOIN: in this order, so that rows come sorted without being sorted.
    rows = (
        "SELECT file, number, passage, checksum, vector FROM files "
        "CROSS JOIN places ON file = files.id LEFT JOIN vectors ON vectors.id = passage "
        f"WHERE {where} ORDER BY path, number"
    )
    description = (
        "SELECT passage, path, files.digest, kind, line, CAST(text AS BLOB), typeof(text), "
        "passages.digest FROM places JOIN files ON files.id = file "
        "LEFT JOIN passages ON passages.id = passage WHERE file = ? AND number = ?"
    )
    scores = np.empty(0, np.float32)  # of the best so far, falling
    places: list[_Place] = []
    damage = Damage()
    with database.reading() as connection:
        for found, vectors in _chunks(connection.execute(rows, values), len(query), damage):
            # Not `@`: what BLAS gives for a row varies with the rows around it.
            products = np.einsum("nd,d->n", vectors, query)  # (n, D), (D,) -> (n,)
            if len(places) == count:
                better = np.flatnonzero(products > scores[-1])
                found, products = [found[i] for i in better], products[better]
            scores, places = np.concatenate([scores, products]), places + found
            order = np.argsort(-scores, kind="stable")[:count]
            scores, places = scores[order], [places[i] for i in order]
        hits = []
        for score, place in zip(scores.tolist(), places, strict=True):
            passage, *row = connection.execute(description, place).fetchone()
            if is_hit(*row):
                path, _, found_kind, line, text, *_ = row
                cosine = max(-1.0, min(1.0, score))  # rounding may leave 1.0000001
                hits.append(Hit(cosine, Path(os.fsdecode(path)), line, text.decode(), found_kind))
            else:
                damage.add(place[0], passage)
    if damage.files:
        raise DamagedRowsError(damage)
    return hits


def _chunks(
    cursor: sqlite3.Cursor, width: int, damage: Damage
) -> Iterator[tuple[list[_Place], NDArray[np.float32]]]:  # n places, (n, D)
    """The sound vectors among the rows, and where they belong; notes the others as damage."""
    size = width * STORED.itemsize  # bytes
    while rows := cursor.fetchmany(ROWS):
        good = []
        for row in rows:
            file, _, passage, kept, vector = row
            if is_vector(passage, vector, kept, size):
                good.append(row)
            else:
                damage.add(file, passage)
        data = b"".join([row[-1] for row in good])
        vectors = np.frombuffer(data, STORED).reshape(-1, width)
        sound = have_length_one(vectors)
        if not sound.all():
            for index in np.flatnonzero(~sound):
                damage.add(good[index][0], good[index][2])
            good, vectors = [good[i] for i in np.flatnonzero(sound)], vectors[sound]
        yield [(file, number) for file, number, *_ in good], vectors
