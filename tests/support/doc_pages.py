"""The project's Markdown pages, and the code blocks in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "models" / "README.md"])
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
LANGUAGES = ("python", "sh")  # those that are run
NOT_RUN = re.compile(r"<!-- not run: (.*) -->")
_FENCE = re.compile(r"```(\S*)\s*")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: the name of its page.
        line: of its first line of code, from 1.
        reason: why the test does not run it; None where it does.
    """

    page: str
    line: int
    language: str
    code: str
    reason: str | None


def blocks(name: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if not fence:
            continue
        if start is None:
            start, language = number, fence[1]
            marker = NOT_RUN.fullmatch(lines[number - 1])
            continue
        code = "\n".join(lines[start + 1 : number]) + "\n"
        yield Block(name, start + 2, language, code, None if marker is None else marker[1])
        start = None
    assert start is None, f"{name}:{start}: a block without an end"


def prose(name: str) -> str:
    """A page without its blocks of code."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
