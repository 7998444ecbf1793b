"""What the commands print: results on stdout, everything about the work on stderr.

All of it goes through `say`, `note`, `show`, `show_lines` and `show_json`, so that nothing that a
file, a pack, a server or a name holds steers the terminal.
"""

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

from embedge.printable import printable
from embedge.progress import ProgressBar
from embedge.terminal import encodable, marked, write_if_possible

_QUIET = ContextVar("quiet", default=False)


_COLORS = {"error:": 31, "FAIL": 31, "warning:": 33, "OK": 32}


def say(line: str, *, mark: str = "") -> None:
    """Prints one line on stderr, whatever it holds and whatever the encoding can show.

    Args:
        line: without its end.
        mark: a word of it that a terminal shows in color, one of `_COLORS`.
    """
    write_if_possible(sys.stderr, _shown(line, mark, sys.stderr) + "\n")


def note(line: str, *, above: ProgressBar | None = None) -> None:
    """Says what is good to know and no error, on stderr; nothing with --quiet.

    Args:
        line: without its end.
        above: the progress line that it is printed above.
    """
    if not _QUIET.get():
        (say if above is None else above.say)(line)


@contextlib.contextmanager
def talking(options: argparse.Namespace) -> Iterator[None]:
    """Within it, --quiet and --verbose count."""
    token = _QUIET.set(options.quiet)
    logger = logging.getLogger("embedge")
    before, handler = logger.level, _Lines()
    # The server logs by itself, and says what was chosen.
    talks = options.verbose and options.command != "serve"
    if talks:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _QUIET.reset(token)
        if talks:
            logger.removeHandler(handler)
            logger.setLevel(before)


class _Lines(logging.Handler):
    """Log records as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"embedge: {record.getMessage()}")


def show(line: str = "", *, mark: str = "") -> None:
    """Prints one line on stdout, as `say` does on stderr."""
    with naming_stdout():
        print(_shown(line, mark, sys.stdout))


def _shown(line: str, mark: str, stream: Any) -> str:
    text = encodable(printable(line), stream.encoding)
    color = _COLORS.get(mark)
    return text if color is None else marked(text, mark, color, stream)


@contextlib.contextmanager
def naming_stdout() -> Iterator[None]:
    """Writes to stdout within it fail with its name: a full disk is one of several."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or "stdout"
        raise


def show_lines(text: str) -> None:
    """Prints lines that were put together here, such as a table's."""
    for line in text.split("\n"):
        show(line)


def show_json(value: Any, *, indent: int | None = None) -> None:
    """Prints a value as JSON, exactly; ASCII alone, and no control characters."""
    # DEL is the one that JSON lets through as it is.
    with naming_stdout():
        print(json.dumps(value, indent=indent).replace("\x7f", "\\u007f"))


def table(rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows as aligned columns; the columns in `right` are aligned to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    count = max((len(row) for row in cells), default=0)
    widths = [max((len(row[i]) for row in cells if i < len(row)), default=0) for i in range(count)]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(widths[i]) if i in right else cell.ljust(widths[i])
            for i, cell in enumerate(row)
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)
