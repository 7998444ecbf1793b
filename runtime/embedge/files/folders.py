"""The plain files below a folder, in a settled order, each with a stamp that shows a change.

What cannot be listed is reported with a reason and skipped. Nothing here follows a link, waits for
a pipe or opens a file. Knows nothing of what files hold.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from embedge.errors import InputError

IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules", "build", "dist"})

Refuse = Callable[[Path, str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A plain file, as the folder shows it."""

    path: Path
    size: int  # bytes
    stamp: str  # equal as long as the file is unchanged


def walk(root: Path, *, refuse: Refuse) -> Iterator[Found]:
    """Every plain file below a folder, or the file itself, in the order of their paths' bytes.

    Hidden files, IGNORED_FOLDERS and links are left out without a report.

    Raises:
        InputError: the root itself cannot be read.
    """
    waiting: list[str] = [str(root)]  # a stack, not recursion: folders may nest deeply
    while waiting:
        name = waiting.pop()
        path = Path(name)
        try:
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                waiting += reversed(_list(name))
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


def _list(folder: str) -> list[str]:
    """What stands in a folder, sorted so that a walk meets whole paths in their order."""
    names: list[tuple[bytes, str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            key = os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                if entry.name in IGNORED_FOLDERS:
                    continue
                key += os.fsencode(os.sep)  # as its files' paths go on: "a-b" before "a/b"
            names.append((key, entry.path))
    return [path for _, path in sorted(names)]
