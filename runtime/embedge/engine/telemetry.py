"""ONNX Runtime's usage reports, kept off.

From 1.29 on the official packages of ONNX Runtime report how they are used: importing the module
writes a device id and a database of events into the user's cache folder, and a background thread
sends them. Nothing that is called after the import prevents this. The environment variable
ORT_DISABLE_TELEMETRY=1 does; it is read once, during the import, and decides for the rest of the
process. So it is set for as long as the import takes, and whatever stood there before is restored:
the environment belongs to the host program, and to the child processes that it starts. Knows
nothing else of ONNX Runtime; `loading` imports it within `kept_off`.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from types import ModuleType

VARIABLE = "ORT_DISABLE_TELEMETRY"
_ON = "1"

# No deadlock: a host that imports ONNX Runtime itself holds that module's import lock, which we
# may wait for, and never asks for this one.
_lock = threading.RLock()
_first_importer: str | None = None  # "embedge" or "host"; None: not imported yet
_under_way: list[tuple[int, str | None]] = []  # thread, and what the variable was before


@contextlib.contextmanager
def kept_off() -> Iterator[None]:
    """Keeps the reports off if ONNX Runtime is imported within the `with` block."""
    with _lock:
        _note_importer("host")
        entry = (threading.get_ident(), os.environ.get(VARIABLE))
        _under_way.append(entry)
        try:
            os.environ[VARIABLE] = _ON
            yield
        finally:
            with contextlib.suppress(ValueError):  # a child forked meanwhile
                _under_way.remove(entry)
            _restore(entry[1])
            _note_importer("embedge")


def switch_off(runtime: ModuleType) -> None:
    """Asks an imported ONNX Runtime for no further events: all that is possible afterwards."""
    if hasattr(runtime, "disable_telemetry_events"):
        runtime.disable_telemetry_events()


def was_imported_by_host() -> bool:
    """Whether the host program imported ONNX Runtime first, and so decided what it reports."""
    return _first_importer == "host"


def _note_importer(name: str) -> None:
    global _first_importer
    if _first_importer is None and sys.modules.get("onnxruntime") is not None:
        _first_importer = name


def _restore(before: str | None) -> None:
    if os.environ.get(VARIABLE) != _ON:  # the host changed it meanwhile
        return
    if before is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = before


def _after_fork() -> None:
    """In a child that another thread forked during the import: the environment is as it was."""
    global _lock
    if _under_way and _under_way[0][0] != threading.get_ident():
        _lock = threading.RLock()  # the thread that held it does not exist here
        _restore(_under_way[0][1])
        _under_way.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
