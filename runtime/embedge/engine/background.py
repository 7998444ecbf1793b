"""A session whose runs have low priority, for a computer that somebody works at.

ONNX Runtime has no priority for its threads. A run is the work of the thread that calls it and of
the session's own pool; the pool is of low priority if the session was opened in a thread
of low priority on a system that hands priorities on. Takes any `Session`, gives one.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.engine.session import Session
from embedge.machine.priority import LowThreads


class BackgroundSession:
    """A `Session` that runs another one at low priority."""

    def __init__(self, session: Session, threads: LowThreads) -> None:
        self._session, self._threads = session, threads

    def run(
        self, *inputs: NDArray[Any], cancel: threading.Event | None = None, keep: bool = False
    ) -> NDArray[np.float32]:
        """See `Session.run`."""
        return self._threads.call(lambda: self._session.run(*inputs, cancel=cancel, keep=keep))

    def free(self) -> None:
        """See `Session.free`."""
        self._threads.call(self._session.free)
