"""A server of packs on a free port of this machine, and a client that hides nothing of HTTP."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from embedge import Embedder
from embedge.server.run import Server
from embedge.server.settings import Settings

PATIENCE = 60.0  # seconds; only a test that fails waits so long


@dataclass(frozen=True)
class Reply:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def vectors(self) -> list[Any]:
        """The embeddings of a good answer of /v1/embeddings."""
        assert self.status == 200, self.body
        return [one["embedding"] for one in self.json()["data"]]


class Client:
    """Requests to one server, each over a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = urlsplit(url).hostname or ""
        self.port = urlsplit(url).port or 0

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, raw, dict(headers or {}))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.ask("POST", path, body, headers)

    def embed(self, text: Any, **fields: Any) -> Reply:
        return self.post("/v1/embeddings", {"input": text, **fields})


@contextlib.contextmanager
def serving(
    packs: Mapping[str, Embedder], *, ready: bool = True, **settings: Any
) -> Iterator[tuple[Client, Server]]:
    """A server in a thread of this process, warm unless `ready` is False; ended with the block."""
    settings = {"port": 0, "drain_seconds": 0, "grace_seconds": 5} | settings
    server = Server(packs, Settings(**settings))
    failures: list[BaseException] = []

    def run() -> None:
        try:
            server.run(announce=False)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="test-server")
    thread.start()
    try:
        wait_for(lambda: failures or (server.listening and (server.service.ready or not ready)))
        assert not failures, failures
        yield Client(server.url), server
    finally:
        server.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not failures, failures


def wait_for(condition: Any) -> None:
    """Waits until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.005)


def open_pack(folder: Path) -> Embedder:
    return Embedder(folder, threads=1)


class Held:
    """Holds the runs of a server's only pack until `gate` is set.

    Attributes:
        runs: texts of each run.
        cancelled: set once a run was told to stop.
    """

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        (self.queue,) = server.service.queues.values()
        self.gate = threading.Event()
        self.runs: list[int] = []
        self.cancelled = threading.Event()
        encoder = self.queue._encoder
        run = encoder.run_ids

        def held(call: Any, ids: Any, *, cancel: threading.Event) -> Any:
            self.runs.append(len(ids))
            while not self.gate.wait(0.005):
                if cancel.is_set():
                    self.cancelled.set()
                    break
            return run(call, ids, cancel=cancel)

        monkeypatch.setattr(encoder, "run_ids", held)


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """A thread at work, and where its result will stand."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread, found
