"""Work of another library in Python that is ended when its time is over, also in a loop of its own.

Takes a function, runs it in a thread made for it. Knows nothing of what it does.
"""

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.05
# What one poll counts for at most. One that took longer was not all the work's: the laptop slept
# (whose clock goes on meanwhile on Windows), or the process was stopped.
MOST_SECONDS = 1.0
_PATIENCE = 2.0  # seconds until a thread that does not end is left alone


def run_within(seconds: float, work: Callable[[], None], check: Callable[[], None]) -> bool:
    """Whether the work came to its end within the time; what it raises is its own affair.

    Args:
        seconds: it may take; while the computer sleeps they do not pass.
        work: done in a thread that ends, by an exception at any moment, once the time is over.
        check: called now and then meanwhile; what it raises ends the work too.
    """

    def quietly() -> None:
        with contextlib.suppress(SystemExit):  # as `_end` raises it
            work()

    thread = threading.Thread(target=quietly, name="embedge-timed", daemon=True)
    left, before = seconds, time.monotonic()
    thread.start()
    try:
        while thread.is_alive():
            check()
            if left <= 0:
                return False
            thread.join(min(left, POLL_SECONDS))
            now = time.monotonic()
            left, before = left - min(now - before, MOST_SECONDS), now
        return True
    finally:
        _end(thread)


def _end(thread: threading.Thread) -> None:
    """Raises SystemExit in a thread, which ends it; again if that was caught."""
    end = time.monotonic() + _PATIENCE
    while thread.is_alive() and time.monotonic() < end and thread.ident is not None:
        try:
            raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        except AttributeError:  # not CPython: it goes on beside us
            return
        raise_in(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
        thread.join(POLL_SECONDS)
