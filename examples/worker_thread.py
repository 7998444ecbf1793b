"""An embedder in a worker thread: the pattern of a desktop application.

    python examples/worker_thread.py

The user interface's thread posts work and reads events from a queue, as a timer of any toolkit can;
it never waits. Loading, embedding and errors all happen in the worker.
"""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from embedge import CancelledError, Embedder, EmbedgeError


@dataclass(frozen=True)
class Progress:
    """So many of the current job's texts are embedded."""

    done: int
    total: int


@dataclass(frozen=True)
class Done:
    """The vectors of a job, float32 (n, d)."""

    vectors: NDArray[Any]


@dataclass(frozen=True)
class Failed:
    """What to show to the user; a job that was cancelled says so."""

    message: str


class BackgroundEmbedder:
    """Embeds in a thread of its own; `events` holds what the interface should know."""

    def __init__(self, pack: str | None = None) -> None:
        self.events: queue.SimpleQueue[Progress | Done | Failed] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[Sequence[str] | None] = queue.SimpleQueue()
        self._cancel = threading.Event()
        # A daemon: the application may end at any moment, also while the network runs.
        self._thread = threading.Thread(target=self._work, args=(pack,), daemon=True)
        self._thread.start()

    def submit(self, texts: Sequence[str]) -> None:
        """Adds a job; returns at once."""
        self._jobs.put(texts)

    def cancel(self) -> None:
        """Stops the job that is running, also in the middle of a run of the network."""
        self._cancel.set()

    def close(self) -> None:
        """Ends the worker; returns at once."""
        self._jobs.put(None)
        self._cancel.set()

    def _work(self, pack: str | None) -> None:
        try:
            embedder = Embedder(pack)
        except EmbedgeError as error:
            self.events.put(Failed(str(error)))
            return
        with embedder:
            while (texts := self._jobs.get()) is not None:
                self._cancel.clear()
                try:
                    vectors = embedder.encode(
                        texts,
                        progress=lambda done, total: self.events.put(Progress(done, total)),
                        cancel=self._cancel,
                    )
                except CancelledError:
                    self.events.put(Failed("cancelled"))
                except EmbedgeError as error:  # one sentence, made for people
                    self.events.put(Failed(str(error)))
                else:
                    self.events.put(Done(vectors))


def main() -> None:
    """Stands for a toolkit's event loop: looks for events 50 times a second."""
    embedder = BackgroundEmbedder()
    embedder.submit([f"note number {number}" for number in range(200)])
    while True:
        try:
            event = embedder.events.get_nowait()
        except queue.Empty:
            time.sleep(0.02)  # here the interface would handle its own events
            continue
        print(event if not isinstance(event, Done) else f"vectors {event.vectors.shape}")
        if not isinstance(event, Progress):
            break
    embedder.close()


if __name__ == "__main__":
    main()
