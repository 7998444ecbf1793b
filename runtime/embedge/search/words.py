"""The words of an index: an FTS5 table beside the vectors, and the passages that hold a word.

Takes connections inside transactions. The table holds no texts, only which words stand in which
passage, so what is forgotten has to be named with its text. It is whole, and the index says so, or
it is not used: a SQLite without FTS5 that changes an index notes that it is whole no longer, and
the next update by one that has FTS5 fills it again, from the texts in the index. Knows no vectors
and no files.
"""

import functools
import sqlite3
from collections.abc import Callable, Iterable, Sequence

from embedge.search.ids import IDS_AT_A_TIME, Place, chunks_of_ids
from embedge.search.soundness import text_digest_of
from embedge.search.terms import Term, indexed_text

_STATE = "words"  # a name among the meaning's; there where the table is whole
_WHOLE = "whole"
# The formats 3 and 4 said it in their number.
_WHOLE_FORMAT, _FIRST_WITH_STATE = 4, 5
MOST_RANKED = 10_000  # passages that a bounded search for words ranks
CREATE = (
    "CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize="
    "\"porter unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'\")"
)
# FTS5 makes the others itself; their SQL differs between versions of SQLite.
TABLES = frozenset({"words", "words_data", "words_idx", "words_docsize", "words_config"})


@functools.cache
def available() -> bool:
    """Whether this Python's SQLite has FTS5."""
    connection = sqlite3.Connection(":memory:")
    try:
        connection.execute(CREATE)
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return True


def create(connection: sqlite3.Connection) -> None:
    """Makes the table of an empty index where that is possible."""
    if available():
        connection.execute(CREATE)
        trust(connection)


