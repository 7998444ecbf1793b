"""Texts that the base learns from beside the corpus: sentences, long passages, everyday English.

`further.jsonl` holds `{"text", "query"?}`. Nothing of a held-out group is in it, nor any text that
equals a held-out text or query. `query` is the heading that a long passage stands under.
"""

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mini.compose import composed, swapped, words_by_kind
from mini.corpus import Entry
from mini.items import Item, fraction, is_held_out

SHORT = {"wordnet-words", "ding"}  # no sentences to take apart
EVERYDAY = {"wordnet-examples", "ding", "fortunes", "anarchism", "plain"}
WORDS_OF_PASSAGES = (50, 400)
# Of what is read, the share that is taken; of what is made, how many. A teacher has to embed all.
TAKEN = {"passages": 0.5, "texts": 0.4, "sentences": 0.6}
COMPOSED, SWAPPED = 150_000, 150_000
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")


@dataclass(frozen=True, slots=True)
class Further:
    """One line of the file."""

    text: str
    query: str | None = None


def write(read: Iterable[Item], wordnet: Path, entries: Sequence[Entry], file: Path) -> None:
    """Takes, makes and writes all of them; the same packages give the same bytes.

    Args:
        read: all that the packages hold.
        wordnet: the folder of `wordnet-base`.
        entries: of the corpus.
        file: the one to write.
    """
    items = [item for item in read if not is_held_out(item.group)]
    seen = {entry.text.lower() for entry in entries}
    held_queries = {entry.query.lower() for entry in entries if entry.held_out and entry.query}
    seen |= held_queries
    everyday = [
        sentence for item in items if item.source in EVERYDAY for sentence in _sentences(item)
    ]
    words = words_by_kind(wordnet, (entry.text for entry in entries))
    part, counts = file.with_suffix(".part"), {}
    with part.open("w", encoding="utf-8") as lines:
        for name, texts in (
            ("passages", _passages(items)),
            ("texts", (Further(item.text) for item in items if len(item.text) < 3000)),
            ("sentences", (Further(text) for item in items for text in _sentences(item))),
            ("composed", map(Further, composed(words, COMPOSED))),
            ("swapped", map(Further, swapped(everyday, words, SWAPPED))),
        ):
            counts[name] = 0
            for found in texts:
                key = found.text.lower()
                if key in seen or len(key) < 3 or (found.query or "").lower() in held_queries:
                    continue
                if fraction(f"take {key}") >= TAKEN.get(name, 1.0):
                    continue
                seen.add(key)
                line = {"text": found.text} | ({"query": found.query} if found.query else {})
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
                counts[name] += 1
            print(f"{counts[name]:9,} {name}", flush=True)
    part.replace(file)


def read(file: Path) -> list[Further]:
    """All of them, in order."""
    with file.open(encoding="utf-8") as lines:
        return [Further(**json.loads(line)) for line in lines]


def _sentences(item: Item) -> Iterator[str]:
    if item.source in SHORT:
        yield item.text
        return
    for sentence in SENTENCE.split(item.text):
        if 12 < len(sentence) < 400:
            yield sentence


def _passages(items: Iterable[Item]) -> Iterator[Further]:
    """Consecutive texts of a page, joined to lengths drawn anew each time."""
    dice = random.Random(0)
    for (source, _), group in groupby(items, key=lambda item: (item.source, item.group)):
        if source in SHORT or source.startswith(("wordnet", "fortunes")):
            continue
        texts, heading, size, wanted = [], None, 0, dice.randint(*WORDS_OF_PASSAGES)
        for item in group:
            heading = heading or item.query
            texts.append(item.text)
            size += len(item.text.split())
            if size >= wanted:
                yield Further(_first_words(" ".join(texts)), heading)
                texts, heading, size, wanted = [], None, 0, dice.randint(*WORDS_OF_PASSAGES)
        if size > WORDS_OF_PASSAGES[0]:
            yield Further(_first_words(" ".join(texts)), heading)


def _first_words(text: str) -> str:
    return " ".join(text.split()[: WORDS_OF_PASSAGES[1]])
