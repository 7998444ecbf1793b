"""What each task's adapter of the bundled model is good at: the figures of models/README.md.

A set that is small enough to be embedded in a demo is too small to tell adapters apart, so the
table that was measured on held-out sets is read from the page that has it, and shown.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.screen import Screen

PAGE = Path(__file__).resolve().parents[1] / "README.md"
MODEL = "embedge-mini"
# What a task is for, and what its column counts.
WORK = {
    "retrieval": ("search", "find the text that answers (recall@10; 3,486 queries, three sets)"),
    "text-matching": ("pairs", "grade how alike two sentences are (STS-B dev, Spearman)"),
    "clustering": ("groups", "find the 14 sections of 1,208 packages (k-means, V-measure)"),
    "classification": ("labels", "tell 28 kinds of definitions apart (accuracy)"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One adapter's scores, 0 to 100, in the order of WORK."""

    adapter: str
    scores: tuple[float, ...]


def read_table(page: str) -> list[Row]:
    """The table of adapters in the text of models/README.md.

    Raises:
        ValueError: the page has no such table.
    """
    found = re.search(r"^\| adapter \|.*\n\|[-:|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    if found is None:
        raise ValueError("models/README.md has no table that starts with `| adapter |`")
    rows = []
    for line in found[1].splitlines():
        name, *cells = (cell.strip(" *") for cell in line.strip("|").split("|"))
        rows.append(Row(name, tuple(float(cell) for cell in cells)))
    return rows


def show_measured(screen: Screen, rows: Sequence[Row]) -> None:
    """Prints the scores, a row for each adapter; the best of each column is marked."""
    width = max(len(row.adapter) for row in rows)
    best = [max(column) for column in zip(*(row.scores for row in rows), strict=True)]
    screen.show(f"  {'':{width}}{''.join(f'{head:>8}' for head, _ in WORK.values())}".rstrip())
    for row in rows:
        cells = [
            f"  {screen.bold(f'{score:5.1f}*')}" if score == most else f"  {score:5.1f} "
            for score, most in zip(row.scores, best, strict=True)
        ]
        screen.show(f"  {row.adapter:{width}} {''.join(cells)}".rstrip())
    screen.show()
    for head, what in WORK.values():
        screen.paragraph(f"{head}: {what}", indent="  ")
    screen.show()
    screen.paragraph(
        "* the best of its column. Not measured now, but by `make measure-mini`, on data held out "
        "of training; models/README.md has the sets and the date.",
        indent="  ",
    )
