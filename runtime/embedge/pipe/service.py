"""Requests side by side: each in a thread of a small pool, each answered when it is done.

Takes lines, calls `send` with the lines of the answers, from several threads but one at a time. The
embedder's own limits hold for all of them together: memory, and runs that share the cores.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from embedge.embedder import Embedder
from embedge.errors import CancelledError
from embedge.pipe.messages import (
    Cancel,
    Embed,
    Id,
    RequestError,
    error_line,
    progress_line,
    read,
    vectors_line,
)

SIDE_BY_SIDE = 4  # requests: a query is answered while a long job runs
MOST_WAITING = 1_000  # requests; a program that sends more without reading answers has a fault


class Service:
    """Answers requests until it is closed.

    Args:
        embedder: runs them; the caller closes it.
        send: writes one line, without its end. An OSError of it, the reader went away, stops
            everything; `failure` keeps it.

    Attributes:
        failure: why nothing can be sent any more; None as long as it can.
    """

    def __init__(self, embedder: Embedder, send: Callable[[str], None]) -> None:
        self.failure: OSError | None = None
        self._embedder = embedder
        self._send_line = send
        self._sending = threading.Lock()
        self._under_way: dict[Id, threading.Event] = {}  # by id, what cancels it
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="embedge-pipe")

    def take(self, line: bytes) -> None:
        """Starts what a line asks for; returns at once. What is wrong with it is answered."""
        try:
            request = read(line)
            if isinstance(request, Cancel):
                with self._changed:
                    if (cancel := self._under_way.get(request.id)) is not None:
                        cancel.set()
                return
            cancel = self._admit(request.id)
        except RequestError as error:
            self.refuse(error)
            return
        self._pool.submit(self._answer, request, cancel)

    def refuse(self, error: RequestError) -> None:
        """Answers a line that is no request."""
        self._send(error_line(error, error.id))

    def wait(self, seconds: float) -> bool:
        """Waits until every request is answered; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._under_way, seconds)

    def close(self) -> None:
        """Cancels what is under way, and waits for its end."""
        with self._changed:
            for cancel in self._under_way.values():
                cancel.set()
        self._pool.shutdown()

    def _admit(self, name: Id) -> threading.Event:
        with self._changed:
            if name in self._under_way:
                raise RequestError(f"id {name!r} is under way; give each request its own", name)
            if len(self._under_way) >= MOST_WAITING:
                raise RequestError(
                    f"{MOST_WAITING:,} requests are under way; send more when some are answered",
                    name,
                )
            cancel = self._under_way[name] = threading.Event()
            return cancel

    def _answer(self, request: Embed, cancel: threading.Event) -> None:
        try:
            line = self._vectors(request, cancel)
        except Exception as error:  # a fault of any kind is this request's, not the process's
            line = error_line(error, request.id)
        finally:
            # Before the answer is sent: its reader may use the id again at once.
            with self._changed:
                del self._under_way[request.id]
                if not self._under_way:
                    self._changed.notify_all()
        self._send(line)

    def _vectors(self, request: Embed, cancel: threading.Event) -> str:
        if cancel.is_set():  # while it waited
            raise CancelledError("cancelled before it began")
        bad: dict[int, str] = {}
        encode: Any = {
            None: self._embedder.encode,
            "query": self._embedder.encode_query,
            "document": self._embedder.encode_document,
        }[request.side]
        if request.images:
            encode = self._embedder.encode_image

        def show(done: int, total: int) -> None:
            self._send(progress_line(request, done, total))

        rows = encode(
            request.items,
            **request.options,
            on_error=bad.__setitem__,
            progress=show if request.progress else None,
            cancel=cancel,
        )
        return vectors_line(request, rows, bad)

    def _send(self, line: str) -> None:
        with self._sending:
            if self.failure is not None:
                return
            try:
                self._send_line(line)
            except (OSError, ValueError) as error:  # ValueError: the host closed its stream
                self.failure = error if isinstance(error, OSError) else BrokenPipeError(str(error))
        if self.failure is not None:
            with self._changed:
                for cancel in self._under_way.values():
                    cancel.set()
