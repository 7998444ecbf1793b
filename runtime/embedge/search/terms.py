"""What is looked up when a search looks for words: a text and a query to terms of SQLite's FTS5.

Takes text, gives text or terms. Words between spaces are left to FTS5's tokenizer, which ignores
case, accents and English endings. Scripts that write no spaces are cut here into overlapping groups
of characters: pairs for Chinese, Japanese and Korean, where most words have two (as Lucene's
CJKBigramFilter does), threes for Thai, Lao, Tibetan, Burmese and Khmer. Pure; knows no index.
"""

import re
import unicodedata
from dataclasses import dataclass

MOST_TERMS = 64  # of a query; a longer one is a text, whose meaning is looked for
_PAIRED = (  # Han, kana, Hangul
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U000323af"
)
_TRIPLED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan; Burmese; Khmer
# Signs above, below and beside letters, which belong to a word though they are no letters.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff"
_RUN = re.compile(f"(?P<paired>[{_PAIRED}]+)|(?P<tripled>[{_TRIPLED}]+)")
_TOKEN = re.compile(f"{_RUN.pattern}|(?P<word>(?:(?![{_PAIRED}{_TRIPLED}])[^\\W_]|[{_MARKS}])+)")
# They stand in every English text and in every English question.
_STOP_WORDS = """
a about am an and any are as at be been but by can could did do does for from had has have how i if
in into is it its me my no not of on or our shall should so some such that the their them then there
these they this those to was we were what when where which who whom whose why will with would you
your
"""


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a query, or a group of its characters."""

    word: str  # as it is shown
    match: str  # as FTS5's MATCH takes it


def indexed_text(text: str) -> str:
    """A text as FTS5 is given it: characters in one form, scripts without spaces in groups.

    >>> indexed_text("the 東京都")
    'the  東京 京都 都 '
    """
    if text.isascii():
        return text
    return _RUN.sub(
        lambda run: f" {' '.join(_groups(run[0], _size(run)))} ",
        unicodedata.normalize("NFKC", text),
    )


def query_terms(query: str) -> list[Term]:
    """The words of a query that are worth looking up, each once, MOST_TERMS at most.

    English words that say nothing (the, how, is, …) are left out, unless there are no others.

    >>> [term.word for term in query_terms("How do I renew the passport?")]
    ['renew', 'passport']
    """
    terms: dict[str, Term] = {}
    for token in _TOKEN.finditer(unicodedata.normalize("NFKC", query)):
        if token["word"]:
            terms.setdefault(token[0].casefold(), Term(token[0], f'"{token[0]}"'))
            continue
        size = _size(token)
        whole = [group for group in _groups(token[0], size) if len(group) == size]
        for group in whole:
            terms.setdefault(group, Term(group, f'"{group}"'))
        if not whole:  # shorter than a group: it begins one wherever it stands
            terms.setdefault(token[0], Term(token[0], f'"{token[0]}" *'))
    stop_words = _STOP_WORDS.split()
    telling = [term for key, term in terms.items() if key not in stop_words]
    return (telling or list(terms.values()))[:MOST_TERMS]


def _size(run: re.Match[str]) -> int:
    return 2 if run["paired"] else 3


def _groups(run: str, size: int) -> list[str]:
    """A group from each character on; those at the end are shorter, so that each begins one."""
    return [run[start : start + size] for start in range(len(run))]
