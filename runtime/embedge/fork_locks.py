"""A lock that a forked child finds open, and a list of what else begins again there.

A child that is forked while another thread holds a lock would wait for that thread for ever: it
does not exist there. What such a lock guards here is only ever replaced whole (a session, a
tokenizer, a count), so the child may go on with what it finds.
"""

import os
import threading
import weakref
from types import TracebackType
from typing import Protocol


class Reopened(Protocol):
    """What a forked child makes open again."""

    def open(self) -> None:
        """Called in the child, in its one thread."""


class ForkLock:
    """A lock as `threading.Lock`, for use in a `with` statement."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        open_in_children(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock.locked():  # not in a child that was forked within the block
            self._lock.release()

    def open(self) -> None:
        """Makes it a new lock."""
        self._lock = threading.Lock()


_all: "weakref.WeakSet[Reopened]" = weakref.WeakSet()


def open_in_children(thing: Reopened) -> None:
    """Has every forked child call `thing.open()`, for as long as it lives."""
    _all.add(thing)


def _after_fork() -> None:
    for thing in list(_all):
        thing.open()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
