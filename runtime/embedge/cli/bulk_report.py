"""What `embedge bulk` reports on stderr: how far it is, rows without a vector, what came of it."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.cli import screen
from embedge.cli.left_out import RefusedLines, cut_line
from embedge.progress import ProgressBar
from embedge.terminal import count_text, time_text

if TYPE_CHECKING:
    from embedge.parts.plan import Shard
    from embedge.parts.run import Result, Step


class Report:
    """The lines of one run.

    Args:
        progress: the progress line.
        counts: of tokens and texts that were cut, so far.
        flags: the command's, by Python's names for them.
        clock: seconds.
    """

    def __init__(
        self,
        progress: ProgressBar,
        counts: Callable[[], tuple[int, int]],
        flags: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = progress
        self._counts = counts
        self._clock = clock
        self._start = clock()
        self._parts = 0
        more = 'more follow; the column "error" has the reason of each'
        self._refused = RefusedLines(progress, flags, more)

    def found(self, *, todo: int, skipped: int, changed: int) -> None:
        """What there is to do."""
        self._start = self._clock()
        if changed:
            self._progress.say(
                f"embedge: not as written, and made again: {count_text(changed, 'part')}"
            )
        if skipped:
            self._note(f"embedge: done before: {count_text(skipped, 'part')}; {todo:,} to do")

    def step(self, step: "Step") -> None:
        """How far the run is."""
        self._parts = step.parts
        label = f"{step.embedded:,} rows, {self._rates(step.embedded, '/s')}"
        self._progress.update(step.embedded / max(step.rows, 1), label)

    def refused(self, where: str, reason: str) -> None:
        """A row that has no vector; the first of them."""
        self._refused.add(where, reason)

    def say_kept(self) -> None:
        """What a run that is stopped leaves."""
        if not self._parts:
            return
        parts = count_text(self._parts, "part")
        self._progress.say(f"embedge: made and kept: {parts}; the same command goes on there")

    def say_result(self, result: "Result", *, shard: "Shard", out: Path) -> None:
        """What came of the run."""
        if result.parts:
            self._note(
                f"embedge: {count_text(result.rows, 'row')} in {count_text(result.parts, 'part')}, "
                f"{time_text(self._clock() - self._start)} ({self._rates(result.rows, ' rows/s')})"
            )
        if result.errors:
            rows = count_text(result.errors, "row")
            self._note(f'embedge: without a vector: {rows}; the column "error" says why')
        if cut := self._counts()[1]:
            self._note(cut_line(cut, "writes them without a vector"))
        if result.missing:
            self._note(
                f"embedge: not done yet: {count_text(result.missing, 'part')} of other shards"
            )
        elif shard.count > 1 or not result.parts:
            self._note(f"embedge: all parts are in {out / 'parts'}")

    def _rates(self, rows: int, unit: str) -> str:
        """Rows a second, and tokens where they are texts."""
        seconds = max(self._clock() - self._start, 1e-3)
        tokens = self._counts()[0] / seconds
        if not tokens:
            return f"{rows / seconds:,.1f}{unit}"
        shown = f"{tokens / 1000:,.1f}k" if tokens >= 1000 else f"{tokens:.0f}"
        return f"{rows / seconds:,.0f}{unit}, {shown} tokens/s"

    def _note(self, line: str) -> None:
        screen.note(line, above=self._progress)
