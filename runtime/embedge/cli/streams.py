"""The standard streams, which need not be there.

A service, a cron job, a shell's `>&-` or a program without a console starts Python with one of
them closed; it is None then. A host that calls `main` may have put an object of its own there. The
command's work must not depend on who listens: what is missing is the null device for as long as
the command runs, and what a host's object lacks is added.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

_NAMES = ("stdin", "stdout", "stderr")
_NEEDED = ("write", "flush", "isatty", "encoding")  # of a stream that is written


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Within it, sys.stdin, sys.stdout and sys.stderr can be used."""
    _occupy_descriptors()
    before = {name: getattr(sys, name) for name in _NAMES}
    with contextlib.ExitStack() as stack:
        replaced: dict[str, Any] = {}
        for name, stream in before.items():
            if stream is None or getattr(stream, "closed", False):
                mode = "r" if name == "stdin" else "w"
                null = stack.enter_context(open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123
                replaced[name] = null
            elif name != "stdin" and not all(hasattr(stream, need) for need in _NEEDED):
                replaced[name] = _Completed(stream)
        for name, stream in replaced.items():
            setattr(sys, name, stream)
        try:
            yield
        finally:
            for name, stream in replaced.items():
                if getattr(sys, name) is stream:
                    setattr(sys, name, before[name])


def input_bytes() -> BinaryIO:
    """Standard input as bytes."""
    buffer: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if buffer is not None:
        return buffer
    return io.BytesIO(sys.stdin.read().encode("utf-8", "surrogatepass"))  # a host's own object


class _Completed(io.TextIOBase):
    """A host's object that can be written, with all that a stream has."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if hasattr(self._stream, "flush"):
            self._stream.flush()


def _occupy_descriptors() -> None:
    """Opens the null device where descriptor 0, 1 or 2 is closed.

    Else the next file that is opened gets the number, and whatever writes to "standard error", a
    library in C, writes into it. They stay: who closed them does not miss them.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:  # another thread was quicker
                os.dup2(opened, descriptor)
                os.close(opened)
