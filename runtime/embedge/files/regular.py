"""Opens and reads regular files only, never more than was asked for, and never waits.

In place of a file there may be a pipe that nobody writes to, a device without an end, or a link to
either. Takes a path, gives an open file or its bytes; what is not a regular file, or is larger than
expected, is an OSError that says so. Knows nothing of what the files hold.
"""

import errno
import io
import os
import stat
from pathlib import Path


def open_regular(path: Path, *, follow_links: bool = False) -> io.BufferedReader:
    """Opens a file to read its bytes.

    Args:
        path: where it stands.
        follow_links: take the regular file that a link leads to; otherwise a link is refused.

    Raises:
        OSError: it cannot be opened, or is a folder, pipe, socket, device or (see above) a link.
    """
    # Looked at before it is opened, because to open a device may have effects of its own. Looked
    # at again afterwards, because another may have taken its place.
    _check(path, path.stat() if follow_links else path.lstat())
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    stream = os.fdopen(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb")
    try:
        _check(path, os.fstat(stream.fileno()))
    except BaseException:
        stream.close()
        raise
    return stream


def read_regular(path: Path, *, most: int, follow_links: bool = False) -> bytes:
    """The bytes of a file.

    Args:
        path: where it stands.
        most: bytes; a file that holds more is refused before memory is taken for it.
        follow_links: see `open_regular`.

    Raises:
        OSError: see `open_regular`; or the file is larger than `most`.
    """
    with open_regular(path, follow_links=follow_links) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = b"" if size > most else stream.read(min(size, most) + 1)
        while size <= most and len(data) <= most:  # it grew, or does not know its size (/proc)
            more = stream.read(min(2**20, most + 1 - len(data)))
            if not more:
                break
            data += more
    if max(size, len(data)) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
    return data


def check_regular(path: Path, *, follow_links: bool = False) -> None:
    """Refuses what is not a regular file, for libraries that open a path themselves.

    Raises:
        OSError: as `open_regular`.
    """
    _check(path, path.stat() if follow_links else path.lstat())


def _check(path: Path, status: os.stat_result) -> None:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "it is a link", str(path))
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    raise OSError(errno.EINVAL, "it is a pipe, socket or device, not a regular file", str(path))
