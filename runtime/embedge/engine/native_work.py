"""ONNX Runtime's work under way: how it is stopped, and that it ends before the interpreter does.

ONNX Runtime loads and runs without Python's lock, so other threads go on meanwhile, and one of
them may end the program. A thread that comes back from ONNX Runtime after that aborts the process
("terminate called without an active exception"). Threads that Python waits for never do; daemon
threads do. So what is under way is listed here: at the interpreter's end it is stopped and waited
for, and what a daemon thread begins after that ends the thread. The same list serves `cancel`.
A forked child begins with an empty one, for it has no thread of its parent but the one that
forked. Knows run options by their attribute `terminate`, and nothing of networks.
"""

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

CANCEL_POLL = 0.02  # seconds; how late a cancel may be noticed
# Seconds that the interpreter's end waits. A run stops between two operators, after milliseconds;
# loading a graph can't be stopped, and takes a second or two where it is large.
PATIENCE_AT_EXIT = 10.0


class _Work:
    """One call into ONNX Runtime."""

    def __init__(self, options: Any, cancel: threading.Event | None) -> None:
        self.cancel = cancel
        self._options = options

    def stop(self) -> None:
        """Asks it to end; does nothing where it can't be asked."""
        if self._options is not None:
            self._options.terminate = True


_changed = threading.Condition()  # guards all below
_under_way: list[_Work] = []
_watched = False  # whether the thread that looks at `cancel` is alive
_ender: int | None = None  # the thread in which the interpreter ends, once it does


@contextlib.contextmanager
def native_work(options: Any = None, cancel: threading.Event | None = None) -> Iterator[None]:
    """Around one call into ONNX Runtime.

    Args:
        options: its RunOptions; None for what can't be stopped, such as loading a graph.
        cancel: stops it soon after it is set.

    Raises:
        SystemExit: the interpreter ends, and this is another thread than the one that ends it. A
            thread that raises it ends without a word.
    """
    work = _Work(options, cancel)
    _begin(work)
    try:
        yield
    except Exception:
        if _is_left_behind():  # it failed because it was stopped
            raise SystemExit from None
        raise
    finally:
        with _changed, contextlib.suppress(ValueError):  # ValueError: in a child forked meanwhile
            _under_way.remove(work)
            _changed.notify_all()


def _begin(work: _Work) -> None:
    global _watched
    with _changed:
        if _is_left_behind():
            raise SystemExit
        _under_way.append(work)
        if work.cancel is None or _watched:
            return
        # Without a further thread `cancel` is still looked at between two runs.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=_watch, name="embedge-cancel", daemon=True).start()
            _watched = True


def _watch() -> None:
    """Stops what is cancelled; ends when nothing is left that could be."""
    global _watched
    while True:
        with _changed:
            if all(work.cancel is None for work in _under_way):
                _watched = False
                return
            for work in _under_way:
                if work.cancel is not None and work.cancel.is_set():
                    work.stop()
        time.sleep(CANCEL_POLL)


def _is_left_behind() -> bool:
    return _ender is not None and _ender != threading.get_ident()


def _end() -> None:
    """At the interpreter's end: stops all work, and waits for it."""
    global _ender
    deadline = time.monotonic() + PATIENCE_AT_EXIT
    with contextlib.suppress(KeyboardInterrupt), _changed:
        _ender = threading.get_ident()
        while _under_way and (left := deadline - time.monotonic()) > 0:
            for work in _under_way:
                work.stop()
            _changed.wait(min(left, CANCEL_POLL))


def _after_fork() -> None:
    global _changed, _watched, _ender
    _changed = threading.Condition()
    _under_way.clear()
    _watched, _ender = False, None


atexit.register(_end)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
