"""What dialects use: has `Work` done by the pack's queue, and keeps the event loop free.

Joins the event loop with threads: texts, but few and short ones, are tokenized and images decoded
(`preparing`) in small pools, one for the quick, one for the long, one for downloads, so that none
waits for another kind. The network runs in the queue's thread, and answers are written in the pools
again. The coroutine of a request is cancelled when its client leaves; its work then ends too.
"""

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar, get_args

import numpy as np

from embedge.calls import Call, Tower
from embedge.errors import EmbedgeError
from embedge.server import preparing
from embedge.server.budget import Budget
from embedge.server.dialect import Ask, Route
from embedge.server.metrics import Metrics
from embedge.server.models import Model, Models, Work
from embedge.server.preparing import Part, Prepared
from embedge.server.queue import Queue
from embedge.server.refusals import Kind, Refusal, refusal_of
from embedge.server.settings import Settings
from embedge.server.waiting import Ticket
from embedge.server.work import Done, Spent
from embedge.vectors import normalize

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

# Bytes of a body, or of vectors, up to which the event loop does it: less than a millisecond.
INLINE = 2**14
FEW = 2**10  # `size_of` texts up to which the event loop tokenizes them: about 0.3 ms
QUICK = 2**18  # up to which the pool of the quick does it
THREADS = {"quick": 2, "long": 2, "fetch": 8}
ROW_BYTES = 64  # what sorting a row into the queue counts for
ANSWER_BYTES = 16  # of an answer for each number: float32 and its digits


