"""Exact search: every vector of an index against a query, and the passages nearest to it.

Takes a connection and a query (D,), gives passages, the best first; rows that are not what was put
in are noted on the way. Changes nothing, and knows no model.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge.search.fit import Spread
from embedge.search.soundness import Damage, have_length_one, is_vector
from embedge.search.store import STORED
from embedge.search.where import Where
from embedge.vectors import Vectors

ROWS = 4096  # vectors read at a time
# CROSS JOIN: in this order, so that rows come sorted without being sorted.
_PLACES = "FROM files CROSS JOIN places ON file = files.id"


@dataclass(frozen=True, slots=True)
class Nearest:
    """What a look at the vectors found."""

    scores: dict[int, float]  # passage -> product with the query; the best first
    places: dict[int, int]  # every passage that is there -> where its first place comes
    spread: Spread  # of the products of all passages


def nearest(
    connection: sqlite3.Connection,
    query: Vectors,
    count: int,
    damage: Damage,
    where: Where,
) -> Nearest:
    """The passages and images nearest to a query, by product; each once, the best first.

    Of equal products, the first in the order of paths and lines.

    Args:
        connection: inside a transaction.
        query: (D,), of length 1, as the vectors of the index are.
        count: at most so many.
        damage: told of vectors that are not what was put in.
        where: which files are wanted.
    """
    rows = (
        f"SELECT file, passage, checksum, vector {_PLACES} "
        f"LEFT JOIN vectors ON vectors.id = passage WHERE {where.sql} ORDER BY path, number"
    )
    scores = np.empty(0, np.float32)  # of the best so far, falling
    best: list[int] = []
    places: dict[int, int] = {}
    number, total, squares = 0, 0.0, 0.0
    cursor = connection.execute(rows, where.values)
    for passages, vectors in _chunks(cursor, len(query), damage, places):
        products = _products(vectors, query)
        number += len(products)
        total += float(products.sum(dtype=np.float64))
        squares += float(np.square(products, dtype=np.float64).sum())
        if len(best) == count:
            better = np.flatnonzero(products > scores[-1])
            passages, products = [passages[i] for i in better], products[better]
        scores, best = np.concatenate([scores, products]), best + passages
        order = np.argsort(-scores, kind="stable")[:count]
        scores, best = scores[order], [best[i] for i in order]
    found = dict(zip(best, scores.tolist(), strict=True))
    return Nearest(found, places, Spread.of(number, total, squares))


def passages_in_order(connection: sqlite3.Connection, where: Where) -> dict[int, int]:
    """Every passage of the files that are wanted -> where its first place comes."""
    places: dict[int, int] = {}
    rows = f"SELECT passage {_PLACES} WHERE {where.sql} ORDER BY path, number"
    for (passage,) in connection.execute(rows, where.values):
        places.setdefault(passage, len(places))
    return places


def score_of(connection: sqlite3.Connection, passage: int, query: Vectors) -> float | None:
    """The product of one passage with a query (D,); None if its vector is damaged."""
    row = connection.execute(
        "SELECT vector, checksum FROM vectors WHERE id = ?", (passage,)
    ).fetchone()
    if row is None:
        return None
    vector, kept = row
    if not is_vector(passage, vector, kept, len(query) * STORED.itemsize):
        return None
    vectors = np.frombuffer(vector, STORED).reshape(1, -1)
    return float(_products(vectors, query)[0]) if have_length_one(vectors).all() else None


def _products(vectors: NDArray[np.float32], query: Vectors) -> NDArray[np.float32]:
    # Not `@`: what BLAS gives for a row varies with the rows around it.
    products: NDArray[np.float32] = np.einsum("nd,d->n", vectors, query)  # (n, D), (D,) -> (n,)
    return products


def _chunks(
    cursor: sqlite3.Cursor, width: int, damage: Damage, places: dict[int, int]
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:  # n passages, (n, D)
    """The sound vectors among the rows, and whose they are; notes the others as damage.

    A passage with several places comes once, at the first; `places` is filled.
    """
    size = width * STORED.itemsize  # bytes
    while rows := cursor.fetchmany(ROWS):
        good = []
        for file, passage, kept, vector in rows:
            if passage in places:
                continue
            if is_vector(passage, vector, kept, size):
                places[passage] = len(places)
                good.append((file, passage, vector))
            else:
                damage.add(file, passage)
        data = b"".join([vector for _, _, vector in good])
        vectors = np.frombuffer(data, STORED).reshape(-1, width)
        sound = have_length_one(vectors)
        if not sound.all():
            for index in np.flatnonzero(~sound):
                damage.add(*good[index][:2])
            good, vectors = [good[i] for i in np.flatnonzero(sound)], vectors[sound]
        yield [passage for _, passage, _ in good], vectors
