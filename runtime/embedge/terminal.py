"""Writing to a stream that people may read: whether they do, and what it can show.

Takes any object with `write`; knows neither the command line nor what is written.
"""

import contextlib
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


def encodable(text: str, encoding: str | None) -> str:
    """The text with `?` for what the encoding lacks: a small console is no reason to fail."""
    name = encoding or "utf-8"
    return text.encode(name, "replace").decode(name)


def time_text(seconds: float) -> str:
    """Seconds for people: 75 -> "1:15", 3.2 -> "3 s"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