class PackService:
    """The `Service` of dialect.py.

    Args:
        models: the packs.
        settings: the owner's choices.
        metrics: what is counted.
    """

    def __init__(self, models: Models, settings: Settings, metrics: Metrics) -> None:
        self.models = models
        self.settings = settings
        self.metrics = metrics
        self.budget = Budget(settings.bytes_under_way)
        self.draining = False
        self.routes: tuple[Route, ...] = ()  # filled by `app`
        self._pools = {
            name: ThreadPoolExecutor(count, thread_name_prefix=f"embedge-{name}")
            for name, count in THREADS.items()
        }
        self._calls = {model: _run_calls(model) for model in models.all}
        self.queues = {
            model: Queue(
                model.name,
                model.embedder.encoder,
                list(self._calls[model].values()),
                most_tokens=settings.queue_tokens,
                most_seconds=settings.queue_seconds,
                metrics=metrics,
            )
            for model in models.all
        }
        for model, queue in self.queues.items():
            metrics.describe_pack(
                model.name,
                device=model.embedder.device,
                precision=model.embedder.precision,
                queued=lambda queue=queue: queue.tokens,  # type: ignore[misc]
            )
        metrics.ready.set_function(lambda: float(self.ready))
        metrics.bodies.set_function(lambda: self.budget.held)

    @property
    def ready(self) -> bool:
        """Whether every pack is warm and requests are welcome."""
        return (
            not self.draining
            and all(queue.ready.is_set() for queue in self.queues.values())
            and self.healthy()
        )

    def healthy(self) -> bool:
        """See `Service.healthy`."""
        return all(queue.healthy for queue in self.queues.values())

    async def off_loop(
        self, size: int, function: Callable[P, R], *args: P.args, **options: P.kwargs
    ) -> R:
        """See `Service.off_loop`."""
        if size <= INLINE:
            return function(*args, **options)
        pool = self._pools["quick" if size <= QUICK else "long"]
        work = functools.partial(function, *args, **options)
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    async def embed(self, work: Work, ask: Ask) -> Done:
        """See `Service.embed`."""
        if len(work.items) > self.settings.items:
            raise Refusal(
                Kind.TOO_MANY,
                f"there are {len(work.items):,} items, and {self.settings.items:,} are the most of "
                "one request; send several",
                field="input",
            )
        ask.hold.more(len(work.items) * work.text.width * ANSWER_BYTES)
        queue = self.queues[work.model]
        cancel = threading.Event()
        tickets: list[Ticket] = []
        began = time.monotonic()
        try:
            with queue.admitted(preparing.estimate(work)):
                prepared = await self._prepare(work, cancel)
                ready = time.monotonic()
                ends = [self._ticket(work, ask, part, tickets) for part in prepared.parts]
                for ticket in tickets:
                    size = len(ticket.rows) * ROW_BYTES
                    await self.off_loop(size, queue.submit, ticket)
            await asyncio.gather(*ends)
        except EmbedgeError as error:
            raise refusal_of(error) from error
        finally:
            cancel.set()
            for ticket in tickets:
                if not ticket.ended:
                    queue.withdraw(ticket)
        for ticket in tickets:
            if ticket.error is not None:
                raise refusal_of(ticket.error) from ticket.error
        spent = Spent(
            preparing=ready - began,
            waiting=max((t.begun - t.queued for t in tickets), default=0.0),
            running=max((t.ended - t.begun for t in tickets), default=0.0),
        )
        return await self._finish(work, prepared, tickets, spent)

    def close(self) -> None:
        """Ends all threads; what is under way is refused."""
        for queue in self.queues.values():
            queue.close()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------ before and after the run

    async def _prepare(self, work: Work, cancel: threading.Event) -> Prepared:
        """Rows for the queue, made in the pools unless there is little to do."""
        files: dict[int, bytes] = {}
        if urls := preparing.urls_of(work):
            run = asyncio.get_running_loop().run_in_executor
            fetched = await asyncio.gather(
                *(
                    run(self._pools["fetch"], preparing.fetch, index, url, self.settings, cancel)
                    for index, url in urls
                )
            )
            files = {index: file for (index, _), file in zip(urls, fetched, strict=True)}
        size = preparing.size_of(work)
        prepared = await self.off_loop(
            0 if size <= FEW else INLINE + size,
            preparing.prepare,
            work,
            files,
            self.settings,
            cancel,
        )
        name = work.model.name
        self.metrics.of(self.metrics.preparing, name).observe(prepared.seconds)
        if prepared.truncated:
            self.metrics.of(self.metrics.truncations, name).inc(len(prepared.truncated))
        return prepared

    def _ticket(
        self, work: Work, ask: Ask, part: Part, tickets: list[Ticket]
    ) -> "asyncio.Future[None]":
        """Adds the ticket of a part to the list, and gives what ends when it is delivered."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[None] = loop.create_future()
        ticket = Ticket(
            self._calls[work.model][part.call.task, part.call.tower],
            part.rows,
            part.lengths,
            client=ask.client,
            width=work.model.embedder.dimension,
            deliver=functools.partial(_tell, loop, end),
        )
        tickets.append(ticket)
        return end

    async def _finish(
        self, work: Work, prepared: Prepared, tickets: Sequence[Ticket], spent: Spent
    ) -> Done:
        self.metrics.of(self.metrics.waiting, work.model.name).observe(spent.waiting)
        size = len(work.items) * work.text.width * 4

        def finish() -> Done:
            vectors = np.empty((len(work.items), work.text.width), np.float32)
            tokens = np.zeros(len(work.items), np.int64)
            pictures = 0
            for ticket, part in zip(tickets, prepared.parts, strict=True):
                vectors[part.indices] = ticket.vectors[:, : work.text.width]
                if ticket.call.tower == "text":
                    tokens[part.indices] = ticket.lengths
                else:
                    pictures += sum(ticket.lengths)
            if work.text.normalize:
                vectors = normalize(vectors)
            return Done(
                vectors=vectors,
                tokens=tokens,
                image_tokens=pictures,
                truncated=prepared.truncated,
                spent=spent,
            )

        return await self.off_loop(size, finish)


def _run_calls(model: Model) -> dict[tuple[str, str], Call]:
    """What runs for each task and tower, whatever a request does with the vectors later."""
    manifest = model.embedder.manifest
    calls: dict[tuple[str, str], Call] = {}
    for task in manifest.tasks:
        for tower in get_args(Tower) if model.takes_images else ("text",):
            call = Call.of(manifest, tower=tower, task=task, prompt="", normalize=False)
            calls[task, call.tower] = call
    return calls


def _tell(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[None]", _: Ticket) -> None:
    """Wakes the request's coroutine, from the queue's thread."""

    def done() -> None:
        if not future.done():
            future.set_result(None)

    try:
        loop.call_soon_threadsafe(done)
    except RuntimeError:  # the loop is closed
        logger.debug("an answer came after the server had ended")
