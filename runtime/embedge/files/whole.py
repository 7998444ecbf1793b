"""Files that appear whole or not at all: written beside their place, and renamed at the end.

Takes a path, gives a binary stream to write to. Until `finish` the place holds what it held
before; `abandon`, or an error within the `with` block, leaves nothing behind. What is not a
regular file (a pipe, a terminal, /dev/null) cannot be replaced by a rename, and is written to
directly. Knows nothing of what is written.
"""

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from embedge.files.locks import lock

_KINDS = (
    (stat.S_ISDIR, "is a folder; give the path of a file"),
    (stat.S_ISSOCK, "is a socket, which cannot be opened for writing; give the path of a file"),
    (stat.S_ISBLK, "is a disk, which would be overwritten; give the path of a file"),
)
# What stands here are the system's own names for streams: a rename would not reach the stream.
_SYSTEM = (Path("/dev"), Path("/proc"))
_MEMORY = Path("/dev/shm")  # ordinary files all the same
_MOST_LINKS = 40  # that the system follows
_NAME_PART = 20  # characters of the name in that of the temporary file: a name has 255 bytes


def find_obstacle(path: str | os.PathLike[str]) -> str | None:
    """Why no file can be written at a path, and what to do; None if one can, as far as is known.

    To be asked before long work whose result belongs there. Goes on in a sentence after the path.
    """
    text = os.fspath(path)
    if not text:
        return "is empty; give the path of a file"
    mode = None
    try:
        folder = _follow(Path(text)).parent
    except FileNotFoundError:  # raised where a relative path starts from nothing
        return "cannot be used: the current folder was deleted; change to another one"
    try:
        mode = Path(text).stat().st_mode
    except FileNotFoundError:
        if text.endswith(tuple(filter(None, (os.sep, os.altsep)))):
            return "ends as the name of a folder; give the path of a file"
    except (OSError, ValueError) as error:
        return f"cannot be used: {getattr(error, 'strerror', None) or error}"
    if mode is not None:
        for is_kind, reason in _KINDS:
            if is_kind(mode):
                return reason
        if not os.access(text, os.W_OK):
            return "is write-protected; name another file, or change its permissions"
        if not is_replaced(Path(text)):
            return None
    if not folder.is_dir():
        return f"lies in {folder}, which does not exist; make that folder first"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"lies in {folder}, where you may not make files; name another place"
    return None


