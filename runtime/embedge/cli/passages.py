"""Files and folders of texts to passages: paragraphs of bounded size, with file and line.

Takes a path, gives `Passage` in a settled order; what is no text (binary, not UTF-8, unreadable,
too large) is told through a callback and passed over. Knows nothing of models.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from embedge.errors import InputError

# Some 300 tokens: long enough to carry a thought, short enough that a vector still means it.
MOST_CHARACTERS = 1200
# A shorter paragraph (a heading, a list item) says little alone and joins the one after it.
FEW_CHARACTERS = 200
MAX_FILE_BYTES = 8 * 2**20
IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules", "build", "dist"})


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a file."""

    path: Path
    line: int  # where it starts, from 1
    text: str


def read_passages(path: Path, *, refuse: Callable[[Path, str], None]) -> Iterator[Passage]:
    """The passages of a file, or of every file below a folder; hidden ones are left out.

    Raises:
        InputError: the path does not exist.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give a file or a folder of texts")
    for file in _files(path, refuse) if path.is_dir() else [path]:
        try:
            text = _text(file)
        except (OSError, ValueError) as error:
            refuse(file, (error.strerror if isinstance(error, OSError) else None) or str(error))
            continue
        for line, passage in split_text(text):
            yield Passage(file, line, passage)


def split_text(
    text: str, *, most: int = MOST_CHARACTERS, few: int = FEW_CHARACTERS
) -> list[tuple[int, str]]:
    """Cuts a text at blank lines into (line, passage) of at most `most` characters."""
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

    # Not splitlines: an editor counts lines by line feeds alone.
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
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
    while len(text) > most:
        window = text[:most]
        ends = [match.end() for match in re.finditer(r"[.!?。!?]\s*|\n", window)]
        cut = ends[-1] if ends and ends[-1] > most // 2 else window.rfind(" ") + 1
        if cut <= most // 2:
            cut = most
        yield line, text[:cut].strip()
        line += text[:cut].count("\n")
        text = text[cut:]
    if text.strip():
        yield line, text.strip()


def _files(folder: Path, refuse: Callable[[Path, str], None]) -> Iterator[Path]:
    """Every plain file below a folder, in the order of names; links are not followed."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        refuse(folder, error.strerror or str(error))
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            if entry.name not in IGNORED_FOLDERS:
                yield from _files(entry, refuse)
        elif entry.is_file():
            yield entry


def _text(file: Path) -> str:
    """A file's text; ValueError with the reason if it is none."""
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES // 2**20} MiB")
    data = file.read_bytes()
    if b"\0" in data:
        raise ValueError("binary, no text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
