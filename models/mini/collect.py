"""Chooses what is learnt from, out of all that `texts.py` reads.

Long texts are cut, texts met before are left out, each source is held to a quota. Groups (pages,
packages, synsets) whose hash falls into the held-out share are in no training step.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mini.items import Item, fraction, is_held_out
from mini.texts import read_all

WORDS_MOST = 48  # longer texts are cut at a sentence or a word
# Texts taken from a source at most; the rest of it is left. In the order of how much everyday
# language they hold, so that technical prose does not drown it.
QUOTAS = {
    "wordnet": 120_000,
    "wordnet-examples": 50_000,
    "wordnet-words": 60_000,
    "ding": 20_000,
    "fortunes": 14_000,
    "dict-gcide": 24_000,
    "debian": 36_000,
    "debian-synopses": 12_000,
    "dict-foldoc": 12_000,
    "dict-jargon": 4_000,
    "anarchism": 8_000,
    "libreoffice-help-en-us": 9_000,
    "python3.11-doc": 6_000,
    "postgresql-doc-15": 5_000,
    "sqlite3-doc": 5_000,
    "git-doc": 4_000,
    "gimp-help-en": 4_000,
    "perl-doc": 5_000,
}
QUOTA_OF_OTHERS = 2_000


def write(packages: dict[str, Path], file: Path) -> None:
    """Reads all sources and writes the corpus; the same packages give the same bytes."""
    items = list(read_all(packages))
    shares = _shares(items)
    seen: set[str] = set()
    part = file.with_suffix(".part")
    counts: Counter[str] = Counter()
    with part.open("w", encoding="utf-8") as lines:
        for item in items:
            pair = item.query is not None
            # Pairs are rare among pages: all are kept, plain passages up to the quota.
            if not pair and fraction(f"take {item.text}") >= shares[item.source]:
                continue
            text = cut(item.text)
            if text.lower() in seen or not text:
                continue
            seen.add(text.lower())
            counts[item.source] += 1
            entry = {
                "text": text,
                "source": item.source,
                "group": item.group,
                "held_out": is_held_out(item.group),
            }
            entry |= {"query": item.query} if item.query else {}
            entry |= {"label": item.label} if item.label else {}
            lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
    part.replace(file)
    for source, count in counts.most_common():
        print(f"{count:8,} {source}")
    print(f"{sum(counts.values()):8,} texts")


def cut(text: str) -> str:
    """The first `WORDS_MOST` words, back to the end of a sentence if one lies past the half."""
    words = text.split()
    if len(words) <= WORDS_MOST:
        return text
    short = " ".join(words[:WORDS_MOST])
    ends = [match.end() for match in re.finditer(r"[.!?](?=\s)", short)]
    return short[: ends[-1]] if ends and ends[-1] > len(short) / 2 else short


def _shares(items: Sequence[Item]) -> dict[str, float]:
    """Which share of each source's plain texts fits its quota beside its pairs."""
    plain: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for item in items:
        (pairs if item.query is not None else plain)[item.source] += 1
    return {
        source: max(0, QUOTAS.get(source, QUOTA_OF_OTHERS) - pairs[source]) / max(1, plain[source])
        for source in {**plain, **pairs}
    }
