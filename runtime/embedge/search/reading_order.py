"""In which order the files of a folder are read, so that the first hits of a search are good ones.

Takes files, and the terms of the query that waits; gives the same files. Those whose name or text
holds the words come first, by the same BM25 as in a search, then prose, code, data. Looks into
files only where there is a query, and only for a moment.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence

from embedge.files.folders import Found
from embedge.images.names import is_image_name
from embedge.search import words
from embedge.search.files import RefusedError, decode, read
from embedge.search.ids import Place
from embedge.search.selection import kind_rank
from embedge.search.terms import Term, indexed_text

LOOK_SECONDS = 1.5  # how long files are looked into before the first one is embedded
MOST_BYTES = 256 * 2**10  # of a file that is looked into


def reading_order(
    files: Iterable[Found], terms: Sequence[Term], check: Callable[[], None]
) -> list[Found]:
    """The files, those first that are likely to answer a query.

    Args:
        files: in any order.
        terms: of the query; without any, only the kinds of the files count.
        check: called between files; it may raise.
    """
    ordered = sorted(files, key=lambda found: kind_rank(found.path))
    if not terms or len(ordered) < 2 or not words.available():
        return ordered
    best = _by_words(ordered, terms, check)
    chosen = set(best)
    return [ordered[i] for i in best] + [f for i, f in enumerate(ordered) if i not in chosen]


def _by_words(
    files: Sequence[Found], terms: Sequence[Term], check: Callable[[], None]
) -> list[int]:
    """Which of the files hold the words, the best first."""
    end = time.monotonic() + LOOK_SECONDS
    with contextlib.closing(sqlite3.Connection(":memory:")) as connection:
        connection.execute(words.CREATE)
        for number, found in enumerate(files):
            check()
            if time.monotonic() > end:
                break
            name = os.fsencode("/".join(found.path.parts[-2:])).decode(errors="replace")
            text = f"{name} {_text(found)}"
            connection.execute(
                "INSERT INTO words (rowid, text) VALUES (?, ?)", (number, indexed_text(text))
            )

        def places(numbers: Sequence[int]) -> dict[int, Place]:
            return {number: Place(b"", number, number) for number in numbers}

        return words.best(connection, terms, places, len(files))


def _text(found: Found) -> str:
    if found.size > MOST_BYTES or is_image_name(found.path):
        return ""
    try:
        return decode(read(found.path).data)
    except RefusedError:
        return ""
