"""Work at low priority: in threads of its own, as a priority can be lowered but not raised.

Takes a function, gives what it returns. On Linux a thread's priority goes on to the threads that it
starts, so a library that opens its pool of threads here has a pool of low priority. Elsewhere it
does not. Knows nothing of what runs.
"""

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from embedge.choice import Choice

T = TypeVar("T")

# Whether the threads that a thread starts have its priority.
INHERITED = sys.platform == "linux"
NICE = 19  # the lowest of Linux: about a seventieth of the time of a thread that wants it too
WINDOWS_LOWEST = -2  # THREAD_PRIORITY_LOWEST
MACOS_UTILITY = 0x11  # QOS_CLASS_UTILITY, for work that takes seconds or more


def choose_priority(background: bool, *, accelerator: bool) -> Choice[str]:
    """Whether an embedder's runs have "low" or "normal" priority.

    Args:
        background: whether low priority was asked for.
        accelerator: whether the device is another one than the CPU.
    """
    if not background:
        return Choice("normal", "background= was not given")
    if accelerator:
        return Choice(
            "normal", "background=True, and the device is not the CPU, which has priorities"
        )
    if sys.platform == "linux":
        return Choice("low", f"background=True: threads of nice {NICE}")
    if sys.platform in ("win32", "darwin"):
        return Choice("low", "background=True: the thread that runs")
    return Choice("normal", "background=True, and on this system threads have no priorities of own")


class LowThreads:
    """Threads of low priority: one, unless several threads call at a time.

    They stay for the next call: the C library has an area of memory for each new thread, and what
    is freed there can't always be given back. They end with `close`, or when this object goes.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._idle: list[_Thread] = []  # its `pop` and `append` are safe between threads

    def call(self, function: Callable[[], T]) -> T:
        """Calls a function in one of them and waits for it; what it raises is raised here.

        Where no thread can be started, as at the interpreter's end, it is called in this one.
        """
        if self._process != os.getpid():  # a forked child has none of them
            self._process, self._idle = os.getpid(), []
        try:
            thread = self._idle.pop() if self._idle else _Thread()
        except IndexError:  # another thread was quicker
            thread = _Thread()
        try:
            thread.start()
        except RuntimeError:
            return function()
        work = _Work(function)
        thread.do(work)
        self._idle.append(thread)
        return work.result()

    def close(self) -> None:
        """Ends those that wait; a later call starts others."""
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().end()

    def __del__(self) -> None:
        self.close()


class _Thread:
    """One thread, which waits for work."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._started = False

    def start(self) -> None:
        """Starts it, unless it is; a RuntimeError where that cannot be."""
        if not self._started:
            # A daemon: the program may end at any moment.
            name, waiting = "embedge-low", (self._queue,)
            threading.Thread(target=_serve, args=waiting, name=name, daemon=True).start()
            self._started = True

    def do(self, work: "_Work[Any]") -> None:
        """Does it there, and waits. Ctrl-C comes after it, as it does without a thread."""
        self._queue.put(work)
        try:
            work.done.wait()
        except BaseException:
            work.done.wait()
            raise

    def end(self) -> None:
        self._queue.put(None)


class _Work(Generic[T]):
    """A function's call, and what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.done = threading.Event()
        self._function: Callable[[], T] | None = function
        self._values: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        assert self._function is not None
        try:
            self._values.append(self._function())
        except BaseException as error:  # SystemExit too: the caller's thread is to end
            self._error = error
        self._function = None  # it holds what the caller may let go
        self.done.set()

    def result(self) -> T:
        if self._error is None:
            return self._values.pop()
        try:
            raise self._error
        finally:
            self._error = None  # no circle of the error and its own frames


def _serve(waiting: "queue.SimpleQueue[_Work[Any] | None]") -> None:
    _lower()
    while (work := waiting.get()) is not None:
        work.run()
        del work  # while it waits for the next, it holds nothing


def _lower() -> None:
    """Lowers the priority of this thread, where the system has a way; else does nothing."""
    try:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        elif sys.platform == "win32":
            import ctypes  # where it is needed alone: it takes a moment

            kernel = ctypes.WinDLL("kernel32")
            kernel.GetCurrentThread.restype = ctypes.c_void_p
            kernel.SetThreadPriority.argtypes = [ctypes.c_void_p, ctypes.c_int]
            kernel.SetThreadPriority(kernel.GetCurrentThread(), WINDOWS_LOWEST)
        elif sys.platform == "darwin":
            import ctypes

            library: Any = ctypes.CDLL(None)
            library.pthread_set_qos_class_self_np.argtypes = [ctypes.c_uint, ctypes.c_int]
            library.pthread_set_qos_class_self_np(MACOS_UTILITY, 0)
    except (ImportError, OSError, AttributeError):
        return  # a sandbox forbids it: the work is done all the same
