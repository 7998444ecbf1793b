"""Which files of a folder are searched, and which of them are likely to be looked for.

Takes paths and sizes, gives a reason to leave a file out, or none. Opens no file. What people look
for seldom stands in lock files, minified code, large data files and large logs, but those would
take most of the time: on a clone of this repository, a tokenizer's JSON was 44 % of the passages.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from embedge.errors import OptionError
from embedge.files.folders import Found
from embedge.files.patterns import Patterns
from embedge.options import shown

MOST_DATA_BYTES = 256 * 2**10
_LOCKS = Patterns(
    ["*.lock", "*-lock.json", "*-lock.yaml", "*.lock.json", "npm-shrinkwrap.json", "go.sum"]
)
_MINIFIED = Patterns(["*.min.js", "*.min.css", "*.min.mjs", "*.js.map", "*.css.map"])
_DATA = (
    *(".json", ".jsonl", ".ndjson", ".geojson", ".csv", ".tsv", ".xml", ".svg", ".sql"),
    *(".yaml", ".yml", ".dat", ".po", ".pot"),
)
_LOG = re.compile(r"\.(log|out|err)([.-]\d+)*$", re.IGNORECASE)
_PROSE = (
    *(".md", ".markdown", ".rst", ".txt", ".adoc", ".org", ".tex"),
    *(".html", ".htm", ".ipynb", ".pdf", ".docx"),
)


class Selection:
    """What of a folder is wanted.

    Args:
        include: patterns of gitignore(5), relative to the folder: only files that one of them
            fits, also generated ones; every file if there are none.
        exclude: patterns of files and folders that are not wanted.
        everything: also what is generated, what .gitignore names, and folders that hold what was
            built.

    Raises:
        OptionError: a pattern is not a str, or holds nothing.
    """

    def __init__(
        self, include: Sequence[str] = (), exclude: Sequence[str] = (), *, everything: bool = False
    ) -> None:
        self._include = Patterns(_checked(include, "include"))
        self._exclude = Patterns(_checked(exclude, "exclude"))
        self.everything = everything

    @property
    def chooses(self) -> bool:
        """Whether there are patterns."""
        return bool(self._include or self._exclude)

    def wants(self, path: Path, root: Path | None) -> bool:
        """Whether the patterns want a file at or below a root, or anywhere."""
        names = path.parts[1 if root is None else len(root.parts) :] or (path.name,)
        if self._exclude and self._exclude.covers(names):
            return False
        return not self._include or self._include.covers(names)

    def reason_against(self, found: Found, root: Path) -> str | None:
        """Why a file that is wanted is left out all the same; None if it is not."""
        if self.everything or self._include or found.path == root:
            return None
        name = (found.path.name,)
        if _LOCKS.covers(name):
            return "a lock file"
        if _MINIFIED.covers(name):
            return "minified code"
        if found.size <= MOST_DATA_BYTES:
            return None
        if _LOG.search(found.path.name):
            return f"a log of more than {MOST_DATA_BYTES // 1024} KiB"
        if found.path.suffix.lower() in _DATA:
            return f"data of more than {MOST_DATA_BYTES // 1024} KiB"
        return None


def kind_rank(path: Path) -> int:
    """Files in the order in which people look for them: 0 prose, 1 code, 2 data and logs."""
    suffix = path.suffix.lower()
    if suffix in _PROSE or path.name.upper().startswith("README"):
        return 0
    return 2 if suffix in _DATA or _LOG.search(path.name) else 1


def _checked(patterns: Sequence[str], name: str) -> Sequence[str]:
    whole = isinstance(patterns, list | tuple) and all(
        isinstance(pattern, str) and pattern.strip() for pattern in patterns
    )
    if not whole:
        raise OptionError(f"{name} is {shown(patterns)}; it must be a list of patterns")
    return patterns
