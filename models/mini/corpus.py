"""The corpus: a line for each distinct text, with the query and the label that belong to it.

`corpus.jsonl` holds `{"text", "source", "group", "held_out", "query"?, "label"?}`; `collect.py`
writes it. `query` and `label` refer to this text as the document.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

QUERY_SOURCES_LEFT_OUT = frozenset({"wordnet"})  # their queries are lists of words, kept apart


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the corpus."""

    text: str
    source: str
    group: str
    held_out: bool
    query: str | None = None
    label: str | None = None


def read(file: Path) -> list[Entry]:
    """The corpus, in order."""
    with file.open(encoding="utf-8") as lines:
        return [Entry(**json.loads(line)) for line in lines]


def queries(entries: Sequence[Entry]) -> Iterator[tuple[int, str]]:
    """The pairs: index of the document, and its query."""
    for index, entry in enumerate(entries):
        if entry.query and entry.source not in QUERY_SOURCES_LEFT_OUT:
            yield index, entry.query
