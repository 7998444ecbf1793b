"""What stands in a file that is to be searched, and whether its stamp can be trusted yet.

`read` gives a file's bytes, all of one moment; `decode` gives their text. What cannot be used is
refused with a reason. Nothing here follows a link, waits for a pipe or reads without bound. Knows
neither passages nor indexes.
"""

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from embedge.files.encodings import NotTextError, decode_text
from embedge.files.folders import stamp_of

MAX_FILE_BYTES = 8 * 2**20
MAX_IMAGE_BYTES = 64 * 2**20
# Clocks of file systems tick in steps (FAT: 2 s). A file that was written within the last step
# could be written again without a sign, so its stamp is not trusted yet.
SETTLED_AFTER = 2_000_000_000  # nanoseconds


class RefusedError(Exception):
    """Why a file holds no text that could be searched."""


@dataclass(frozen=True, slots=True)
class Content:
    """What stood in a file."""

    data: bytes
    digest: bytes  # of the data
    stamp: str | None  # None: written so recently that the same stamp would prove nothing

    def marked(self, mark: str) -> "Content":
        """The same, known by how it is read too."""
        digest = hashlib.blake2b(self.digest + mark.encode(), digest_size=16).digest()
        return Content(self.data, digest, None if self.stamp is None else self.stamp + mark)


def read(path: Path, *, most: int = MAX_FILE_BYTES) -> Content:
    """The bytes of a file, at most `most`; read a second time if it changed meanwhile.

    Raises:
        RefusedError: it is too large, unreadable, not a plain file, or being written to.
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
        RefusedError: it is in none of them, or not text at all.
    """
    try:
        return decode_text(data)
    except NotTextError as error:
        raise RefusedError(str(error)) from None


def _read_once(path: Path, most: int) -> Content | None:
    """Reads a file once; None if it changed while it was read."""
    # Not blocking, no link: the path may have become a pipe or a link since it was listed.
    flags = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"))
    with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as stream:
        before = os.fstat(stream.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise RefusedError("a pipe, socket or device, not a file")
        data = b"" if before.st_size > most else stream.read(most + 1)
    if max(before.st_size, len(data)) > most:
        raise RefusedError(f"larger than {most // 2**20} MiB")
    after = path.lstat()  # of the path: another file may have taken its place
    if (stamp_of(before), before.st_ino) != (stamp_of(after), after.st_ino):
        return None
    settled = max(after.st_mtime_ns, after.st_ctime_ns) < time.time_ns() - SETTLED_AFTER
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return Content(data, digest, stamp_of(after) if settled else None)
