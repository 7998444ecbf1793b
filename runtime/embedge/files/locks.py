"""Locks on open files, which the system drops when the process ends; none is ever waited for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_process(path: Path) -> Iterator[bool]:
    """Whether the lock was free; it is held within, and never waited for.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        try:
            lock(descriptor)
        except OSError:
            free = False
        else:
            free = True
        yield free
        if free and os.name == "posix":  # Windows removes no open file
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> None:
    """Takes the lock of an open file; it ends when the file is closed.

    Raises:
        BlockingIOError: another process has it; on Windows another OSError.
        OSError: the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
