"""The passages nearest to a query: exactly, or by the codes first where there are many.

Takes a connection and a query (D,), gives passages, the best first; rows that are not what was put
in are noted on the way. Up to EXACT passages, every vector is compared. Above, the codes choose
candidates, and those are compared. Changes nothing, and knows no model.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge.search import blocks, schema
from embedge.search.blocks import Blocks
from embedge.search.fit import Spread
from embedge.search.ids import chunks_of_ids, first_places, standing
from embedge.search.soundness import STORED, Damage, have_length_one, is_vector
from embedge.search.where import Where
from embedge.vectors import Vectors

EXACT = 50_000  # passages, of which every vector is compared
CANDIDATES = 1000  # that are compared of more passages, and twice as many as are asked for at least
SPARE = 200  # of the best, beyond those that are asked for, whose places are looked up
FEW = 10_000  # passages of some files or records that are listed, rather than found among the best
LEAST_SHARE = 0.1  # of the best that are wanted, where more of the best are looked at
ROWS = 4096  # vectors read at a time
SAMPLE = 2048  # passages that say how the products of those that are wanted spread
# CROSS JOIN: in this order, so that rows come sorted without being sorted.
_PLACES = "FROM files CROSS JOIN places ON file = files.id"


@dataclass(frozen=True, slots=True)
class Nearest:
    """What a look at the vectors found."""

    scores: dict[int, float]  # passage -> product with the query; the best first
    spread: Spread  # of the products of all passages that are wanted
    wanted: frozenset[int] | None = None  # which those are, where it is known


def has_many(connection: sqlite3.Connection) -> bool:
    """Whether an index has so many passages that not all are compared."""
    return schema.is_current(connection) and blocks.count(connection) > EXACT


def nearest(
    connection: sqlite3.Connection,
    query: Vectors,
    count: int,
    damage: Damage,
    where: Where,
    codes: Blocks,
) -> Nearest:
    """The passages and images nearest to a query, by product; each once, the best first.

    Of equal products, the first in the order of paths and lines.

    Args:
        connection: inside a transaction.
        query: (D,), of length 1, as the vectors of the index are.
        count: at most so many.
        damage: told of vectors that are not what was put in.
        where: which files are wanted.
        codes: of the index.
    """
    candidates = max(CANDIDATES, 2 * count)
    if has_many(connection) and blocks.count(connection) > candidates:
        return _nearest_by_codes(connection, query, count, candidates, damage, where, codes)
    codes.drop()
    return _nearest_of_all(connection, query, count, damage, where)


def _nearest_of_all(
    connection: sqlite3.Connection, query: Vectors, count: int, damage: Damage, where: Where
) -> Nearest:
    rows = (
        f"SELECT file, passage, checksum, vector {_PLACES} "
        f"LEFT JOIN vectors ON vectors.id = passage WHERE {where.sql} ORDER BY path, number"
    )
    scores = np.empty(0, np.float32)  # of the best so far, falling
    best: list[int] = []
    number, total, squares = 0, 0.0, 0.0
    cursor = connection.execute(rows, where.values)
    for passages, vectors in _chunks(cursor, len(query), damage):
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
    return Nearest(found, Spread.of(number, total, squares))


def _nearest_by_codes(
    connection: sqlite3.Connection,
    query: Vectors,
    count: int,
    candidates: int,
    damage: Damage,
    where: Where,
    codes: Blocks,
) -> Nearest:
    passages, estimates = codes.products(connection, query)
    chosen, spread, listed = _chosen(connection, passages, estimates, candidates, where)
    scores, missing = _score(connection, query, chosen)
    for passage, place in first_places(connection, missing, where).items():
        damage.add(place.file, passage)
    ranked = sorted(scores, key=lambda passage: -scores[passage])
    # The rest are seldom needed: a passage without a place has just been embedded, for a file that
    # is still to come.
    places = first_places(connection, ranked[: count + SPARE], where)
    if len(places) < count:
        places |= first_places(connection, ranked[count + SPARE :], where)
    order = sorted(places, key=lambda passage: (-scores[passage], places[passage]))[:count]
    return Nearest({passage: scores[passage] for passage in order}, spread, listed)


def _chosen(
    connection: sqlite3.Connection,
    passages: NDArray[np.int64],
    estimates: NDArray[np.float32],
    candidates: int,
    where: Where,
) -> tuple[list[int], Spread, frozenset[int] | None]:
    """The passages with the best estimates (n,), of those that are wanted.

    Returns:
        With how the estimates of all that are wanted spread, and, where they were listed, which
        these are.
    """
    listed_ids = None
    if where.chooses:
        listed = f"SELECT passage {_PLACES} WHERE {where.sql}"
        rows = connection.execute(f"{listed} LIMIT {FEW + 1}", where.values).fetchall()
        if len(rows) > FEW:
            # Where many of the best are wanted, more of the best are looked at; else, all of them.
            best = _best(passages, estimates, candidates)
            share = len(standing(connection, best, where)) / candidates
            if share >= LEAST_SHARE:
                best = _best(passages, estimates, int(1.2 * candidates / share))
                chosen = standing(connection, best, where)
                return chosen, _sampled(connection, passages, estimates, where), None
            rows = connection.execute(listed, where.values).fetchall()
        at = _positions(passages, rows)
        passages, estimates = passages[at], estimates[at]
        listed_ids = frozenset(passages.tolist())
    return _best(passages, estimates, candidates), _spread(estimates), listed_ids


def _positions(passages: NDArray[np.int64], rows: list[tuple[int]]) -> NDArray[np.intp]:
    """Where some passages are among the sorted ones that have codes."""
    wanted = np.unique(np.array([row[0] for row in rows if isinstance(row[0], int)], np.int64))
    at = np.searchsorted(passages, wanted)
    at, wanted = at[at < len(passages)], wanted[at < len(passages)]
    found: NDArray[np.intp] = at[passages[at] == wanted]
    return found


def _best(passages: NDArray[np.int64], estimates: NDArray[np.float32], count: int) -> list[int]:
    """The passages with the highest estimates (n,), so many of them, in no order."""
    if count < len(passages):
        passages = passages[np.argpartition(estimates, len(passages) - count)[-count:]]
    best: list[int] = passages.tolist()
    return best


def _score(
    connection: sqlite3.Connection, query: Vectors, passages: Sequence[int]
) -> tuple[dict[int, float], list[int]]:
    """The exact products of some passages, and those whose vectors are damaged or missing."""
    size = len(query) * STORED.itemsize
    good: list[int] = []
    data: list[bytes] = []
    for some in chunks_of_ids(passages):
        rows = connection.execute(f"SELECT id, checksum, vector FROM vectors WHERE id IN ({some})")
        for passage, kept, vector in rows:
            if is_vector(passage, vector, kept, size):
                good.append(passage)
                data.append(vector)
    vectors = np.frombuffer(b"".join(data), STORED).reshape(-1, len(query))
    sound = have_length_one(vectors)
    products = _products(vectors, query)
    scores = {
        passage: product
        for passage, product, is_sound in zip(good, products.tolist(), sound, strict=True)
        if is_sound
    }
    return scores, [passage for passage in passages if passage not in scores]


def _spread(estimates: NDArray[np.float32]) -> Spread:
    """How products spread, by their estimates (n,)."""
    total = float(estimates.sum(dtype=np.float64))
    squares = float(np.square(estimates, dtype=np.float64).sum())
    return Spread.of(len(estimates), total, squares)


def _sampled(
    connection: sqlite3.Connection,
    passages: NDArray[np.int64],
    estimates: NDArray[np.float32],
    where: Where,
) -> Spread:
    """How the products spread of those that are wanted, by a fixed sample of all."""
    at = np.linspace(0, len(passages) - 1, min(SAMPLE, len(passages))).astype(np.int64)
    wanted = standing(connection, passages[at].tolist(), where)
    return _spread(estimates[at[np.isin(passages[at], wanted)]])


def score_of(connection: sqlite3.Connection, passage: int, query: Vectors) -> float | None:
    """The product of one passage with a query (D,); None if its vector is damaged."""
    scores, _ = _score(connection, query, [passage])
    return scores.get(passage)


def _products(vectors: NDArray[np.float32], query: Vectors) -> NDArray[np.float32]:
    # Not `@`: what BLAS gives for a row varies with the rows around it.
    products: NDArray[np.float32] = np.einsum("nd,d->n", vectors, query)  # (n, D), (D,) -> (n,)
    return products


def _chunks(
    cursor: sqlite3.Cursor, width: int, damage: Damage
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:  # n passages, (n, D)
    """The sound vectors among the rows, and whose they are; notes the others as damage.

    A passage with several places comes once, at the first.
    """
    size = width * STORED.itemsize  # bytes
    seen: set[int] = set()
    while rows := cursor.fetchmany(ROWS):
        good = []
        for file, passage, kept, vector in rows:
            if passage in seen:
                continue
            if is_vector(passage, vector, kept, size):
                seen.add(passage)
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
