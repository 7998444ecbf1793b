"""A session whose runs have low priority, for a computer that somebody works at.

ONNX Runtime has no priority for its threads. A run is the work of the thread that calls it and of
the session's own pool; the pool is of low priority if the session was opened by `run_low` on a
system that hands priorities on. Takes any `Session`, gives one.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.engine.session import Session
from embedge.machine.priority import run_low


class BackgroundSession:
    """A `Session` that runs another one at low priority."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(
        self, *inputs: NDArray[Any], cancel: threading.Event | None = None, keep: bool = False
    ) -> NDArray[np.float32]:
        """See `Session.run`."""
        return run_low(lambda: self._session.run(*inputs, cancel=cancel, keep=keep))

    def free(self) -> None:
        """See `Session.free`."""
        run_low(self._session.free)
