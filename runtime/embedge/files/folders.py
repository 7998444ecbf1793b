"""The plain files below a folder, in a settled order, each with a stamp that shows a change.

What cannot be listed is reported with a reason and skipped. Nothing here follows a link, waits for
a pipe or opens a file, but .gitignore. Knows nothing of what files hold.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from embedge.errors import InputError
from embedge.files.patterns import Ignores, ignores_above, is_ignored, with_own

IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules", "build", "dist"})

Refuse = Callable[[Path, str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A plain file, as the folder shows it."""

    path: Path
    size: int  # bytes
    stamp: str  # equal as long as the file is unchanged


def walk(
    root: Path, *, refuse: Refuse, gitignore: bool = False, built: bool = False
) -> Iterator[Found]:
    """Every plain file below a folder, or the file itself, in the order of their paths' bytes.

    Hidden files and links are left out without a report.

    Args:
        root: the folder or file.
        refuse: told of what cannot be listed, and why.
        gitignore: leave out what .gitignore files name, those above the root in its Git
            repository included.
        built: walk IGNORED_FOLDERS too.

    Raises:
        InputError: the root itself cannot be read.
    """
    # A stack, not recursion: folders may nest deeply.
    waiting: list[tuple[str, Ignores]] = [(str(root), ignores_above(root) if gitignore else ())]
    while waiting:
        name, ignores = waiting.pop()
        path = Path(name)
        try:
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                if gitignore:
                    ignores = with_own(ignores, path)
                waiting += [(found, ignores) for found in reversed(_list(name, ignores, built))]
            elif stat.S_ISREG(status.st_mode):
                yield Found(path, status.st_size, stamp_of(status))
            else:
                refuse(path, "a pipe, socket or device, not a file")
        except OSError as error:
            if path == root:  # not an empty folder: nothing below it may be taken for gone
                raise InputError(f"{root} cannot be read: {error.strerror or error}") from error
            refuse(path, error.strerror or str(error))


def stamp_of(status: os.stat_result) -> str:
    """What stays equal as long as a file is unchanged."""
    # The time of change sees what a restored modification time hides (`cp -p`, `touch -d`).
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _list(folder: str, ignores: Ignores, built: bool) -> list[str]:
    """What stands in a folder, sorted so that a walk meets whole paths in their order."""
    names: list[tuple[bytes, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            key = os.fsencode(entry.name)
            is_folder = entry.is_dir(follow_symlinks=False)
            if ignores and is_ignored(ignores, Path(entry.path), folder=is_folder):
                continue
            if is_folder:
                if entry.name in IGNORED_FOLDERS and not built:
                    continue
                key += os.fsencode(os.sep)  # as its files' paths go on: "a-b" before "a/b"
            names.append((key, entry.path))
    return [path for _, path in sorted(names)]
