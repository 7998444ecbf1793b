"""Runs the server: the socket, the signals, the start and the end.

The socket listens, and /live answers, before the models are loaded; a line of JSON on stdout says
where, for programs that start this one. SIGTERM ends it in three steps: /ready says 503 while load
balancers look elsewhere, the socket closes and what was accepted is finished, and what takes longer
than the owner allows is dropped. Ctrl-C leaves the first step out, and a second signal ends it at
once.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

import orjson
import uvicorn
from starlette.middleware.cors import CORSMiddleware

from embedge.errors import OptionError
from embedge.server.app import App
from embedge.server.connections import changed
from embedge.server.guard import Guard
from embedge.server.logs import logging_to_stderr
from embedge.server.metrics import Metrics
from embedge.server.models import Models
from embedge.server.service import PackService
from embedge.server.settings import Settings

if TYPE_CHECKING:
    from embedge.embedder import Embedder

logger = logging.getLogger(__name__)

POLL = 0.05  # seconds
BACKLOG = 2048
PATIENCE = 15.0  # seconds that the threads get to end


class _Uvicorn(uvicorn.Server):
    """uvicorn, with its signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One server of some packs.

    Args:
        packs: opened, by the names that they are served by; closed at the end.
        settings: the owner's choices.

    Attributes:
        url: where it listens, once it does.
    """

    def __init__(self, packs: Mapping[str, "Embedder"], settings: Settings) -> None:
        self.url = ""
        self._packs = packs
        self._settings = settings
        self.service = PackService(Models(packs), settings, Metrics())
        app: Any = App(self.service)
        if settings.cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["x-request-id", "retry-after"],
            )
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            ws="none",
            lifespan="off",
            backlog=BACKLOG,
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=settings.grace_seconds,
        )
        config.load()
        config.http_protocol_class = changed(
            config.http_protocol_class, settings.connections, self.service.metrics.not_http
        )
        self._uvicorn = _Uvicorn(config)
        self._asked = 0  # signals
        self._patient = True  # wait for load balancers

    def run(self, *, announce: bool = True) -> int:
        """Serves until a signal, or `stop`; the exit code.

        Args:
            announce: write the ready line.

        Raises:
            OptionError: it cannot listen there.
            EmbedgeError: a pack cannot be loaded.
        """
        listener = listen(self._settings)
        self.url = url_of(listener, self._settings)
        for queue in self.service.queues.values():
            queue.start()
        try:
            with listener, self._signals():
                factory = self._uvicorn.config.get_loop_factory()
                with asyncio.Runner(loop_factory=factory) as runner:
                    return runner.run(self._serve(listener, announce=announce))
        finally:
            self.service.close()
            for queue in self.service.queues.values():
                queue.join(PATIENCE)
            for embedder in self._packs.values():
                embedder.close()
            if self._settings.uds is not None:
                self._settings.uds.unlink(missing_ok=True)

    @property
    def listening(self) -> bool:
        """Whether clients can connect."""
        return self._uvicorn.started

    def stop(self) -> None:
        """Ends it as a signal does; from any thread."""
        self._asked += 1

    async def _serve(self, listener: socket.socket, *, announce: bool) -> int:
        guard = Guard(self._uvicorn.server_state.connections, self._settings)
        self.service.metrics.connections.set_function(
            lambda: len(self._uvicorn.server_state.connections)
        )
        serving = asyncio.ensure_future(self._uvicorn.serve([listener]))
        watching = asyncio.ensure_future(guard.watch())
        try:
            while not self._uvicorn.started and not serving.done():
                await asyncio.sleep(POLL)
            if announce:
                line: dict[str, str | int] = {"url": self.url, "pid": os.getpid()}
                if self._settings.announce_key:
                    line["token"] = self._settings.keys[0]
                sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
                sys.stdout.buffer.flush()
            logger.info("listening at %s", self.url)
            failure = await self._until_asked(serving)
            self._patient &= failure is None
            await self._drain(serving)
        finally:
            watching.cancel()
        if failure is not None:
            raise failure
        return 0

    async def _until_asked(self, serving: "asyncio.Future[None]") -> Exception | None:
        """Waits for a signal; or the failure of a pack, with which the server is of no use."""
        said = False
        while not self._asked and not serving.done():
            await asyncio.sleep(POLL)
            failure = next(
                (q.failure for q in self.service.queues.values() if q.failure is not None), None
            )
            if failure is not None:
                return failure
            if self.service.ready and not said:
                said = True
                logger.info("ready")
        return None

    async def _drain(self, serving: "asyncio.Future[None]") -> None:
        self.service.draining = True
        logger.info("ending: no longer ready")
        for _ in range(round(self._settings.drain_seconds / POLL) if self._patient else 0):
            if self._asked > 1:
                break
            await asyncio.sleep(POLL)
        self._uvicorn.should_exit = True
        while not serving.done():
            if self._asked > 1:
                self._uvicorn.force_exit = True
                self.service.close()
            await asyncio.sleep(POLL)
        await serving
        logger.info("ended")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def ask(number: int, frame: FrameType | None) -> None:
            self._asked += 1
            self._patient = number == signal.SIGTERM

        names = ("SIGTERM", "SIGINT", "SIGHUP")  # Windows has no SIGHUP
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        ours = [one for one in numbers if signal.getsignal(one) != signal.SIG_IGN]  # nohup
        try:
            before = {number: signal.signal(number, ask) for number in ours}
        except ValueError:  # not the main thread: whoever started it calls `stop`
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(packs: Mapping[str, "Embedder"], settings: Settings) -> int:
    """Serves packs in this process until a signal; the exit code."""
    raise_file_limit(settings.connections)
    with logging_to_stderr(json_lines=settings.json_logs):
        return Server(packs, settings).run()


def listen(settings: Settings) -> socket.socket:
    """The socket, bound and listening.

    Raises:
        OptionError: the address is taken, not this machine's, or the path is another file.
    """
    where = str(settings.uds) if settings.uds else f"{settings.host}:{settings.port}"
    try:
        if settings.uds is not None:
            return _listen_unix(settings)
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":  # elsewhere it would let two servers have one port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise OptionError(f"cannot listen at {where}: {error.strerror or error}") from None
    return listener


def _listen_unix(settings: Settings) -> socket.socket:
    """A Unix socket that only this user can connect to; one that nobody listens at is replaced."""
    path = settings.uds
    assert path is not None
    if not hasattr(socket, "AF_UNIX"):
        raise OptionError("this system has no Unix sockets; pass --host and --port")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OptionError(f"{path} is a file of another kind; name a path that is free")
        with socket.socket(socket.AF_UNIX) as other:
            try:
                other.connect(str(path))
            except OSError:
                path.unlink()
            else:
                raise OptionError(f"another server listens at {path}")
    listener = socket.socket(socket.AF_UNIX)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket, settings: Settings) -> str:
    """Where a client connects to."""
    if settings.uds is not None:
        return f"unix:{settings.uds}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_file_limit(connections: int) -> None:
    """Lets this process have as many files open as connections need, as far as it may."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 256
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
