"""What `embedge embed` reports on stderr: progress, what is left out, and what the vectors are.

Takes what a `bulk.job.Job` says, gives lines above and in the progress line.
"""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from embedge.cli import screen
from embedge.cli.left_out import RefusedLines, cut_line
from embedge.progress import ProgressBar

if TYPE_CHECKING:
    from pathlib import Path

    from embedge.bulk.job import Step, Summary
    from embedge.pack.manifest import Manifest


class Report:
    """The lines of one job.

    Args:
        things: "texts" or "images".
        progress: the progress line.
        flags: the command's, by Python's names for them.
    """

    def __init__(self, things: str, progress: ProgressBar, flags: Mapping[str, str]) -> None:
        self._things = things
        self._progress = progress
        more = "more bad ones follow; they are only counted from here"
        self._refused = RefusedLines(progress, flags, more)

    def show_step(self, step: "Step") -> None:
        """How far the job is."""
        self._progress.update(step.fraction, f"{step.embedded:,} {self._things}")

    def say_refused(self, where: str, reason: str) -> None:
        """What is left out, and why; the first of them."""
        self._refused.add(where, reason)

    def _note(self, line: str) -> None:
        screen.note(line, above=self._progress)

    def say_kept(self, items: int) -> None:
        """What a run that is stopped leaves."""
        self._progress.say(
            f"embedge: {items:,} {self._things} are done and kept; the same command with --resume "
            "goes on there"
        )

    def say_ranges(self, options: argparse.Namespace, count: int) -> None:
        """What int8 and uint8 vectors are worth whose ranges come from so many of them."""
        from embedge.vectors import ENOUGH_FOR_RANGES

        kind = options.embedding_type
        if count < ENOUGH_FOR_RANGES:
            self._note(
                f"embedge: the {kind} ranges come from {count} vectors only; "
                f"take {ENOUGH_FOR_RANGES} or more of them"
            )
        if options.ranges is None:
            self._note(
                f"embedge: {kind} vectors of another run do not compare with these; "
                "--ranges FILE keeps the ranges for it"
            )

    def say_task(self, manifest: "Manifest") -> None:
        """Which task was taken, where none was named: its vectors compare with no other task's."""
        self._note(
            f"embedge: vectors of {manifest.model_id}, task {manifest.default_task} (the pack's "
            "default; --task names another)"
        )

    def say_summary(
        self, summary: "Summary", *, filler: str | None, metadata: "Path | None"
    ) -> None:
        """What the whole job left out or cut; `metadata` is the file that lists the former."""
        if summary.bad:
            rows = f"; their rows are {filler}" if filler else ""
            rows += f"; {metadata} lists them" if metadata is not None else ""
            self._note(
                f"embedge: {summary.bad} of {summary.bad + summary.embedded} {self._things} "
                f"were left out{rows}"
            )
        elif not summary.embedded:
            self._note("embedge: the input holds no text; nothing was embedded")
        if summary.cut:
            self._note(cut_line(summary.cut, "leaves them out"))
