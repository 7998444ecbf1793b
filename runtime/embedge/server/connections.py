"""uvicorn's protocol class with three changes: fewer writes, an upper bound, and less to log.

uvicorn writes the head of an answer and its body apart: two system calls, each of which lets other
threads take the interpreter, and two packets that wake the client twice.
"""

import asyncio
from typing import Any

from prometheus_client import Counter


class Joining:
    """A transport that sends two pieces written in one turn of the event loop as one.

    Everything but writing and closing is the transport's own. Holds one piece at most, and no
    longer than the turn.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """See `asyncio.WriteTransport`."""
        held, self._held = self._held, None
        if held is None:
            self._held = data
            self._loop.call_soon(self._send_held)
        elif not self._transport.is_closing():
            self._transport.writelines((held, data))

    def close(self) -> None:
        """See `asyncio.BaseTransport`; what was written is sent first."""
        self._send_held()
        self._transport.close()

    def _send_held(self) -> None:
        held, self._held = self._held, None
        if held is not None and not self._transport.is_closing():
            self._transport.write(held)


def changed(protocol: type[Any], most: int, not_http: Counter) -> type[Any]:
    """A protocol class of uvicorn that serves one connection.

    Args:
        protocol: httptools' or h11's.
        most: connections; those beyond are closed at once.
        not_http: counts those that send what is not HTTP.
    """

    class Changed(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(Joining(transport, self.loop))
            if len(self.connections) > most:
                transport.abort()

        def send_400_response(self, msg: str) -> None:
            not_http.inc()
            super().send_400_response(msg)

    return Changed
