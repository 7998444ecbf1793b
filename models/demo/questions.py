"""Questions about embedge, answered from its own documentation: README files and docstrings.

Takes the repository's root, cuts what is written there into passages with file and line, and
lets a pack find the answers. Which file holds an answer was decided by hand, so a miss is told.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo.screen import Screen
from embedge import Embedder

# A question, and the files that answer it.
QUESTIONS = (
    (
        "How many processor cores and how much memory will it use?",
        ("runtime/embedge/machine/resources.py",),
    ),
    (
        "What if the export is killed and the model is only half written?",
        ("export/embedge_export/output/pack.py",),
    ),
    (
        "Which exit code does the command line give after an error?",
        ("runtime/embedge/cli/__init__.py",),
    ),
    ("When does it run on the graphics card?", ("runtime/embedge/engine/devices.py",)),
    (
        "How are LoRA adapters merged into the weights?",
        ("export/embedge_export/tensors/lora.py", "export/embedge_export/merged.py"),
    ),
)
READMES = ("README.md", "models/README.md")
SOURCES = ("runtime", "export")
MOST = 700  # characters of a passage
SHOWN = 3  # passages of each answer


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of the documentation."""

    file: str  # from the root, with /
    line: int  # from 1
    text: str


def read_passages(root: Path) -> list[Passage]:
    """Every passage of the documentation, in a settled order."""
    passages = []
    for name in READMES:
        for line, text in markdown_passages((root / name).read_text(encoding="utf-8")):
            passages.append(Passage(name, line, text))
    for source in SOURCES:
        for path in sorted((root / source).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docstring = ast.get_docstring(tree)
            if docstring is None:
                continue
            name = path.relative_to(root).as_posix()
            for line, text in _pack(_paragraphs(docstring, tree.body[0].lineno)):
                passages.append(Passage(name, line, text))
    return passages


def markdown_passages(text: str) -> list[tuple[int, str]]:
    """A document in pieces of one section each, without code; (line, text)."""
    pieces: list[tuple[int, str]] = []
    section: list[tuple[int, str]] = []
    code = False
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("```"):
            code = not code
            line = ""
        lines.append("" if code else line)
    for number, block in _paragraphs("\n".join(lines), 1):
        if block.startswith("#"):
            pieces += _pack(section)
            section = []
        # A rule, or a table of figures, says nothing.
        if 2 * sum(map(str.isalpha, block)) > len("".join(block.split())):
            section.append(_plain(number, block))
    return pieces + _pack(section)


def _paragraphs(text: str, first: int) -> Iterator[tuple[int, str]]:
    """What stands between blank lines, as (line, text); `first` is the text's own line."""
    held: list[str] = []
    for number, line in enumerate([*text.splitlines(), ""], first):
        if line.strip():
            held.append(line)
        elif held:
            yield number - len(held), "\n".join(held)
            held = []


def _plain(line: int, block: str) -> tuple[int, str]:
    """Markdown without what only shapes it: heading signs, emphasis, the lines of tables."""
    rows = block.splitlines()
    said = [bool(re.search(r"[^|\s:-]", row)) for row in rows]
    kept = "\n".join(row for row, says in zip(rows, said, strict=True) if says)
    text = re.sub(r"[ \t]*\|[ \t]*", " ", re.sub(r"^#+\s*|\*\*|`", "", kept))
    return line + said.index(True), text.strip()


def _pack(paragraphs: Iterator[tuple[int, str]] | list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Joins short paragraphs that follow each other, and leaves long ones alone."""
    packed: list[tuple[int, str]] = []
    for line, text in paragraphs:
        if packed and len(packed[-1][1]) + len(text) < MOST:
            packed[-1] = (packed[-1][0], f"{packed[-1][1]}\n{text}")
        else:
            packed.append((line, text))
    return packed


def show_answers(screen: Screen, embedder: Embedder, root: Path) -> int:
    """Answers the questions; how many were answered from the right file."""
    passages = read_passages(root)
    vectors = embedder.encode_document([passage.text for passage in passages])  # (N, D)
    screen.paragraph(f"{len(passages)} passages of README files and docstrings", indent="  ")
    hits = 0
    for question, files in QUESTIONS:
        cosines = vectors @ embedder.encode_query(question)  # (N, D) @ (D,) -> (N,)
        order = np.argsort(-cosines, kind="stable")
        place = next(i for i, index in enumerate(order) if passages[index].file in files)
        hits += place == 0
        screen.show()
        screen.paragraph(question, indent="  ")
        for rank, index in enumerate(order[:SHOWN]):
            passage = passages[index]
            right = passage.file in files
            sign = screen.sign("✓", "+") if right else " "
            screen.show(f"  {sign} {cosines[index]:.3f}  {passage.file}:{passage.line}")
            if rank == 0:
                room = screen.width - 11
                words = textwrap.shorten(passage.text, 2 * room - 10, placeholder=" ...")
                screen.show(textwrap.indent(textwrap.fill(words, room), " " * 11))
        if place > 0:
            told = f"{screen.sign('✗', 'MISS')} the answer stands in {files[0]}, found at place"
            screen.paragraph(f"{told} {place + 1}", indent="  ")
    screen.show()
    screen.paragraph(
        f"{hits} of {len(QUESTIONS)} answered from the right file at the first place", indent="  "
    )
    return hits
