"""Twelve questions about a collection of short texts, each answered by a search.

Takes the texts and the questions beside this module, gives for each question the first passage,
what matched, and the place of the right text. The questions and the texts were written before any
model saw them; a miss names the right text and its place.
"""

import csv
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from demo.screen import Screen
from embedge import Embedder, SearchIndex
from embedge.search import Hit

HERE = Path(__file__).parent
COLLECTION = HERE / "collection"
LINES = 6  # of a passage that are shown


class Question(NamedTuple):
    """What is asked, and the text that answers it."""

    text: str
    file: str  # below the collection, with /


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search gives for a question."""

    question: Question
    first: Hit
    right: Hit  # the best passage of the text that answers
    place: int  # of it, from 1


def read_questions() -> list[Question]:
    """The twelve questions."""
    with (HERE / "questions.tsv").open(encoding="utf-8", newline="") as file:
        return [Question(*row) for row in csv.reader(file, delimiter="\t")]


def answer(index: SearchIndex, question: Question, root: Path) -> Answer:
    """Looks for the answer among all passages below `root`, by meaning and by words."""
    _, passages = index.count()
    hits = index.search(question.text, top_k=passages)
    right = (root / question.file).resolve()
    place = next(i for i, hit in enumerate(hits) if hit.path == right)
    return Answer(question, hits[0], hits[place], place + 1)


def plain(text: str) -> str:
    """A passage in Markdown on one line, without its headings."""
    return " ".join(re.sub(r"^#.*$", "", text, flags=re.MULTILINE).split())


def show_answers(screen: Screen, embedder: Embedder) -> int:
    """Asks all, prints the answers, and gives how many were right at the first place."""
    questions = read_questions()
    with SearchIndex(None, embedder) as index:
        index.update(COLLECTION)
        files, passages = index.count()
        screen.paragraph(
            f"{files} texts in models/demo/collection, {passages} passages, ranked by meaning and "
            "by words.",
            indent="  ",
        )
        answers = [answer(index, question, COLLECTION) for question in questions]
    for found in answers:
        _show(screen, found)
    hits = sum(found.place == 1 for found in answers)
    screen.show()
    screen.paragraph(
        f"{hits} of {len(answers)} have the right text at the first place. The questions were "
        "written before any model saw them.",
        indent="  ",
    )
    return hits


def _show(screen: Screen, found: Answer) -> None:
    screen.show()
    screen.paragraph(found.question.text, indent="  ")
    right = found.place == 1
    _show_hit(screen, found.first, right=right)
    if not right:
        miss = f"{screen.sign('✗', 'MISS')} the right text is at place {found.place}:"
        screen.paragraph(miss, indent="  ")
        _show_hit(screen, found.right, right=True)


def _show_hit(screen: Screen, hit: Hit, *, right: bool) -> None:
    sign = screen.sign("✓", "+") if right else " "
    assert hit.path is not None  # the index holds files alone
    file = hit.path.relative_to(COLLECTION.resolve()).as_posix()
    matched = f"words: {', '.join(hit.words)}" if hit.words else "meaning"
    screen.show(f"  {sign} {file}:{hit.line}  ({matched})")
    room = screen.width - 6
    for line in textwrap.wrap(plain(hit.text), room, max_lines=LINES, placeholder=" ..."):
        screen.show(f"      {line}")
