"""What the commands print: results on stdout, everything about the work on stderr.

All of it goes through `say`, `show`, `show_lines` and `show_json`, so that nothing that a file, a
pack, a server or a name holds steers the terminal.
"""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from embedge.printable import printable
from embedge.terminal import encodable, write_if_possible


def say(line: str) -> None:
    """Prints one line on stderr, whatever it holds and whatever the encoding can show."""
    write_if_possible(sys.stderr, encodable(printable(line), sys.stderr.encoding) + "\n")


def show(line: str = "") -> None:
    """Prints one line on stdout, whatever it holds and whatever the encoding can show."""
    with naming_stdout():
        print(encodable(printable(line), sys.stdout.encoding))


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
