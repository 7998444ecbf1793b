"""Work at low priority: in a thread made for it, as a priority can be lowered but not raised.

Takes a function, gives what it returns. On Linux a thread's priority goes on to the threads that it
starts, so a library that opens its pool of threads here has a pool of low priority. Elsewhere it
does not. Knows nothing of what runs.
"""

import ctypes
import os
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


def run_low(function: Callable[[], T]) -> T:
    """Calls a function in a new thread of low priority, and waits for it.

    What it raises is raised here. Where no thread can be started, as at the interpreter's end, it
    is called in this one.
    """
    work = _Work(function)
    thread = threading.Thread(target=work, name="embedge-low", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return function()
    try:
        thread.join()
    except BaseException:  # Ctrl-C: as without a thread, it comes after the run
        thread.join()
        raise
    return work.result()


class _Work(Generic[T]):
    """A function's call, and what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._values: list[T] = []
        self._error: BaseException | None = None

    def __call__(self) -> None:
        try:
            _lower()
            self._values.append(self._function())
        except BaseException as error:  # SystemExit too: the caller's thread is to end
            self._error = error

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._values[0]


def _lower() -> None:
    """Lowers the priority of this thread, where the system has a way; else does nothing."""
    try:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        elif sys.platform == "win32":
            kernel = ctypes.WinDLL("kernel32")
            kernel.GetCurrentThread.restype = ctypes.c_void_p
            kernel.SetThreadPriority.argtypes = [ctypes.c_void_p, ctypes.c_int]
            kernel.SetThreadPriority(kernel.GetCurrentThread(), WINDOWS_LOWEST)
        elif sys.platform == "darwin":
            library: Any = ctypes.CDLL(None)
            library.pthread_set_qos_class_self_np.argtypes = [ctypes.c_uint, ctypes.c_int]
            library.pthread_set_qos_class_self_np(MACOS_UTILITY, 0)
    except (OSError, AttributeError):  # a sandbox that forbids it: the work is done all the same
        return
