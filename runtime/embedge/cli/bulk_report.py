"""What `embedge bulk` reports on stderr: how far it is, rows without a vector, what came of it."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.cli import screen
from embedge.cli.flags import in_flags
from embedge.progress import ProgressBar
from embedge.terminal import time_text

if TYPE_CHECKING:
    from embedge.embedder import Embedder
    from embedge.parts.plan import Shard
    from embedge.parts.run import Result, Step

MOST_NAMED = 20  # rows without a vector named one by one; the column `error` has all


class Report:
    """The lines of one run.

    Args:
        progress: the progress line.
        embedder: counts tokens and texts that were cut.
        flags: the command's, by Python's names for them.
        clock: seconds.
    """

    def __init__(
        self,
        progress: ProgressBar,
        embedder: "Embedder",
        flags: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = progress
        self._embedder = embedder
        self._flags = flags
        self._clock = clock
        self._start = clock()
        self._bad = self._parts = 0

    def found(self, *, todo: int, skipped: int, changed: int) -> None:
        """What there is to do."""
        self._start = self._clock()
        if changed:
            self._progress.say(
                f"embedge: not as written, and made again: {_count(changed, 'part')}"
            )
        if skipped:
            self._note(f"embedge: done before: {_count(skipped, 'part')}; {todo:,} to do")

    def step(self, step: "Step") -> None:
        """How far the run is."""
        self._parts = step.parts
        rate, tokens = self._rates(step.embedded)
        label = f"{step.embedded:,} rows, {rate}/s, {tokens} tokens/s"
        self._progress.update(step.embedded / max(step.rows, 1), label)

    def refused(self, where: str, reason: str) -> None:
        """A row that has no vector; the first `MOST_NAMED` of them."""
        self._bad += 1
        if self._bad <= MOST_NAMED:
            self._progress.say(f"embedge: {where}: {in_flags(reason, self._flags)}")
        elif self._bad == MOST_NAMED + 1:
            self._progress.say('embedge: more follow; the column "error" has the reason of each')

    def say_kept(self) -> None:
        """What a run that is stopped leaves."""
        if not self._parts:
            return
        self._progress.say(
            f"embedge: made and kept: {_count(self._parts, 'part')}; the same command goes on there"
        )

    def say_result(self, result: "Result", *, shard: "Shard", out: Path) -> None:
        """What came of the run."""
        if result.parts:
            rate, tokens = self._rates(result.rows)
            self._note(
                f"embedge: {_count(result.rows, 'row')} in {_count(result.parts, 'part')}, "
                f"{time_text(self._clock() - self._start)} ({rate} rows/s, {tokens} tokens/s)"
            )
        if result.errors:
            self._note(
                f'embedge: without a vector: {_count(result.errors, "row")}; the column "error" '
                "says why"
            )
        if cut := self._embedder.truncations:
            self._note(
                f"embedge: {cut:,} texts were longer than the limit and were cut (--on-overflow "
                "error writes them without a vector instead)"
            )
        if result.missing:
            self._note(f"embedge: not done yet: {_count(result.missing, 'part')} of other shards")
        elif shard.count > 1 or not result.parts:
            self._note(f"embedge: all parts are in {out / 'parts'}")

    def _rates(self, rows: int) -> tuple[str, str]:
        """Rows and tokens a second."""
        seconds = max(self._clock() - self._start, 1e-3)
        tokens = self._embedder.encoder.tokens / seconds
        shown = f"{tokens / 1000:,.1f}k" if tokens >= 1000 else f"{tokens:.0f}"
        return f"{rows / seconds:,.0f}", shown

    def _note(self, line: str) -> None:
        screen.note(line, above=self._progress)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