def are_whole(connection: sqlite3.Connection) -> bool:
    """Whether every passage's words are in the table."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < _FIRST_WITH_STATE:
        return bool(version == _WHOLE_FORMAT)
    state = connection.execute("SELECT value FROM meaning WHERE name = ?", (_STATE,)).fetchone()
    return bool(state == (_WHOLE,))


def trust(connection: sqlite3.Connection) -> None:
    """Notes that the table is whole."""
    connection.execute("INSERT OR REPLACE INTO meaning VALUES (?, ?)", (_STATE, _WHOLE))


def fill(connection: sqlite3.Connection) -> None:
    """Makes the table whole, from the texts of the passages. A damaged text is left out."""
    held = "SELECT 1 FROM sqlite_master WHERE name = 'words'"
    if connection.execute(held).fetchone() is None:
        connection.execute(CREATE)
    connection.execute("INSERT INTO words (words) VALUES ('delete-all')")
    rows = connection.execute("SELECT id, CAST(text AS BLOB), digest FROM passages")
    for passage, text, digest in rows:
        if text and text_digest_of(text) == digest:
            _insert(connection, passage, text.decode())
    trust(connection)


def add(connection: sqlite3.Connection, passage: int, text: str) -> None:
    """Adds the words of a new passage. An image has none."""
    if text and _can_change(connection):
        _insert(connection, passage, text)


def remove(connection: sqlite3.Connection, condition: str) -> None:
    """Takes out the words of passages that are about to be deleted.

    Args:
        connection: inside a transaction that writes.
        condition: SQL for the passages.
    """
    if not _can_change(connection):
        return
    rows = connection.execute(
        f"SELECT id, CAST(text AS BLOB), digest FROM passages WHERE {condition}"
    )
    for passage, text, digest in rows:
        if not text:
            continue
        if text_digest_of(text) != digest:  # which words it had is lost
            distrust(connection)
            return
        connection.execute(
            "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)",
            (passage, indexed_text(text.decode())),
        )


def best(
    connection: sqlite3.Connection,
    terms: Iterable[Term],
    places: Callable[[Sequence[int]], dict[int, Place]],
    count: int,
    *,
    share: float = 0.0,
    bounded: bool = False,
) -> list[int]:
    """The passages with the best of these words, by BM25 (k1 = 1.2, b = 0.75); the best first.

    Args:
        connection: inside a transaction.
        terms: of the query; one of them is enough.
        places: the first place of those of some passages that are wanted, which orders them where
            scores are equal.
        count: at most so many.
        share: of the best passage's score; those with less are left out.
        bounded: rank MOST_RANKED passages at most, by the rarest words.
    """
    query = _bounded(connection, list(terms)) if bounded else _any(terms)
    if not query:
        return []
    rows = connection.execute(
        "SELECT rowid, rank FROM words WHERE words MATCH ? ORDER BY rank", (query,)
    )
    found: list[tuple[float, Place, int]] = []
    while some := rows.fetchmany(IDS_AT_A_TIME):
        wanted = places([passage for passage, _ in some])
        for passage, rank in some:  # rank: BM25, negated
            if passage not in wanted:
                continue
            if found and (
                rank > share * found[0][0] or (len(found) >= count and rank > found[-1][0])
            ):
                return [passage for _, _, passage in sorted(found)[:count]]
            found.append((rank, wanted[passage], passage))
    return [passage for _, _, passage in sorted(found)[:count]]


def _any(terms: Iterable[Term]) -> str:
    return " OR ".join(term.match for term in terms)


def _bounded(connection: sqlite3.Connection, terms: list[Term]) -> str:
    """A query that MOST_RANKED passages answer at most; nothing where there is none.

    Of many passages, a common word says little about any one of them, and to rank all that have it
    takes long (2.3 us each). So it is left out beside rarer ones. Where all are common, a passage
    has to have all of them.
    """
    query = _any(terms)
    if not query or _count(connection, query) <= MOST_RANKED:
        return query
    counts = [_count(connection, term.match) for term in terms]
    rare: list[Term] = []
    total = 0
    for count, term in sorted(zip(counts, terms, strict=True), key=lambda pair: pair[0]):
        total += count
        if total > MOST_RANKED:
            break
        if count:
            rare.append(term)
    if rare:
        return _any(rare)
    query = " AND ".join(term.match for term in terms)
    return query if _count(connection, query) <= MOST_RANKED else ""


def _count(connection: sqlite3.Connection, query: str) -> int:
    """How many passages answer a query; of more than MOST_RANKED, one more than that.

    To count all that have a common word takes longer than to rank those that have a rare one.
    """
    some = f"SELECT 1 FROM words WHERE words MATCH ? LIMIT {MOST_RANKED + 1}"
    (count,) = connection.execute(f"SELECT count(*) FROM ({some})", (query,)).fetchone()
    return int(count)


def words_of(
    connection: sqlite3.Connection, terms: Iterable[Term], passages: Sequence[int]
) -> dict[int, tuple[str, ...]]:
    """For each of these passages the words of a query that stand in it."""
    found: dict[int, tuple[str, ...]] = dict.fromkeys(passages, ())
    for term in terms:
        for some in chunks_of_ids(passages):
            query = f"SELECT rowid FROM words WHERE words MATCH ? AND rowid IN ({some})"
            for (passage,) in connection.execute(query, (term.match,)):
                found[passage] += (term.word,)
    return found


def distrust(connection: sqlite3.Connection) -> None:
    """Notes that the table may not be whole: it is not used until it is filled again."""
    if are_whole(connection):
        connection.execute("DELETE FROM meaning WHERE name = ?", (_STATE,))


def _can_change(connection: sqlite3.Connection) -> bool:
    """Whether the table is to be kept whole. Where it cannot be, that is noted."""
    if not available():
        distrust(connection)
    return are_whole(connection)


def _insert(connection: sqlite3.Connection, passage: int, text: str) -> None:
    connection.execute(
        "INSERT INTO words (rowid, text) VALUES (?, ?)", (passage, indexed_text(text))
    )
