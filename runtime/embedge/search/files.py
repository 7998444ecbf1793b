"""The files below a folder: which files there are, what stands in them, and when to look again.

`walk` lists plain files with a stamp that tells whether a file has changed; `read` gives a file's
bytes, all of one moment; `decode` gives their text. What cannot be read is told with a reason and
passed over. Nothing here follows a link, waits for a pipe or reads without bound. Knows neither
passages nor indexes.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from embedge.errors import InputError
from embedge.files.encodings import NotTextError, decode_text

MAX_FILE_BYTES = 8 * 2**20
MAX_IMAGE_BYTES = 64 * 2**20
IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules", "build", "dist"})
# Clocks of file systems tick in steps (FAT: 2 s). A file that was written within the last step
# could be written again without a sign, so its stamp is not trusted yet.
SETTLED_AFTER = 2_000_000_000  # nanoseconds

Refuse = Callable[[Path, str], None]


class RefusedError(Exception):
    """Why a file holds no text that could be searched."""


@dataclass(frozen=True, slots=True)
class Found:
    """A plain file, as the folder shows it."""

    path: Path
    size: int  # bytes
    stamp: str  # equal as long as the file is unchanged


@dataclass(frozen=True, slots=True)
class Content:
    """What stood in a file."""

    data: bytes
    digest: bytes  # of the data
    stamp: str | None  # None: written so recently that the same stamp would prove nothing


def walk(root: Path, *, refuse: Refuse) -> Iterator[Found]:
    """Every plain file below a folder, or the file itself, in the order of their paths' bytes.

    Hidden files, IGNORED_FOLDERS and links are left out without a word.

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
                yield Found(path, status.st_size, _stamp(status))
            else:
                refuse(path, "a pipe, socket or device, no file")
        except OSError as error:
            if path == root:  # not an empty folder: nothing below it may be taken for gone
                raise InputError(f"{root} cannot be read: {error.strerror or error}") from error
            refuse(path, error.strerror or str(error))


def read(path: Path, *, most: int = MAX_FILE_BYTES) -> Content:
    """The bytes of a file, at most `most`; read a second time if it changed meanwhile.

    Raises:
        RefusedError: it is too large, unreadable, no plain file, or being written to.
    """
    for _ in range(2):
        try:
            content = _read_once(path, most)
            if content is not None:
                return content
        except OSError as error:
            raise RefusedError(error.strerror or str(error)) from None
    raise RefusedError("it is being written to; it is tried again next time")


def decode(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Raises:
        RefusedError: it is in none of them, or no text at all.
    """
    try:
        return decode_text(data)
    except NotTextError as error:
        raise RefusedError(str(error)) from None


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


def _read_once(path: Path, most: int) -> Content | None:
    """Reads a file once; None if it changed while it was read."""
    # Not blocking, no link: the path may have become a pipe or a link since it was listed.
    flags = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"))
    with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as stream:
        before = os.fstat(stream.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise RefusedError("a pipe, socket or device, no file")
        data = b"" if before.st_size > most else stream.read(most + 1)
    if max(before.st_size, len(data)) > most:
        raise RefusedError(f"larger than {most // 2**20} MiB")
    after = path.lstat()  # of the path: another file may have taken its place
    if (_stamp(before), before.st_ino) != (_stamp(after), after.st_ino):
        return None
    settled = max(after.st_mtime_ns, after.st_ctime_ns) < time.time_ns() - SETTLED_AFTER
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return Content(data, digest, _stamp(after) if settled else None)


def _stamp(status: os.stat_result) -> str:
    # The time of change sees what a restored modification time hides (`cp -p`, `touch -d`).
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
