"""The ASGI application: finds the route, lets in who may come, reads the body within limits.

One class, and no middleware but Starlette's for CORS: what stands between the socket and a handler
could hide that a client left. The coroutine of a request is cancelled when its client leaves.

A pack and a task may stand before the path (`routes`); `?model=` and `?task=` say the same.
"""

import asyncio
import contextlib
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from embedge.server import own, speaker
from embedge.server.answers import error_answer, refusal_headers
from embedge.server.budget import Hold
from embedge.server.dialect import Answer, Ask, Dialect, Route
from embedge.server.dialects.jina import Jina
from embedge.server.dialects.openai import OpenAI
from embedge.server.dialects.tei import TextEmbeddingsInference
from embedge.server.dialects.weaviate import Weaviate
from embedge.server.keys import Keys
from embedge.server.logs import log_request
from embedge.server.refusals import Kind, Refusal, refusal_of
from embedge.server.routes import Choices, Table
from embedge.server.service import PackService

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

DIALECTS: tuple[Dialect, ...] = (
    own.Own(),
    Jina(),
    OpenAI(),
    TextEmbeddingsInference(),
    Weaviate(),
)
CHUNK = 2**18  # bytes of an answer that are handed to the socket at a time
LINGER = 2.0  # seconds that the rest of a refused body is read, so that its sender hears why
NO_CONTENT = 204
CLIENT_LEFT = 499  # in the log and metrics; nobody is there to get it
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class ClientLeftError(Exception):
    """The connection is closed; there is nobody to answer."""


class App:
    """The application.

    Args:
        service: does the work.
        dialects: the protocols.
    """

    def __init__(self, service: PackService, dialects: Sequence[Dialect] = DIALECTS) -> None:
        self._service = service
        self._settings = service.settings
        self._metrics = service.metrics
        self._keys = Keys(service.settings)
        self._table = Table(dialects)
        service.routes = tuple(route for dialect in dialects for route in dialect.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http":
            await _Request(self, scope, receive, send).answer()
        elif scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})


