"""Writing to a stream that people may read: whether they do, and what it can show.

Takes any object with `write`; knows neither the command line nor what is written.
"""

import contextlib
import os
from typing import Any, TextIO


def is_terminal(stream: Any) -> bool:
    """Whether people read or write there."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):  # not all hosts' objects know, nor closed files
        return False


def write_if_possible(stream: TextIO, text: str) -> None:
    """Writes what may be lost: the work goes on when nobody can hear of it."""
    with contextlib.suppress(OSError, ValueError):  # its reader went away, the disk is full, closed
        stream.write(text)
        stream.flush()


def marked(line: str, mark: str, color: int, stream: Any) -> str:
    """The line with the first occurrence of a mark in an ANSI color (31 red, 32 green, 33 yellow).

    Only on a terminal, and never where NO_COLOR is set (https://no-color.org) or TERM is "dumb".
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or os.name == "nt"
    if plain or not is_terminal(stream):
        return line
    return line.replace(mark, f"\x1b[{color}m{mark}\x1b[0m", 1)


def encodable(text: str, encoding: str | None) -> str:
    """The text with `?` for what the encoding lacks: a small console is no reason to fail."""
    name = encoding or "utf-8"
    return text.encode(name, "replace").decode(name)


def count_text(count: int, thing: str) -> str:
    """A number of things for people: "1 file", "1,200 files"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def time_text(seconds: float) -> str:
    """Seconds for people: 75 -> "1:15", 3.2 -> "3 s"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
