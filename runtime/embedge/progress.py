"""A progress line on stderr: part done, rate and time left, in place, ten times a second.

Knows only fractions and labels. Silent unless stderr is a terminal or it was asked for; not a
terminal but asked for, it prints a plain line every few seconds instead of rewriting one. A patient
one does so unasked too, once the work has taken that long.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Self, TextIO

from embedge.printable import printable
from embedge.terminal import encodable, is_terminal, time_text, write_if_possible

REDRAW_SECONDS = 0.1
PLAIN_SECONDS = 5.0  # between two lines where the line cannot be rewritten
WIDTH = 24  # characters of the bar itself
ROOM = 79  # characters of the whole line: a wider one would wrap and could not be rewritten


class ProgressBar:
    """The progress line; a context manager that leaves a clean line behind."""

    def __init__(
        self,
        enabled: bool | None = None,
        *,
        patient: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = is_terminal(self._stream)
        self._patient = patient and enabled is None and not self._terminal
        self._enabled = (self._terminal or self._patient) if enabled is None else enabled
        self._clock = clock
        self._start = clock()
        self._last = self._start if self._patient else -PLAIN_SECONDS
        self._drawn = 0  # characters on the line now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

    def update(self, fraction: float | None, label: str) -> None:
        """Shows the label and, where the whole is known, how much of it is done (0 to 1)."""
        if not self._enabled:
            return
        now = self._clock()
        pause = REDRAW_SECONDS if self._terminal else PLAIN_SECONDS
        if now - self._last < pause and (fraction != 1.0 or self._patient):
            return
        self._last = now
        elapsed = now - self._start
        if fraction is None:
            line = f"{label}  {time_text(elapsed)}"
        else:
            part = min(max(fraction, 0.0), 1.0)
            full = round(part * WIDTH)
            line = f"[{'#' * full}{'.' * (WIDTH - full)}] {part:4.0%}  {label}"
            if part == 1.0:
                line += f"  {time_text(elapsed)}"
            elif part > 0.01 and elapsed > 1:  # the first moments say nothing about the rate
                line += f"  {time_text(elapsed / part - elapsed)} left"
        self._draw(encodable(printable(line), self._stream.encoding))

    def say(self, line: str) -> None:
        """Prints a line for good, above the progress line."""
        self._clear()
        self._write(encodable(printable(line), self._stream.encoding) + "\n")

    def _draw(self, line: str) -> None:
        if self._terminal:
            line = line[:ROOM]
            self._write("\r" + line + " " * (self._drawn - len(line)))
            self._drawn = len(line)
        else:
            self._write(line + "\n")

    def _clear(self) -> None:
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0

    def _write(self, text: str) -> None:
        write_if_possible(self._stream, text)


def reporting(
    progress: Callable[[int, int], None] | bool | None, what: str
) -> AbstractContextManager[Callable[[int, int], None] | None]:
    """What is called with (done, total) within it: the caller's own, or a progress line for True.

    Args:
        progress: a callable is passed on as it is; True shows a line on stderr, rewritten in place
            on a terminal and printed every few seconds elsewhere; False and None show nothing.
        what: the things counted, for the line.
    """
    if not isinstance(progress, bool):
        return nullcontext(progress)
    if not progress or sys.stderr is None:  # programs without a console have none
        return nullcontext(None)
    return _line(what)


@contextlib.contextmanager
def _line(what: str) -> Iterator[Callable[[int, int], None]]:
    with ProgressBar(True) as bar:
        yield lambda done, total: bar.update(
            done / total if total else None, f"{done:,} of {total:,} {what}"
        )
