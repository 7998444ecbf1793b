"""The queue of one pack: one thread that runs the network, on rows of many requests at a time.

A request is a `Ticket`; `waiting` says whose turn it is and what fills the run. So a run is as full
as the library's own, a large request is cut into runs as the library cuts it, and a small one that
arrives meanwhile waits for the run under way and for a turn of each of the others, never for the
whole of a large request. A vector does not depend on what it ran with.

An idle queue does not wait, unless requests are known to be on their way (they are being
tokenized); then a few milliseconds at most. What is accepted is bounded by tokens and by the time
that they are estimated to take. A ticket whose client left runs no more; a run under way is stopped
where nobody waits for any of it.

Knows token ids, squares and `Encoder`; no HTTP, no event loop.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.batches import estimate_memory
from embedge.calls import Call
from embedge.encoder import Encoder
from embedge.errors import (
    CancelledError,
    ClosedError,
    DeviceError,
    MemoryLimitError,
    NonFiniteError,
)
from embedge.server.metrics import Metrics
from embedge.server.refusals import Kind, Refusal
from embedge.server.settings import LONGEST_RETRY
from embedge.server.waiting import Entry, Ticket, Waiting, by_ticket
from embedge.sizes import size_text

logger = logging.getLogger(__name__)

FILL = 0.003  # seconds that a run may wait for requests that are being tokenized
LONGEST_RUN = 600.0  # seconds; a thread that runs longer is taken for stuck
WEIGHT_OF_LAST = 0.1  # of the last run, in the estimate of tokens a second


class Queue:
    """The work of one pack, and the thread that does it.

    Args:
        name: of the pack, in metrics.
        encoder: runs it.
        calls: of every task and tower that is served: full width, not normalized. They are loaded
            and run once before `ready`.
        most_tokens: accepted and not done; one request alone may have more.
        most_seconds: the longest wait, as estimated, that a request is accepted for.
        metrics: what is counted.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        calls: Sequence[Call],
        *,
        most_tokens: int,
        most_seconds: float,
        metrics: Metrics,
    ) -> None:
        self.name = name
        self.ready = threading.Event()  # also set where warming up failed
        self.failure: Exception | None = None  # from then on nothing works
        self._encoder = encoder
        self._calls = calls
        self._limits = encoder.limits()
        self._most_tokens = most_tokens
        self._most_seconds = most_seconds
        self._metrics = metrics
        self._changed = threading.Condition()  # guards all below
        self._waiting = Waiting()
        self._tokens = 0  # accepted and not done
        self._coming = 0  # requests accepted and not submitted yet
        self._running: tuple[Sequence[Ticket], threading.Event] | None = None
        self._run_began = 0.0  # 0: none is under way
        self._speed = 0.0  # tokens a second; 0: not known
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"embedge-queue-{name}")

    def start(self) -> None:
        """Loads and warms up in the queue's thread, which then works until `close`."""
        self._thread.start()

    @property
    def tokens(self) -> int:
        """Tokens accepted and not done."""
        return self._tokens

    @property
    def healthy(self) -> bool:
        """Whether the thread is there, and works."""
        began = self._run_began
        stuck = began and time.monotonic() - began > LONGEST_RUN
        return self._thread.is_alive() and self.failure is None and not stuck

    @contextlib.contextmanager
    def admitted(self, tokens: int) -> Iterator[None]:
        """Around what makes a request of about so many tokens ready and submits it.

        Raises:
            Refusal: OVERLOADED, with the seconds after which to try again; UNAVAILABLE.
        """
        with self._changed:
            if self._closed or self.failure is not None:
                raise Refusal(Kind.UNAVAILABLE, "the server is closing or failed", retry_after=5)
            wait = self._tokens / self._speed if self._speed else 0.0
            full = self._tokens + tokens > self._most_tokens or wait > self._most_seconds
            if self._tokens and full:
                retry = min(LONGEST_RETRY, max(1, round(wait / 2)))
                raise Refusal(
                    Kind.OVERLOADED,
                    f"Model is overloaded: {self._tokens:,} tokens wait, and {self._most_tokens:,} "
                    f"are the most; try again in {retry} s",
                    retry_after=retry,
                )
            self._tokens += tokens
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._tokens -= tokens  # `submit` has counted what they really are
                self._coming -= 1
                self._changed.notify_all()

    def submit(self, ticket: Ticket) -> None:
        """Queues a ticket; one that was withdrawn is left out.

        Raises:
            Refusal: INVALID, a row alone would exceed the memory limit.
            ClosedError: the queue is closed.
        """
        if ticket.call.tower == "text":
            self._check_memory(max(ticket.lengths))
        entries = self._waiting.sort(ticket)
        with self._changed:
            if self._closed or self.failure is not None:
                raise ClosedError("the server is closing")
            if ticket.gone:
                return
            ticket.queued = time.monotonic()
            self._waiting.add(ticket, entries)
            self._tokens += sum(ticket.lengths)
            self._changed.notify_all()

    def _check_memory(self, length: int) -> None:
        needed, limit = estimate_memory(self._limits, 1, length), self._limits.memory_limit
        if limit is not None and needed > limit:
            raise Refusal(
                Kind.INVALID,
                f"a text of {length:,} tokens would need about {size_text(needed)} of memory, and "
                f"this server allows {size_text(limit)}; send shorter texts",
                field="input",
            )

    def withdraw(self, ticket: Ticket) -> None:
        """Its client left: what waits of it never runs, and it is not delivered.

        Before `submit`, that does nothing any more.
        """
        with self._changed:
            self._drop(ticket)
            if self._running is not None and all(one.gone for one in self._running[0]):
                self._running[1].set()

    def close(self) -> None:
        """Ends the thread; what still waits or runs is delivered with a ClosedError."""
        with self._changed:
            self._closed = True
            if self._running is not None:
                self._running[1].set()
            self._changed.notify_all()

    def join(self, seconds: float) -> bool:
        """Waits for the thread to end; whether it did."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    # ------------------------------------------------------------------ the thread

    def _work(self) -> None:
        try:
            self._warm_up()
        except Exception as error:
            self.failure = error
        self.ready.set()
        try:
            while (run := self._next()) is not None:
                self._run(*run)
        except BaseException as error:  # our own fault: say so, and answer nobody with silence
            self.failure = RuntimeError(f"the queue of {self.name} failed: {error!r}")
            logger.exception("the queue of %s failed", self.name)
        self._deliver_all(ClosedError("the server is closing"))

    def _warm_up(self) -> None:
        for call in self._calls:
            if self._closed:
                return
            began = time.monotonic()
            self._encoder.warm_up(call)
            seconds = time.monotonic() - began
            logger.info("%s: %s (%s) is warm, %.1f s", self.name, call.task, call.tower, seconds)

    def _next(self) -> tuple[Call, list[Entry]] | None:
        """What runs next, waiting for it; None once the queue is closed."""
        with self._changed:
            while True:
                if self._closed or self.failure is not None:
                    return None
                self._waiting.purge()
                if not self._waiting:
                    self._changed.wait()
                elif self._coming and (patience := self._patience()) > 0:
                    self._changed.wait(patience)
                else:
                    return self._waiting.take(self._limits, self._encoder.images_per_run)

    def _patience(self) -> float:
        """Seconds to wait for requests that are being tokenized; 0 where a run would be full."""
        if self._waiting.tokens >= self._limits.token_budget:
            return 0.0
        oldest = min(ticket.queued for ticket in self._waiting)
        return oldest + FILL - time.monotonic()

    def _run(self, call: Call, entries: list[Entry]) -> None:
        """Runs rows, and delivers the tickets that are whole; one that fails fails alone."""
        shares = by_ticket(entries)
        cancel = threading.Event()
        with self._changed:
            self._running = (list(shares), cancel)
            began = self._run_began = time.monotonic()
        for ticket in shares:
            ticket.begun = ticket.begun or began
        error: Exception | None = None
        try:
            vectors = self._network(call, [entry[2].rows[entry[3]] for entry in entries], cancel)
        except CancelledError:  # nobody waits for any of it, or the queue is closed
            error = ClosedError("the server is closing")
        except Exception as failure:
            error = failure
        finally:
            with self._changed:
                self._running, self._run_began = None, 0.0
        if error is None:
            self._count(call, entries, len(shares), time.monotonic() - began)
            place = {entry: position for position, entry in enumerate(entries)}
            for ticket, share in shares.items():
                rows = [entry[3] for entry in share]
                ticket.vectors[rows] = vectors[[place[entry] for entry in share]]
            self._finish(shares)
        elif len(shares) > 1 and not cancel.is_set():
            for share in shares.values():
                self._run(call, share)
        else:
            for ticket, share in shares.items():
                self._fail(ticket, call, share, error)

    def _network(
        self, call: Call, rows: list[NDArray[Any]], cancel: threading.Event
    ) -> NDArray[np.float32]:
        if call.tower == "text":
            return self._encoder.run_ids(call, rows, cancel=cancel)
        return self._encoder.run_squares(call, rows, cancel=cancel)

    def _finish(self, shares: "dict[Ticket, list[Entry]]") -> None:
        whole = []
        with self._changed:
            for ticket, share in shares.items():
                self._tokens -= sum(entry[0] for entry in share)
                ticket.left -= len(share)
                if not ticket.left and not ticket.gone:
                    whole.append(ticket)
        now = time.monotonic()
        for ticket in whole:
            ticket.ended = now
            ticket.deliver(ticket)

    def _fail(self, ticket: Ticket, call: Call, entries: list[Entry], error: Exception) -> None:
        """Ends a ticket whose rows failed by themselves; says which of them."""
        if isinstance(error, NonFiniteError):
            error = self._name_item(call, entries, error)
        elif isinstance(error, DeviceError):
            self.failure = error
        elif isinstance(error, MemoryLimitError):  # of the machine, at this moment
            told = "there is not enough memory for it now; try again in 10 s"
            error = Refusal(Kind.OVERLOADED, told, retry_after=10)
        with self._changed:
            self._tokens -= sum(entry[0] for entry in entries)
            if ticket.gone:
                return
            self._drop(ticket)
        if not isinstance(error, ClosedError):
            logger.error("%s: a run of %d items failed: %s", self.name, len(entries), error)
        ticket.error, ticket.ended = error, time.monotonic()
        ticket.deliver(ticket)

    def _name_item(self, call: Call, entries: list[Entry], error: Exception) -> Exception:
        for _, _, ticket, row in entries:
            try:
                self._network(call, [ticket.rows[row]], threading.Event())
            except NonFiniteError:
                return Refusal(
                    Kind.INTERNAL,
                    f"the model gave NaN or infinity for input[{row}]",
                    field="input",
                    items=(row,),
                )
        return error

    def _count(self, call: Call, entries: list[Entry], tickets: int, seconds: float) -> None:
        tokens = sum(entry[0] for entry in entries)
        speed = tokens / max(seconds, 1e-6)
        if self._speed:
            speed = self._speed + WEIGHT_OF_LAST * (speed - self._speed)
        self._speed = speed
        metrics = self._metrics
        metrics.of(metrics.run_seconds, self.name, call.task, call.tower).observe(seconds)
        metrics.of(metrics.run_items, self.name, call.tower).observe(len(entries))
        metrics.of(metrics.items, self.name, call.tower).inc(len(entries))
        if call.tower == "text":
            metrics.of(metrics.tokens, self.name).inc(tokens)
            longest = max(entry[0] for entry in entries)
            metrics.of(metrics.padding, self.name).inc(longest * len(entries) - tokens)
        if tickets > 1:
            metrics.of(metrics.merged, self.name).inc()

    def _drop(self, ticket: Ticket) -> None:
        """Nothing of it runs any more, but what runs now; with the lock held."""
        if not ticket.gone:
            ticket.gone = True
            self._tokens -= self._waiting.drop(ticket)

    def _deliver_all(self, error: Exception) -> None:
        with self._changed:
            self._closed = True
            left = list(self._waiting)
            for ticket in left:
                self._drop(ticket)
        for ticket in left:
            ticket.error, ticket.ended = self.failure or error, time.monotonic()
            ticket.deliver(ticket)
