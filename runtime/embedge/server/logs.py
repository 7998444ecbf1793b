"""The log: lines on stderr, plain or JSON; one line a request, with none of its content."""

import asyncio
import contextlib
import functools
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

import orjson

MOMENT = 0.05  # seconds that a line may wait for others
MOST_LINES = 1000  # that wait
access = logging.getLogger("embedge.server.access")


class JsonLines(logging.Formatter):
    """One JSON object a line; what a record has in `fields` stands beside its message."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode("utf-8")


class PlainLines(logging.Formatter):
    """Time, level, message, and the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        fields = " ".join(f"{k}={v}" for k, v in getattr(record, "fields", {}).items())
        line = f"{_time(record.created)} {record.levelname:7} {record.getMessage()}"
        line = f"{line} {fields}" if fields else line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Together(logging.StreamHandler[TextIO]):
    """Writes the lines of a moment at once, if none of them is a warning.

    Each write lets another thread take the interpreter, for milliseconds where it is busy; so one
    a request would slow all of them down.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`, which holds the lock meanwhile."""
        try:
            self._lines.append(self.format(record))
        except Exception:
            self.handleError(record)
        if record.levelno <= logging.INFO and len(self._lines) < MOST_LINES:
            with contextlib.suppress(RuntimeError):  # no event loop runs in this thread
                loop = asyncio.get_running_loop()
                if len(self._lines) == 1:
                    loop.call_later(MOMENT, self.flush)
                return
        self.flush()

    def flush(self) -> None:
        """Writes the lines."""
        assert self.lock is not None
        with self.lock, contextlib.suppress(OSError, ValueError):  # nobody reads stderr any more
            lines, self._lines = self._lines, []
            if lines:
                self.stream.write("\n".join((*lines, "")))
            self.stream.flush()


@contextlib.contextmanager
def logging_to_stderr(*, json_lines: bool) -> Iterator[None]:
    """Within it, the log of this process, which is the server's own, goes to stderr."""
    handler = Together(sys.stderr)
    handler.setFormatter(JsonLines() if json_lines else PlainLines())
    levels = {
        logging.getLogger(): logging.WARNING,
        logging.getLogger("embedge"): logging.INFO,
        # It warns of each connection that is not HTTP, which the metrics count.
        logging.getLogger("uvicorn.error"): logging.ERROR,
    }
    root = logging.getLogger()
    handlers, before = root.handlers[:], {one: one.level for one in levels}
    root.handlers[:] = [handler]
    for one, level in levels.items():
        one.setLevel(level)
    try:
        yield
    finally:
        handler.flush()
        root.handlers[:] = handlers
        for one, level in before.items():
            one.setLevel(level)


def log_request(
    method: str,
    route: str,
    status: int,
    *,
    dialect: str,
    seconds: float,
    received: int,
    sent: int,
    request_id: str,
) -> None:
    """One line for a request.

    Args:
        method: of HTTP.
        route: the path as routes write it: what a client put in its place stays out.
        status: of the answer; 499 for a client that left.
        dialect: its name.
        seconds: from the head of the request to the end of the answer.
        received: bytes of the request's body.
        sent: bytes of the answer's.
        request_id: ours, or a client's that was checked.
    """
    if not access.isEnabledFor(logging.INFO):
        return
    fields = {
        "dialect": dialect,
        "ms": round(seconds * 1000, 1),
        "received": received,
        "sent": sent,
        "id": request_id,
    }
    # As `access.info` does, but for its search of the caller.
    record = access.makeRecord(
        access.name,
        logging.INFO,
        __file__,
        0,
        "%s %s %d",
        (method, route, status),
        None,
        extra={"fields": fields},
    )
    access.handle(record)


def _time(seconds: float) -> str:
    return f"{_second(int(seconds))}.{int(seconds % 1 * 1000):03}Z"


@functools.lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
