"""The retrieval tests: questions, and the held-out documents that answer them."""

from collections.abc import Sequence
from dataclasses import dataclass

from mini.corpus import Entry

DISTRACTORS = 1_000  # passages without a query that stand among the documents


@dataclass(frozen=True)
class Questions:
    """A retrieval test: query i is answered by document i."""

    queries: list[str]
    documents: list[str]  # at least as many as queries


def questions(held: Sequence[Entry]) -> dict[str, Questions]:
    """The retrieval tests, out of the held-out part of the corpus."""
    pages = [
        entry for entry in held
        if entry.query and len(entry.query.split()) > 1
        and not entry.source.startswith(("debian", "wordnet", "dict-"))
    ]  # fmt: skip
    terms = [entry for entry in held if entry.source == "dict-foldoc"]
    others = [entry.text for entry in held if entry.query is None and len(entry.text) > 80]
    return {
        "packages": _questions(packages(held), []),
        "terms": Questions(
            [f"what is {entry.query}?" for entry in terms if entry.query],
            [entry.text for entry in sorted(terms, key=lambda entry: entry.query is None)]
            + others[:DISTRACTORS],
        ),
        "pages": _questions(_one_for_each_query(pages), others[:DISTRACTORS]),
    }


def packages(held: Sequence[Entry]) -> list[Entry]:
    """Descriptions of packages that have a synopsis."""
    return [entry for entry in held if entry.source == "debian" and entry.query]


def _questions(entries: Sequence[Entry], more: list[str]) -> Questions:
    return Questions(
        [str(entry.query) for entry in entries], [entry.text for entry in entries] + more
    )


def _one_for_each_query(entries: Sequence[Entry]) -> list[Entry]:
    """Headings that several pages share ("Options") answer nothing: both are left out."""
    counts: dict[str, int] = {}
    for entry in entries:
        counts[str(entry.query).lower()] = counts.get(str(entry.query).lower(), 0) + 1
    return [entry for entry in entries if counts[str(entry.query).lower()] == 1]
