"""Clients that do harm, by design or by mistake, while others ask as usual; and the end under load.

Each part takes a server's port and says what became of the harm; what the others felt of it is a
`Load` that runs at the same time.
"""

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.server.contenders import Contender
from bench.server.load import Load, put_on
from bench.server.process import Running

# Of the server under test: short, so that a run of some seconds sees them pass.
PATIENCE = 3
OPTIONS = tuple(
    part for name in ("header", "body", "write") for part in (f"--{name}-seconds", str(PATIENCE))
)
MARGIN = 5.0  # seconds more, until a connection has to be closed
CONNECTIONS = 100  # of each kind
LARGE = 2000  # texts of one request, whose answer nobody reads
UNREAD = 30.0  # seconds: until all of them are answered, and longer than a reader may wait
SMALL_BUFFER = 4096  # bytes that the system keeps for a reader that does not read


@dataclass(frozen=True, slots=True)
class Harm:
    """One kind of it."""

    name: str
    found: str  # what became of it
    load: Load  # what others felt meanwhile
    memory: float  # MiB resident at most


async def endure(
    running: Running, contender: Contender, requests: list[bytes], *, clients: int, seconds: float
) -> list[Harm]:
    """All kinds of harm, one after the other; the first is none, to compare with."""
    kinds: dict[str, Callable[[int], Awaitable[str]]] = {
        "none": _nothing,
        "answers that nobody reads": lambda port: unread_answers(port, contender),
        "half-sent heads": half_sent_heads,
        "half-sent bodies": half_sent_bodies,
        "bodies that are too large": lambda port: flood(port, OVERSIZE, seconds),
        "malformed JSON": lambda port: flood(port, MALFORMED, seconds),
        "no HTTP at all": lambda port: flood(port, b"\x16\x03\x01" * 100 + b"\r\n\r\n", seconds),
    }
    found = []
    for name, kind in kinds.items():
        running.peak = running.memory()
        load, said = await asyncio.gather(
            put_on(running.port, requests, clients=clients, seconds=seconds), kind(running.port)
        )
        found.append(Harm(name, said, load, running.peak))
    return found


async def terminated(running: Running, requests: list[bytes], *, clients: int) -> tuple[Load, str]:
    """SIGTERM in the middle of a load: what was accepted has to be answered."""

    async def end() -> str:
        await asyncio.sleep(2.0)
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        while running.process.poll() is None:
            await asyncio.sleep(0.05)
        return f"exit code {running.process.returncode} after {time.monotonic() - began:.1f} s"

    load, said = await asyncio.gather(
        put_on(running.port, requests, clients=clients, seconds=30, reconnect=False), end()
    )
    return load, said


async def unread_answers(port: int, contender: Contender) -> str:
    """Asks for much, and reads nothing of it."""
    request = contender.request([f"text {number}" for number in range(LARGE)])

    async def one() -> bool:
        connection = await _connect(port, buffer=SMALL_BUFFER)
        with contextlib.closing(connection):
            await asyncio.get_running_loop().sock_sendall(connection, request)
            await asyncio.sleep(UNREAD)  # the answer waits in the socket and in the server
            return await _is_closed(connection)

    return await _count(one, CONNECTIONS // 10, "closed by the server")


async def half_sent_heads(port: int) -> str:
    """Heads without an end."""
    return await _stalled(port, b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nX-A: ")


async def half_sent_bodies(port: int) -> str:
    """Bodies of which the second half never comes."""
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    return await _stalled(port, head + b'{"input": ["')


async def flood(port: int, request: bytes, seconds: float) -> str:
    """One bad request after the other, each over a connection of its own."""
    answers: Counter[str] = Counter()
    end = time.monotonic() + seconds
    loop = asyncio.get_running_loop()

    async def one() -> None:
        while time.monotonic() < end:
            with contextlib.closing(await _connect(port)) as connection:
                try:
                    await loop.sock_sendall(connection, request)
                    answer = await asyncio.wait_for(loop.sock_recv(connection, 4096), 30)
                except OSError:
                    answer = b""
                answers[answer[9:12].decode("latin-1") or "closed"] += 1

    await asyncio.gather(*(one() for _ in range(CONNECTIONS // 10)))
    return ", ".join(f"{count} x {status}" for status, count in answers.most_common())


MALFORMED = b'POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n{"input": [}'
OVERSIZE = (
    b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000\r\n\r\n"
    + json.dumps({"input": "a" * 1000}).encode()
)


async def _nothing(port: int) -> str:
    return ""


async def _stalled(port: int, start: bytes) -> str:
    async def one() -> bool:
        with contextlib.closing(await _connect(port)) as connection:
            await asyncio.get_running_loop().sock_sendall(connection, start)
            return await _is_closed(connection)

    return await _count(one, CONNECTIONS, "closed by the server")


async def _count(one: Callable[[], Awaitable[bool]], count: int, what: str) -> str:
    found = await asyncio.gather(*(one() for _ in range(count)))
    return f"{sum(found)} of {count} {what}"


async def _is_closed(connection: socket.socket) -> bool:
    """Whether the server closes a connection soon; an answer may come before the end."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(PATIENCE + MARGIN):
            while await loop.sock_recv(connection, 2**16):
                pass
    except OSError:
        return True
    except TimeoutError:
        return False
    return True


async def _connect(port: int, *, buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return connection
