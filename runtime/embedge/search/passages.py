"""A text to passages: paragraphs of bounded size, each with the line where it starts.

Takes a text, or the lines that a reader made of a file, gives (line, passage) in order; every word
stands in exactly one passage. Pure, and knows neither files nor models.
"""

import re
from collections.abc import Iterable, Iterator

# Kept with an index: other passages mean other vectors. Count up with every change of the cuts.
SPLITTING = 1
# Some 300 tokens: long enough to carry a thought, short enough that a vector still means it.
MOST_CHARACTERS = 1200
# A shorter paragraph (a heading, a list item) says little alone and joins the one after it.
FEW_CHARACTERS = 200


def split_text(
    text: str, *, most: int = MOST_CHARACTERS, few: int = FEW_CHARACTERS
) -> list[tuple[int, str]]:
    """Cuts a text at blank lines into (line, passage) of at most `most` characters."""
    # Not splitlines: an editor counts lines by line feeds alone.
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), 1)
    return split_lines(lines, most=most, few=few)


def split_lines(
    lines: Iterable[tuple[int, str]], *, most: int = MOST_CHARACTERS, few: int = FEW_CHARACTERS
) -> list[tuple[int, str]]:
    """The same, of lines that have their numbers already."""
    passages: list[tuple[int, str]] = []
    held: list[str] = []
    start, size = 1, 0

    def close() -> None:
        nonlocal size
        while held and not held[-1].strip():
            held.pop()
        if held:
            passages.extend(_cut(start, "\n".join(held), most))
        held.clear()
        size = 0

    for number, line in lines:
        if not line.strip():
            if size >= few:
                close()
            elif held:
                held.append("")
            continue
        if size + len(line) > most:
            close()
        if not held:
            start = number
        held.append(line.rstrip())
        size += len(line)
    close()
    return passages


def _cut(line: int, text: str, most: int) -> Iterator[tuple[int, str]]:
    """Cuts what is still too long: at a sentence's end, else a space, else anywhere."""
    start = 0  # not `text = text[cut:]`: on a line of megabytes that takes quadratic time
    while len(text) - start > most:
        window = text[start : start + most]
        ends = [match.end() for match in re.finditer(r"[.!?。\uff01\uff1f]\s*|\n", window)]
        cut = ends[-1] if ends and ends[-1] > most // 2 else window.rfind(" ") + 1
        if cut <= most // 2:
            cut = most
        if piece := window[:cut].strip():
            yield line, piece
        line += window[:cut].count("\n")
        start += cut
    if text[start:].strip():
        yield line, text[start:].strip()