class WholeFile:
    """A file that appears at its place when it is finished; a context manager.

    Attributes:
        stream: where to write. An `OSError` of writing names the place.
    """

    stream: BinaryIO

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        seeks: bool = False,
        part: Path | None = None,
        size: int = 0,
    ) -> None:
        """Opens the file; what stands at `path` stays as it is for now.

        Args:
            path: where the file shall stand. A link is followed: what it points to is replaced.
            seeks: whether the stream has to seek. Where the place is a pipe or the like, all is
                then held back in a temporary file until the end.
            part: a temporary file that `suspend` has left, to go on with.
            size: bytes of it that count.

        Raises:
            OSError: it cannot be made there.
        """
        self._place = Path(path)
        self._part: Path | None = None  # the temporary file, while there is one
        self._direct: BinaryIO | None = None  # the pipe that waits for what is held back
        if is_replaced(self._place):
            self._place = _follow(self._place)
            self.stream = self._open_part() if part is None else self._reopen(part, size)
            return
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
        self.stream = self._named(os.open(self._place, flags))
        if seeks:
            self._direct = self.stream
            # Closed by finish and abandon.
            self.stream = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115

    @property
    def part(self) -> Path | None:
        """The temporary file; None where the place is written to directly, and at the end."""
        return self._part

    def sync(self) -> None:
        """Waits until the disk has what was written so far."""
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def suspend(self) -> None:
        """Closes the temporary file and leaves it, for a later `WholeFile` to go on with."""
        self._part = None
        self.stream.close()

    def finish(self) -> None:
        """Makes the file final.

        Raises:
            OSError: the disk did not take all of it. Nothing is left behind.
        """
        try:
            self.stream.flush()
            if self._direct is not None:
                self.stream.seek(0)
                shutil.copyfileobj(self.stream, self._direct)
                self._direct.close()
            if self._part is not None:
                os.fsync(self.stream.fileno())
            self.stream.close()
            if self._part is not None:
                _replace(self._part, self._place)
                self._part = None
        except BaseException as error:
            self.abandon()
            if isinstance(error, OSError):
                error.filename, error.filename2 = str(self._place), None
            raise

    def abandon(self) -> None:
        """Leaves nothing behind. Never fails: what could not be written cannot be flushed."""
        for stream in (self.stream, self._direct):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
        if self._part is not None:
            with contextlib.suppress(OSError):
                self._part.unlink()
            self._part = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.abandon()

    def _open_part(self) -> BinaryIO:
        """A file of ours alone beside the place, with the permissions that the place will have."""
        before: os.stat_result | None = None
        with contextlib.suppress(FileNotFoundError):
            before = self._place.stat()
        # The system takes the umask off; what is replaced may have been closed to others.
        mode = 0o666 if before is None else 0o600
        # O_EXCL: never through a file or a link that somebody has put there.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        name = f".{self._place.name[:_NAME_PART]}.{secrets.token_hex(8)}.part"
        part = self._place.with_name(name)
        try:
            descriptor = os.open(part, flags, mode)
        except OSError as error:
            error.filename = str(self._place)
            raise
        except BaseException:  # Ctrl-C just after it was made
            part.unlink(missing_ok=True)
            raise
        self._part = part
        _claim(descriptor)
        if before is not None:
            _take_over(descriptor, before)
        return self._named(descriptor)

    def _reopen(self, part: Path, size: int) -> BinaryIO:
        """Opens a temporary file of ours again, cut to what counts."""
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(part, flags)
        try:
            _check_left(os.fstat(descriptor), size)
            _claim(descriptor)
            os.ftruncate(descriptor, size)
            os.lseek(descriptor, size, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        self._part = part
        return self._named(descriptor)

    def _named(self, descriptor: int) -> BinaryIO:
        raw = _Raw(descriptor, "wb")
        raw.place = str(self._place)
        return io.BufferedWriter(raw)


class _Raw(io.FileIO):
    """A file whose errors name the place that the caller knows."""

    place = ""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = self.place
            raise


def is_replaced(path: Path) -> bool:
    """Whether a rename makes the file at a path; else it is written to directly."""
    link = path
    for _ in range(_MOST_LINKS):
        folder = _follow(link.parent)
        if any(folder.is_relative_to(system) for system in _SYSTEM) and os.path.lexists(link):
            return folder.is_relative_to(_MEMORY)
        if not link.is_symlink():
            break
        link = folder / link.readlink()
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True


def _follow(path: Path) -> Path:
    """The path without links; what it leads to need not exist."""
    return Path(os.path.realpath(path))


def _check_left(status: os.stat_result, size: int) -> None:
    """Refuses to go on with what no earlier run of this user has left.

    Raises:
        OSError: it is no regular file, is another user's, or holds less than it should.
    """
    ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    if not stat.S_ISREG(status.st_mode) or not ours or status.st_size < size:
        raise OSError(errno.EINVAL, "is not what was left there")


def _claim(descriptor: int) -> None:
    """Claims a temporary file until it is closed, so that no other process goes on with it.

    Raises:
        OSError: another process writes to it.
    """
    if os.name != "posix":  # a lock on Windows would keep this process from its own file
        return
    try:
        lock(descriptor)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "is being written by another process") from None
    except OSError:  # a file system without locks
        return


def _take_over(descriptor: int, before: os.stat_result) -> None:
    """Gives a new file the owner and the permissions of the one that it replaces."""
    if hasattr(os, "fchown"):
        with contextlib.suppress(OSError):  # only root may give files away
            os.fchown(descriptor, before.st_uid, before.st_gid)
    if hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):  # a file system without permissions
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & 0o777)


def _replace(part: Path, place: Path) -> None:
    """Renames; where the place is mounted by itself, as in a container, copies."""
    try:
        part.replace(place)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        with part.open("rb") as source, place.open("wb") as target:
            shutil.copyfileobj(source, target)
        part.unlink()
