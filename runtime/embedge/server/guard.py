"""What uvicorn does not watch: connections that send half a request, or read no answer.

uvicorn's own time limit holds between an answer and the next request only. Here one task looks at
all open connections each second, by what uvicorn's protocol classes (httptools' and h11's) keep of
them: the request under way (`cycle`) and the transport. A connection whose request's head is not
complete in time is closed, and so is one whose reader takes nothing of its answer. The bodies have
a time limit of their own in `app`.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from embedge.server.settings import Settings

EVERY = 1.0  # seconds between two looks
LATE = 5.0  # seconds; a look that comes so much later was kept by a pause of the whole process


@dataclass(slots=True)
class _Seen:
    """What a connection was last seen doing."""

    state: tuple[bool, int]  # whether a request is under way, and which
    unsent: int  # bytes of an answer that its reader has not taken
    since: float  # by time.monotonic(); of the state, or of the last byte that was taken


class Guard:
    """Watches connections.

    Args:
        connections: those of uvicorn, which adds and removes them.
        settings: the times, and how many there may be.
    """

    def __init__(self, connections: set[Any], settings: Settings) -> None:
        self._connections = connections
        self._settings = settings
        self._seen: dict[Any, _Seen] = {}

    async def watch(self) -> None:
        """Looks at all connections until it is cancelled."""
        before = time.monotonic()
        while True:
            await asyncio.sleep(EVERY)
            now = time.monotonic()
            self.forgive(now - before - EVERY)
            self.look(now)
            before = now

    def forgive(self, late: float) -> None:
        """Takes a pause of the whole process from everyone's time: a laptop slept, say.

        Args:
            late: seconds by which a look comes too late.
        """
        if late > LATE:
            for one in self._seen.values():
                one.since += late

    def look(self, now: float) -> None:
        """Closes those that take too long, and the newest that are too many."""
        seen: dict[Any, _Seen] = {}
        for one in list(self._connections):
            transport = one.transport
            if transport is None:
                continue
            cycle = one.cycle
            busy = cycle is not None and not cycle.response_complete
            unsent = transport.get_write_buffer_size()
            state = (busy, id(cycle))
            before = self._seen.get(one)
            moved = before is None or before.state != state or unsent < before.unsent
            if before is None or moved or (unsent and not before.unsent):
                seen[one] = _Seen(state, unsent, now)
                continue
            before.unsent = unsent
            seen[one] = before
            if now - before.since > self._patience(before, cycle):
                transport.abort()
        self._seen = seen

    def _patience(self, seen: _Seen, cycle: Any) -> float:
        settings = self._settings
        if seen.unsent:
            return settings.write_seconds
        if seen.state[0]:
            return float("inf")  # it waits for us
        idle = 0 if cycle is None else settings.keep_alive_seconds  # uvicorn closes idle ones
        return idle + settings.header_seconds
