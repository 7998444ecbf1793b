"""Ctrl-C and the signals that ask a process to end, turned into a clean stop.

By default SIGTERM (`kill`, systemd, `docker stop`) and SIGHUP (the terminal went away) end Python
on the spot, and a half-written file stays. Here they arrive as Ctrl-C does, so that all that
cleans up after Ctrl-C cleans up after them. Signals that the host program, or `nohup`, has an
opinion on are left alone.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

INTERRUPTED = 130  # exit code of Ctrl-C
PATIENCE = 5.0  # seconds that cancelled work may take to end; it takes about 20 ms
_NAMES = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP

Result = TypeVar("Result")


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end.

    Attributes:
        name: of the signal.
        code: the exit code that shells give for it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.code = 128 + number


class Asked:
    """Whether this process was asked to end.

    What a signal raises in the middle of another library's import, or of its error handling, can
    come out as an error of that library, or be lost; this remembers.

    Attributes:
        stop: what was raised, `Stopped` or, for Ctrl-C, KeyboardInterrupt; None if nothing was.
    """

    def __init__(self) -> None:
        self.stop: KeyboardInterrupt | None = None


@contextlib.contextmanager
def stops(asked: Asked | None = None) -> Iterator[None]:
    """Within it, the first of these signals raises `Stopped` in the main thread."""
    asked = asked or Asked()
    if threading.current_thread() is not threading.main_thread():
        yield  # only there may handlers be set
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]

    def stop(number: int, frame: FrameType | None) -> None:
        for one in ours:  # what cleans up now is not interrupted by a second one
            signal.signal(one, signal.SIG_IGN)
        asked.stop = Stopped(number)
        raise asked.stop

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.stop = KeyboardInterrupt()
        raise asked.stop

    for number in ours:
        signal.signal(number, stop)
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def cancellable(work: Callable[[threading.Event], Result]) -> Result:
    """Runs `work(cancel)` in a thread, so that Ctrl-C is seen while the network runs.

    Python delivers Ctrl-C to the main thread only, between two steps of Python code; one run of
    the network is a single step. Here the main thread waits, sets `cancel`, and waits for the
    work to end. To leave while the network runs would abort the process, so a further Ctrl-C
    counts only after PATIENCE seconds.
    """
    cancel = threading.Event()
    results: list[Result] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(work(cancel))
        except BaseException as error:  # carried over to the main thread below
            errors.append(error)
        finally:
            done.set()

    # Not Thread.join: interrupted by Ctrl-C, Python 3.11 then takes the thread for ended.
    done = threading.Event()
    threading.Thread(target=target, name="embedge-work", daemon=True).start()
    try:
        while not done.wait(0.2):  # seconds; Windows sees Ctrl-C only between two waits
            pass
    except KeyboardInterrupt:
        cancel.set()
        end = time.monotonic() + PATIENCE
        while not done.is_set():
            try:
                done.wait(0.2)
            except KeyboardInterrupt:
                if time.monotonic() > end:
                    os._exit(INTERRUPTED)
        raise
    if errors:
        raise errors[0]
    return results[0]
