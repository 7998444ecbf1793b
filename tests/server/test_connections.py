"""What the server writes together: the head and body of an answer, the log lines of a moment."""

import asyncio
import io
import logging

from embedge.server.connections import Joining
from embedge.server.logs import Together


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.sent.append(data)

    def writelines(self, pieces: tuple[bytes, ...]) -> None:  # type: ignore[override]
        self.sent.append(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


def test_two_pieces_of_a_turn_are_one() -> None:
    async def write() -> list[bytes]:
        transport = Transport()
        joining = Joining(transport, asyncio.get_running_loop())
        for piece in (b"head ", b"body", b"third"):
            joining.write(piece)
        assert transport.sent == [b"head body"]
        await asyncio.sleep(0)
        assert transport.sent == [b"head body", b"third"]
        joining.write(b"last")
        joining.close()
        assert joining.is_closing()
        joining.write(b"too late")
        await asyncio.sleep(0)
        return transport.sent

    assert asyncio.run(write()) == [b"head body", b"third", b"last"]


def test_what_is_held_at_an_abort_is_dropped() -> None:
    async def write() -> list[bytes]:
        transport = Transport()
        joining = Joining(transport, asyncio.get_running_loop())
        joining.write(b"head")
        joining.abort()
        await asyncio.sleep(0)
        return transport.sent

    assert asyncio.run(write()) == []


class Stream(io.StringIO):
    """Counts writes."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


def record(level: int, message: str) -> logging.LogRecord:
    return logging.LogRecord("x", level, __file__, 0, message, None, None)


def test_lines_of_a_moment_are_one_write() -> None:
    stream = Stream()
    handler = Together(stream)

    async def log() -> None:
        for number in range(3):
            handler.handle(record(logging.INFO, str(number)))
        assert stream.writes == 0
        await asyncio.sleep(0.2)

    asyncio.run(log())
    assert (stream.writes, stream.getvalue()) == (1, "0\n1\n2\n")


def test_a_warning_is_written_at_once_and_takes_along_what_waits() -> None:
    stream = Stream()
    handler = Together(stream)

    async def log() -> None:
        handler.handle(record(logging.INFO, "first"))
        handler.handle(record(logging.WARNING, "second"))
        assert stream.getvalue() == "first\nsecond\n"

    asyncio.run(log())
    handler.handle(record(logging.INFO, "no loop"))
    assert stream.getvalue().endswith("no loop\n")


def test_a_stderr_that_nobody_reads_stops_nothing() -> None:
    stream = Stream()
    handler = Together(stream)
    stream.close()
    handler.handle(record(logging.ERROR, "a"))
