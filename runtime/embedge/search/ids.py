"""Many passages by their ids: some at a time for SQL, and where each stands first.

Takes connections inside transactions and ids; changes nothing.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from embedge.search.where import Where

IDS_AT_A_TIME = 500


class Place(NamedTuple):
    """Where a passage stands. Places are ordered as hits of equal scores are."""

    path: bytes
    number: int
    file: int


def chunks_of_ids(ids: Sequence[int]) -> Iterator[str]:
    """Some ids at a time, as SQL's IN takes them."""
    for start in range(0, len(ids), IDS_AT_A_TIME):
        yield ", ".join(map(str, ids[start : start + IDS_AT_A_TIME]))


def standing(connection: sqlite3.Connection, passages: Sequence[int], where: Where) -> list[int]:
    """Those of some passages that stand where it is wanted."""
    found: dict[int, None] = {}
    for some in chunks_of_ids(passages):
        query = (
            "SELECT passage FROM places JOIN files ON files.id = file "
            f"WHERE passage IN ({some}) AND {where.check}"
        )
        found.update(dict.fromkeys(p for (p,) in connection.execute(query, where.values)))
    return list(found)


def first_places(
    connection: sqlite3.Connection,
    passages: Sequence[int],
    where: Where,
    *,
    among: Collection[int] | None = None,
) -> dict[int, Place]:
    """The first place of each of some passages; only of those that stand where it is wanted.

    Args:
        connection: inside a transaction.
        passages: by their ids.
        where: which files are wanted.
        among: the passages in those, if they are known, which saves looking at the others.
    """
    found: dict[int, Place] = {}
    if among is not None:
        passages = [passage for passage in passages if passage in among]
    for some in chunks_of_ids(passages):
        query = (
            "SELECT passage, path, number, file FROM places JOIN files ON files.id = file "
            f"WHERE passage IN ({some}) AND {where.check}"
        )
        for passage, path, number, file in connection.execute(query, where.values):
            # A damaged row may hold anything; whether it does is found out with the hit.
            place = Place(
                path if isinstance(path, bytes) else b"",
                number if isinstance(number, int) else 0,
                file,
            )
            if passage not in found or place < found[passage]:
                found[passage] = place
    return found
