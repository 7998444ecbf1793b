"""How hits of a search are shown: lines for people, JSON for programs; paths as they were given.

Takes hits, gives lines or values. Prints nothing.
"""

import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.errors import OptionError
from embedge.files.caches import home_folder
from embedge.printable import printable

if TYPE_CHECKING:
    from embedge.search import Hit

SNIPPET = 240  # characters of a passage that are shown
ALSO = 3  # other places of an equal passage that are named

Shown = Callable[[Path], Path]


class Given:
    """The paths of a search, as they were given and as they were resolved.

    Args:
        paths: as they were given; the one that is meant if none was.

    Attributes:
        roots: absolute, in the same order.

    Raises:
        InputError: one does not exist, or cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        from embedge.search import find_root

        self._paths = paths
        self.roots = [find_root(path) for path in paths]

    def __str__(self) -> str:
        return ", ".join(map(str, self._paths))

    def shown(self, path: Path) -> Path:
        """A path below one of the roots, from the path that was given for that root."""
        for given, root in zip(self._paths, self.roots, strict=True):
            if path.is_relative_to(root):
                return given / path.relative_to(root)
        return path


def given_paths(paths: list[Path]) -> Given:
    """What is to be searched; the current folder, unless it holds everything a user has."""
    if not paths:
        home = home_folder(os.environ, sys.platform)
        whole = {os.path.realpath(folder) for folder in (os.sep, home) if folder is not None}
        if os.path.realpath(os.curdir) in whole:
            raise OptionError(
                "without PATH the current folder is searched, and that is your home folder or the "
                "whole disk; name a folder (or . if you mean all of it)"
            )
    return Given(paths or [Path()])


def lines_of(hit: "Hit", shown: Shown, *, mode: str) -> list[str]:
    """A hit for people."""
    path = _path_of(hit, shown)
    score = f"{hit.score:.4f}"
    if hit.kind == "image":
        lines = [f"{score}  {path}"]
    else:
        words = f"words: {printable(', '.join(hit.words))}" if hit.words else "meaning"
        mark = "" if mode == "vectors" else f"  ({words})"
        lines = [f"{score}  {_place(path, hit.line)}{mark}"]
        text = " ".join(printable(hit.text).split())
        if len(text) > SNIPPET:
            text = text[: SNIPPET - 1] + "…"
        lines += textwrap.indent(textwrap.fill(text, width=88), "        ").split("\n")
    if hit.also:
        places = [(shown(other), line) for other, line in hit.also[:ALSO]]
        others = [str(other) if hit.kind == "image" else _place(other, n) for other, n in places]
        more = len(hit.also) - ALSO
        lines.append(f"        also: {', '.join(others)}{f' and {more:,} more' * (more > 0)}")
    return lines


def value_of(hit: "Hit", shown: Shown) -> dict[str, object]:
    """A hit as --json prints it."""
    score, path = round(hit.score, 6), str(_path_of(hit, shown))
    if hit.kind == "image":
        images = [str(shown(other)) for other, _ in hit.also]
        return {"score": score, "image": path, "also": images}
    return {
        "score": score,
        "file": path,
        "line": hit.line,
        "text": hit.text,
        "words": list(hit.words),
        "fit": None if hit.fit is None else round(hit.fit, 3),
        "also": [{"file": str(shown(other)), "line": line} for other, line in hit.also],
    }


def _place(path: Path, line: int) -> str:
    """Where a passage stands: file:line, or what a document has in place of lines."""
    unit = {".pdf": "page", ".docx": "paragraph"}.get(path.suffix.lower())
    return f"{path}:{line}" if unit is None else f"{path}, {unit} {line}"


def _path_of(hit: "Hit", shown: Shown) -> Path:
    assert hit.path is not None  # records are below no path
    return shown(hit.path)
