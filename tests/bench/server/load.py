"""Many clients at once, each over a connection that it keeps: how long every answer takes.

Speaks HTTP/1.1 by itself, with as little work for each request as Python allows, since the server
under test shares the machine. Nothing of an answer is looked at but its status and length.
"""

import asyncio
import contextlib
import itertools
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

GRACE = 60.0  # seconds after the end that an answer may take
OPENED_AT_ONCE = 64  # connections
LEFT, CUT = "closed before it answered", "closed within its answer"


@dataclass
class Load:
    """What became of all requests."""

    seconds: float = 0.0  # from the first request to the last answer
    latencies: list[float] = field(default_factory=list)  # of answers with status 200, in seconds
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> float:
        """Requests a second with status 200."""
        return self.statuses[200] / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """Of the latencies, in milliseconds."""
        if not self.latencies:
            return float("nan")
        return float(np.percentile(self.latencies, percent)) * 1000


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(
        self, load: Load, requests: Iterator[bytes], end: float, done: "asyncio.Future[None]"
    ) -> None:
        self._load = load
        self._requests = requests
        self._end = end
        self._done = done
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._left = -1  # bytes of the answer's body; -1: its head is being read
        self._status = 0
        self._closing = False
        self._sent = 0.0  # 0: no request is under way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._status, self._left, self._closing = parse_head(head)
            self._head, data = b"", rest
        self._left -= len(data)
        if self._left <= 0:
            self._answered()

    def connection_lost(self, error: Exception | None) -> None:
        if self._sent:
            self._load.failures[CUT if self._left >= 0 or self._head else LEFT] += 1
        if not self._done.done():
            self._done.set_result(None)

    def _ask(self) -> None:
        assert self._transport is not None
        now = time.perf_counter()
        if self._closing or now >= self._end:
            self._transport.close()
            return
        self._sent, self._left = now, -1
        self._transport.write(next(self._requests))

    def _answered(self) -> None:
        self._load.statuses[self._status] += 1
        if self._status == 200:
            self._load.latencies.append(time.perf_counter() - self._sent)
        self._sent = 0.0
        self._ask()


def parse_head(head: bytes) -> tuple[int, int, bool]:
    """Status, length of the body, and whether the connection ends, of an answer's head."""
    lines = head.split(b"\r\n")
    length, closing = 0, False
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        match name.strip().lower():
            case b"content-length":
                length = int(value)
            case b"connection":
                closing = value.strip().lower() == b"close"
            case b"transfer-encoding":
                raise ValueError("an answer in chunks, which this client does not read")
    return int(lines[0].split()[1]), length, closing


async def put_on(
    port: int, requests: Sequence[bytes], *, clients: int, seconds: float, reconnect: bool = True
) -> Load:
    """Puts a load on a server.

    Args:
        port: of this machine.
        requests: whole ones; the clients take turns at them.
        clients: connections at a time.
        seconds: how long new requests are sent.
        reconnect: whether a client whose connection ended opens another.
    """
    _allow_files(clients)
    loop = asyncio.get_running_loop()
    load = Load()
    turns = itertools.cycle(requests)
    began = time.perf_counter()
    end = began + seconds
    opening = asyncio.Semaphore(OPENED_AT_ONCE)

    async def client() -> None:
        while time.perf_counter() < end:
            done: asyncio.Future[None] = loop.create_future()
            try:
                async with opening:
                    await loop.create_connection(
                        lambda done=done: _Client(load, turns, end, done),  # type: ignore[misc]
                        "127.0.0.1",
                        port,
                    )
            except OSError:
                load.failures["could not connect"] += 1
                if not reconnect:
                    return
                await asyncio.sleep(0.1)
                continue
            await done
            if not reconnect:
                return

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    _, late = await asyncio.wait(tasks, timeout=seconds + GRACE)
    for task in late:
        load.failures["no answer within the time"] += 1
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    load.seconds = time.perf_counter() - began
    for task in tasks:
        if not task.cancelled() and task.exception():
            raise task.exception()  # type: ignore[misc]
    return load


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
