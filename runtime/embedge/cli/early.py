"""The first hits of a search, shown to a person while the rest is being indexed.

Knows when to ask and how to say that there is more to come; not how a search is made.
"""

import time
from collections.abc import Callable, Sequence

FIRST_SECONDS = 1.0  # after the start
LEFT_SECONDS = 3.0  # what is done sooner than that needs no first hits
MOST_HITS = 5
AGAIN = 5  # times as long as that, and so on, until the next ones are shown


class EarlyHits:
    """Shows what is found so far, once more files can be found and enough time has passed.

    Args:
        ask: gives how many passages there are by now, and the lines of the best of them.
        say: prints a line above the progress line.
    """

    def __init__(
        self, ask: Callable[[], tuple[int, Sequence[str]]], say: Callable[[str], None]
    ) -> None:
        self._ask = ask
        self._say = say
        self._start = time.monotonic()
        self._next = FIRST_SECONDS
        self._files = 0
        self._lines: Sequence[str] = ()

    @property
    def shown(self) -> bool:
        """Whether any were."""
        return bool(self._lines)

    def look(self, files: int, fraction: float) -> None:
        """Called with each progress.

        Args:
            files: that this update has kept so far.
            fraction: of the work that is done; at 1 the final hits are about to come.
        """
        if files == self._files or fraction >= 1.0:
            return
        self._files = files
        elapsed = time.monotonic() - self._start
        if elapsed < self._next or elapsed * (1 - fraction) < LEFT_SECONDS * fraction:
            return
        self._next = max(elapsed, self._next) * AGAIN
        passages, lines = self._ask()
        if lines and lines != self._lines:
            self._lines = lines
            self._say(f"embedge: so far, of {passages:,} passages:")
            for line in lines:
                self._say(line)
