"""Records of an application in a search index: tickets with a language and a state.

    python examples/records.py

The index holds each record's text, id and metadata. What the application changes, it adds again
under the same id; what it deletes, it removes.
"""

import sys
from typing import Any

from embedge import Embedder, SearchIndex

TICKETS = (
    ("T-1", "The app stops when I open a PDF.", {"lang": "en", "state": "open"}),
    ("T-2", "I was charged twice for the same order.", {"lang": "en", "state": "open"}),
    ("T-3", "Please send an invoice with our tax number.", {"lang": "en", "state": "closed"}),
)


def record(ticket: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """A ticket as `SearchIndex.add` takes it."""
    key, text, metadata = ticket
    return {"id": key, "text": text, "metadata": metadata}


def main() -> None:
    """Adds three tickets, asks, closes one and asks again."""
    with Embedder() as embedder, SearchIndex(None, embedder) as index:
        report = index.add(record(ticket) for ticket in TICKETS)
        print(f"{report.added} added")
        for number, reason in report.refused:
            print(f"ticket {number} cannot be searched: {reason}", file=sys.stderr)

        for hit in index.search("billed two times", top_k=2, where={"state": "open"}):
            print(f"{hit.score:.2f} {hit.id} {hit.metadata} {hit.text}")

        key, text, metadata = TICKETS[1]
        index.add([record((key, text, metadata | {"state": "closed"}))])  # in its place
        removed = index.remove(["T-3"])
        still_open = index.search("billed two times", where={"state": "open"})
        print(f"{removed} removed; open: {[hit.id for hit in still_open]}")


if __name__ == "__main__":
    main()
