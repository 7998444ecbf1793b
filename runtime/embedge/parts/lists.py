"""A list of what is done that outlives the process: one JSON object a line, added by one process.

The end of a list may be half a line, which a killed process has left; it is skipped.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from embedge.errors import OptionError
from embedge.files.locks import lock


class DoneList:
    """An open list."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, line: Mapping[str, Any]) -> None:
        """Adds a line; when this returns, the disk has it."""
        # A line of its own also behind half a line, which a killed process may have left.
        text = b"\n" + json.dumps(dict(line)).encode() + b"\n"
        try:
            self._stream.write(text)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:  # a full disk is one of several
            error.filename = error.filename or self._stream.name
            raise


@contextlib.contextmanager
def open_list(path: Path, *, busy: str) -> Iterator[DoneList]:
    """A list for this process alone; made if it is not there.

    Args:
        path: of the file.
        busy: what to say where another process has it.

    Raises:
        OptionError: another process has it.
    """
    with path.open("a+b") as stream:
        try:
            if os.name == "posix":  # on Windows nobody could read what is locked
                lock(stream.fileno())
        except BlockingIOError:
            raise OptionError(busy) from None
        except OSError:  # a file system without locks
            pass
        yield DoneList(stream)


def read_list(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a list; none where there is no file."""
    if not path.exists():
        return
    for text in path.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):  # the end of a killed process
            line = json.loads(text)
            if isinstance(line, dict):
                yield line
