"""What `embed` and `bulk` say of texts that have no vector, or of which the beginning was taken."""

from collections.abc import Mapping

from embedge.cli.flags import in_flags
from embedge.progress import ProgressBar

MOST_NAMED = 20  # bad lines named one by one: a binary file has thousands


class RefusedLines:
    """The lines on what is left out: the first `MOST_NAMED`, then one that says so.

    Args:
        progress: the progress line that they are printed above.
        flags: the command's, by Python's names for them.
        more: what is said once in place of the others.
    """

    def __init__(self, progress: ProgressBar, flags: Mapping[str, str], more: str) -> None:
        self._progress = progress
        self._flags = flags
        self._more = more
        self._count = 0

    def add(self, where: str, reason: str) -> None:
        """One that is left out, and why."""
        self._count += 1
        if self._count <= MOST_NAMED:
            self._progress.say(f"embedge: {where}: {in_flags(reason, self._flags)}")
        elif self._count == MOST_NAMED + 1:
            self._progress.say(f"embedge: {self._more}")


def cut_line(count: int, instead: str) -> str:
    """How many texts were cut, and what `--on-overflow error` does instead."""
    texts, were = ("1 text", "was") if count == 1 else (f"{count:,} texts", "were")
    return (
        f"embedge: {texts} {were} longer than the limit and {were} cut "
        f"(--on-overflow error {instead} instead)"
    )