class _Request:
    """One request on its way."""

    def __init__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._began = time.monotonic()
        self._headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        given = self._headers.get("x-request-id", "")
        self._id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        self._dialect: Dialect | None = None
        self._path = "-"  # of the route, for the log
        self._size = 0  # of the body
        self._whole = False  # whether all of the body was read
        self._hold: Hold = app._service.budget.hold()

    async def answer(self) -> None:
        """Carries the request out, and says what became of it."""
        answer: Answer | None = None
        try:
            answer = await self._carry_out()
            await self._write(answer)
        except ClientLeftError:
            self._app._metrics.left.inc()
        except OSError:  # the socket failed while the answer was written
            answer = None
            self._app._metrics.left.inc()
        finally:
            self._hold.release()
            self._account(answer)

    async def _carry_out(self) -> Answer:
        try:
            return await self._handle()
        except ClientLeftError:
            raise
        except Exception as error:
            if not isinstance(error, Refusal):
                logger.exception("request %s failed", self._id)
            refusal = refusal_of(error)
            cause = refusal.__cause__
            if refusal.kind is Kind.INTERNAL and cause is not None:
                logger.error("request %s failed: %s", self._id, cause)  # noqa: TRY400
            self._app._metrics.of(self._app._metrics.refusals, refusal.kind.code).inc()
            if self._dialect is None:
                answer = error_answer(refusal, self._id)
            else:
                answer = self._dialect.error(refusal, self._id)
            return Answer(
                body=answer.body,
                status=answer.status,
                media_type=answer.media_type,
                headers={**answer.headers, **refusal_headers(refusal)},
            )

    async def _handle(self) -> Answer:
        app, scope = self._app, self._scope
        method = scope["method"]
        found, parts, model, task = app._table.find(method, scope["path"], app._service.models)
        self._dialect, route = found[0]
        self._path = route.path
        if len(found) > 1:
            self._choose(found, speaker.speaker(self._headers, b""))
        client = "" if route.open else app._keys.check(self._headers)
        if not (route.open or app._service.ready or app._service.draining):
            raise Refusal(Kind.UNAVAILABLE, "the models are being loaded", retry_after=2)
        body = await self._read()
        if len(found) > 1:
            choose = app._service.off_loop(len(body), speaker.speaker, self._headers, body)
            route = self._choose(found, await choose)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        peer = scope["client"]
        ask = Ask(
            method=method,
            path=route.path,
            query={**query, **parts},
            headers=self._headers,
            body=body,
            request_id=self._id,
            client=f"{client} {peer[0] if peer else ''}",
            hold=self._hold,
            model=_one(model, query.get("model"), "model"),
            task=_one(task, query.get("task"), "task"),
        )
        return await self._watched(route.handle(ask, app._service))

    def _choose(self, found: Choices, name: str) -> Route:
        """The route of the dialect that a request speaks, which also writes its errors."""
        self._dialect, route = next((one for one in found if one[0].name == name), found[0])
        return route

    async def _read(self) -> bytes:
        """The body, whole.

        Raises:
            Refusal: TOO_LARGE, TIMEOUT, OVERLOADED.
        """
        if self._headers.get("content-encoding", "identity") != "identity":
            raise Refusal(Kind.INVALID, "the body is compressed; send it as it is")
        parts: list[bytes] = []
        seconds = self._app._settings.body_seconds
        try:
            async with asyncio.timeout(seconds):
                while not self._whole:
                    parts.append(await self._next_part())
        except TimeoutError:
            raise Refusal(Kind.TIMEOUT, f"the body took longer than {seconds} s") from None
        except Refusal:
            parts.clear()
            await self._linger()
            raise
        return b"".join(parts)

    async def _next_part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        part: bytes = message.get("body", b"")
        self._whole = not message.get("more_body", False)
        self._size += len(part)
        declared = self._headers.get("content-length", "")
        most = self._app._settings.body_bytes
        if max(self._size, int(declared) if declared.isdecimal() else 0) > most:
            raise Refusal(
                Kind.TOO_LARGE,
                f"the body is larger than {most:,} bytes; send fewer or shorter texts in one "
                "request",
            )
        self._hold.more(len(part))
        return part

    async def _linger(self) -> None:
        """Reads on for a while: a socket closed on unread bytes would take the answer with it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while not self._whole:
                    message = await self._receive()
                    self._whole = not message.get("more_body", False)

    async def _watched(self, work: Awaitable[Answer]) -> Answer:
        """Awaits a handler, and cancels it when the client leaves."""
        task = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self._left())
        try:
            await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ClientLeftError
        finally:
            for one in (task, leaving):
                if not one.done():
                    one.cancel()
            if not task.done():
                await asyncio.wait((task,))
                if not task.cancelled():
                    task.exception()  # looked at, so that it is not logged as forgotten

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _write(self, answer: Answer) -> None:
        named = {"x-request-id": self._id, **answer.headers}
        if answer.status != NO_CONTENT:
            named["content-type"] = answer.media_type
            named["content-length"] = str(len(answer.body))
        headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in named.items()]
        if answer.status in (408, 413) or self._app._service.draining:
            headers.append((b"connection", b"close"))
        await self._send(
            {"type": "http.response.start", "status": answer.status, "headers": headers}
        )
        body = memoryview(b"" if self._scope["method"] == "HEAD" else answer.body)
        for start in range(0, max(len(body), 1), CHUNK):
            last = start + CHUNK >= len(body)
            part = bytes(body[start : start + CHUNK])
            await self._send({"type": "http.response.body", "body": part, "more_body": not last})

    def _account(self, answer: Answer | None) -> None:
        seconds = time.monotonic() - self._began
        status = CLIENT_LEFT if answer is None else answer.status
        name = "none" if self._dialect is None else self._dialect.name
        metrics = self._app._metrics
        metrics.of(metrics.requests, name, str(status)).inc()
        metrics.of(metrics.seconds, name).observe(seconds)
        if name == own.NAME:
            return  # probes and scrapes, each few seconds
        log_request(
            self._scope["method"] if self._path != "-" else "-",
            self._path,
            status,
            dialect=name,
            seconds=seconds,
            received=self._size,
            sent=0 if answer is None else len(answer.body),
            request_id=self._id,
        )


def _one(first: str | None, second: str | None, name: str) -> str | None:
    if first and second and first != second:
        raise Refusal(Kind.INVALID, f"the path and the query string say two {name}s", field=name)
    return first or second
