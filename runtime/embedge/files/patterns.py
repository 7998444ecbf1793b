"""Patterns of file names as .gitignore writes them (gitignore(5)), and the .gitignore files above.

Takes patterns and paths relative to where the patterns stand, as tuples of names; gives whether the
last pattern that fits a path takes it or gives it back. Matching takes time in proportion to the
lengths of pattern and path, whatever the pattern.
"""

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedge.files.regular import read_regular

GITIGNORE = ".gitignore"
_MOST_BYTES = 2**20
_ESCAPED = re.compile(r"\\(.)")

_Part = Callable[[str], object] | None  # whether a name fits; None: any number of names (**)


@dataclass(frozen=True, slots=True)
class _Rule:
    parts: tuple[_Part, ...]
    negated: bool  # !pattern: gives back what an earlier one took
    folders_only: bool  # pattern/


class Patterns:
    """A list of patterns; later ones come before earlier ones."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for line in lines if (rule := _parse(line)) is not None]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def verdict(self, names: Sequence[str], *, folder: bool) -> bool | None:
        """Whether a path is taken (True) or given back (False); None if no pattern fits."""
        for rule in reversed(self._rules):
            if (folder or not rule.folders_only) and _fits(rule.parts, names):
                return not rule.negated
        return None

    def covers(self, names: Sequence[str]) -> bool:
        """Whether a file is taken, itself or with a folder that it lies in."""
        last = len(names)
        return any(self.verdict(names[:depth], folder=depth < last) for depth in range(1, last + 1))


Ignores = tuple[tuple[Path, Patterns], ...]  # the folder of each .gitignore, the outermost first


def ignores_above(folder: Path) -> Ignores:
    """The .gitignore files above a folder, up to the top of its Git repository, if it is in one."""
    found: list[Path] = []
    inner = folder
    while not os.path.lexists(inner / ".git"):
        if inner.parent == inner:
            return ()
        inner = inner.parent
        found.append(inner)
    ignores: Ignores = ()
    for place in reversed(found):
        ignores = with_own(ignores, place)
    return ignores


def with_own(ignores: Ignores, folder: Path) -> Ignores:
    """These, and the folder's own .gitignore. One that cannot be read counts as empty."""
    patterns = Patterns(_read(folder / GITIGNORE))
    return (*ignores, (folder, patterns)) if patterns else ignores


def is_ignored(ignores: Ignores, path: Path, *, folder: bool) -> bool:
    """Whether one of the .gitignore files names a path; the innermost that does decides."""
    for place, patterns in reversed(ignores):
        verdict = patterns.verdict(path.parts[len(place.parts) :], folder=folder)
        if verdict is not None:
            return verdict
    return False


def _read(path: Path) -> list[str]:
    try:
        data = read_regular(path, most=_MOST_BYTES)
    except OSError:
        return []
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff").splitlines()


def _parse(line: str) -> _Rule | None:
    line = re.sub(r"(?<!\\)\s+$", "", line)
    negated = line.startswith("!")
    text = line[1:] if negated else line
    if not text or line.startswith("#"):
        return None
    folders_only = text.endswith("/")
    text = text.removesuffix("/")
    names = text.removeprefix("/").split("/")
    if "" in names:  # "/", "a//b": no path is written so
        return None
    if "/" not in text:  # at any depth
        names = ["**", *names]
    if names[-1] == "**" and len(names) > 1:  # what lies inside, not the folder itself
        names.append("*")
    return _Rule(tuple(_part(name) for name in names), negated, folders_only)


def _part(name: str) -> _Part:
    if name == "**":
        return None
    # `fnmatch` has no escapes, but takes any character in brackets; and writes "not" as "!".
    literal = _ESCAPED.sub(_escaped, name).replace("[^", "[!")
    return re.compile(fnmatch.translate(literal)).match


def _escaped(found: re.Match[str]) -> str:
    return f"[{found[1]}]" if found[1] in "*?[" else found[1]


def _fits(parts: tuple[_Part, ...], names: Sequence[str]) -> bool:
    """Whether names fit a pattern, all of them; follows all ways through it at once."""
    if len(parts) == 2 and parts[0] is None and parts[1] is not None:  # the most common kind
        return bool(names) and parts[1](names[-1]) is not None
    reached = _past_any(parts, {0})
    for name in names:
        following: set[int] = set()
        for place in reached:
            if place < len(parts):
                part = parts[place]
                if part is None:
                    following.add(place)
                elif part(name) is not None:
                    following.add(place + 1)
        reached = _past_any(parts, following)
    return len(parts) in reached


def _past_any(parts: tuple[_Part, ...], places: set[int]) -> set[int]:
    """These places, and those behind each ** that they stand at: it may fit no name."""
    found = set(places)
    for place in places:
        behind = place
        while behind < len(parts) and parts[behind] is None:
            behind += 1
            found.add(behind)
    return found
