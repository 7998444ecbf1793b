"""The items of one call, texts or images: which are bad, how many are done, whether to go on.

Joins the callbacks that a caller may pass (on_error, progress, cancel) with the work. An item ends
in one of two ways: it is run, or it is refused with a reason; both count as done. Knows neither
texts nor images nor networks.
"""

import threading
from collections.abc import Callable
from typing import Any, Literal

from numpy.typing import NDArray

from embedge.errors import CancelledError, ImageError, TextError
from embedge.options import check_callback, check_cancel

OnError = Callable[[int, str], None]  # index and reason
OnProgress = Callable[[int, int], None]  # items done, and in all

_ERRORS = {"texts": TextError, "images": ImageError}


class Items:
    """The items of one call.

    Args:
        kind: what they are; it names them in messages.
        total: how many there are, where that is known yet.
        on_error: called with every bad item in place of the error.
        progress: called after every run.
        cancel: set by the caller to stop the call.

    Attributes:
        total: how many there are; set once they are counted.
        cancel: as passed.

    Raises:
        OptionError: a callback cannot be called, or `cancel` is not an event.
    """

    def __init__(
        self,
        kind: Literal["texts", "images"],
        *,
        total: int = 0,
        on_error: OnError | None = None,
        progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        check_callback(on_error, "on_error(index, reason)")
        check_callback(progress, "progress(done, total)")
        check_cancel(cancel)
        self._kind = kind
        self._on_error = on_error
        self._progress = progress
        self._bad: list[tuple[int, str]] = []
        self._ran = self._reported = 0
        self.total = total
        self.cancel = cancel

    @property
    def tolerant(self) -> bool:
        """Whether bad items go to `on_error` rather than raise."""
        return self._on_error is not None

    @property
    def done(self) -> int:
        """How many were run or refused."""
        return self._ran + len(self._bad)

    def refuse(self, index: int, reason: str) -> None:
        """Notes a bad item, each once."""
        self._bad.append((index, reason))
        if self._on_error is not None:
            self._on_error(index, reason)

    def ran(self, count: int) -> None:
        """Notes that so many were run, and reports it."""
        self._ran += count
        self.report()

    def report(self) -> None:
        """Reports how many are done."""
        self._reported = self.done
        if self._progress is not None:
            self._progress(self._reported, self.total)

    def check_cancel(self) -> None:
        """Stops a call that was cancelled.

        Raises:
            CancelledError: `cancel` is set.
        """
        if self.cancel is not None and self.cancel.is_set():
            raise CancelledError(f"cancelled after {self.done} of {self.total} {self._kind}")

    def check(self, vectors: NDArray[Any] | None = None) -> None:
        """Raises for the bad items, unless `on_error` took them.

        Args:
            vectors: of the whole call; None where nothing was run.

        Raises:
            TextError, ImageError: some items are bad.
        """
        if self._bad and self._on_error is None:
            raise _ERRORS[self._kind](self._bad, vectors)

    def end(self) -> None:
        """Reports those that were refused after the last run."""
        if self._reported < self.done:
            self.check_cancel()
            self.report()
