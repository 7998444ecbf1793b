"""Who may come in, and how much one may ask for: every refusal is JSON that clients can read."""

import base64
import contextlib
import functools
import io
import json
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from embedge.errors import OptionError
from embedge.server import answers
from embedge.server.guard import Guard
from embedge.server.logs import logging_to_stderr
from embedge.server.run import Server
from embedge.server.settings import Settings
from support.serving import Client, Held, in_thread, wait_for

KEYS = ("first-secret-key", "second-secret-key")


Start = Callable[..., tuple[Client, Server]]


def connect(client: Client) -> socket.socket:
    return socket.create_connection((client.host, client.port), timeout=30)


def detail(reply: Any) -> str:
    found = reply.json()["detail"]
    assert isinstance(found, str)
    return found


# ------------------------------------------------------------------ who may come in


@pytest.mark.parametrize("key", KEYS)
def test_a_key_opens(start: Start, key: str) -> None:
    client, _ = start(keys=KEYS)
    body = {"input": "a"}
    assert client.post("/v1/embeddings", body, authorization=f"Bearer {key}").status == 200
    for headers in (
        {},
        {"authorization": f"Bearer {key}x"},
        {"authorization": f"Basic {key}"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer \xe9"},
    ):
        reply = client.post("/v1/embeddings", body, **headers)
        assert reply.status == 401
        assert "API key" in detail(reply)
        assert reply.json()["error"]["code"] == "invalid_api_key"
        assert client.get("/v1/models", **headers).status == 401
    for path in ("/live", "/ready", "/health", "/metrics", "/docs", "/openapi.json"):
        assert client.get(path).status == 200, path


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("http://127.0.0.1", 200),
        ("https://page.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
def test_without_a_key_pages_of_other_sites_are_refused(
    server: Client, origin: str, status: int
) -> None:
    reply = server.post("/v1/embeddings", {"input": "a"}, origin=origin)
    assert reply.status == status
    assert "access-control-allow-origin" not in reply.headers


def test_pages_that_the_owner_allows(start: Start) -> None:
    client, _ = start(cors_origins=("https://page.example",))
    reply = client.post("/v1/embeddings", {"input": "a"}, origin="https://page.example")
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == "https://page.example"


@pytest.mark.parametrize(
    "options",
    [
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"host": "example.org"},
        {"keys": ("short",)},
        {"keys": ("with blanks in it",)},
        {"port": 70_000},
        {"items": 0},
        {"body_seconds": -1},
        {"cors_origins": ("page.example",)},
        {"announce_key": True},
        {"allow_urls": "yes"},
    ],
)
def test_settings_that_cannot_be_meant(options: Any) -> None:
    with pytest.raises(OptionError):
        Settings(**options)


def test_settings_do_not_show_keys() -> None:
    settings = Settings(host="0.0.0.0", keys=KEYS)
    assert KEYS[0] not in repr(settings)


# ------------------------------------------------------------------ how much one may ask for


def test_a_body_beyond_the_limit(start: Start) -> None:
    client, server = start(body_bytes=1000)
    assert client.embed(["a" * 20] * 40).status == 200
    reply = client.embed(["a" * 20] * 100)
    assert reply.status == 413
    assert "larger than 1,000 bytes" in detail(reply)
    with connect(client) as chunked:  # no length declared
        chunked.sendall(
            b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(3):
            chunked.sendall(b"200\r\n" + b"a" * 512 + b"\r\n")
        chunked.sendall(b"0\r\n\r\n")
        assert b"413" in chunked.recv(4096)
    assert server.service.budget.held == 0


def test_more_items_than_the_limit(start: Start) -> None:
    client, _ = start(items=3)
    assert client.embed(["a"] * 3).status == 200
    reply = client.embed(["a"] * 4)
    assert reply.status == 422
    assert "3 are the most" in detail(reply)


@pytest.mark.parametrize(
    ("limits", "why"), [({"image_bytes": 50}, "bytes"), ({"image_pixels": 99}, "pixels")]
)
def test_images_beyond_the_limits(start: Start, limits: Any, why: str) -> None:
    client, _ = start(**limits)
    stream = io.BytesIO()
    Image.new("RGB", (10, 10)).save(stream, "PNG")
    reply = client.embed({"image": base64.b64encode(stream.getvalue()).decode()})
    assert reply.status == 422
    assert "input[0]" in detail(reply)
    assert why in detail(reply)


def test_a_slow_body_is_given_up(start: Start) -> None:
    client, server = start(body_seconds=1)
    with connect(client) as slow:
        slow.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{")
        answer = slow.recv(4096)
        assert b" 408 " in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
        assert slow.recv(4096) == b""  # and the connection is closed
    assert server.service.budget.held == 0


def test_half_sent_heads_and_silence_are_closed(start: Start) -> None:
    client, _ = start(header_seconds=1, keep_alive_seconds=1)
    with connect(client) as silent, connect(client) as half:
        half.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost:")
        for one in (silent, half):
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(4096) == b""


def test_connections_beyond_the_limit_are_closed(start: Start) -> None:
    client, _ = start(connections=2)
    with connect(client) as first, connect(client) as second:
        for one in (first, second):
            one.sendall(b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n")
            assert b" 200 " in one.recv(4096)
        with connect(client) as third, contextlib.suppress(OSError):
            third.sendall(b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n")
            assert third.recv(4096) == b""


def test_what_is_not_http_is_counted_and_not_logged(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = start()
    with logging_to_stderr(json_lines=False), connect(client) as one:
        logging.getLogger().addHandler(caplog.handler)
        one.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        assert b" 400 " in one.recv(4096)
    assert b"embedge_not_http_total 1.0" in client.get("/metrics").body
    assert not caplog.records


def test_other_paths_and_methods(server: Client) -> None:
    assert "/docs" in detail(server.get("/v2/embeddings"))
    reply = server.get("/v1/embeddings")
    assert reply.status == 405
    assert reply.headers["allow"] == "POST"
    assert detail(reply)
    assert server.ask("HEAD", "/live").body == b""
    assert server.post("/v1/embeddings", b"x", **{"content-encoding": "gzip"}).status == 422


def test_a_request_id_is_given_back(server: Client) -> None:
    reply = server.get("/live", **{"x-request-id": "mine-1"})
    assert reply.headers["x-request-id"] == "mine-1"
    reply = server.get("/live", **{"x-request-id": "mine, not yours"})
    assert len(reply.headers["x-request-id"]) == 32


# ------------------------------------------------------------------ load, and those who leave


def test_overload_is_429_with_a_time_to_wait(start: Start, hold: Callable[[Server], Held]) -> None:
    client, server = start(queue_tokens=50)
    held = hold(server)
    thread, found = in_thread(lambda: client.embed("a" * 40))
    wait_for(lambda: held.runs)
    for fields in ({"task": "retrieval"}, {"encoding_format": "float"}):
        reply = client.embed("a" * 40, **fields)
        assert reply.status == 429
        assert 1 <= int(reply.headers["retry-after"]) <= 120
        assert "overloaded" in detail(reply)
        assert reply.json()["error"]["message"]
    assert client.get("/ready").status == 200  # it is well, only busy
    held.gate.set()
    thread.join()
    assert found[0].status == 200
    assert client.embed("a" * 40).status == 200


def test_a_client_that_leaves_cancels_its_work(
    start: Start, hold: Callable[[Server], Held]
) -> None:
    client, server = start()
    held = hold(server)
    body = json.dumps({"input": ["a", "b"]}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n"
    with connect(client) as leaving:
        leaving.sendall(head.encode() + body)
        wait_for(lambda: held.runs)
    assert held.cancelled.wait(30)
    wait_for(lambda: held.queue.tokens == 0 and server.service.budget.held == 0)
    held.gate.set()
    assert client.embed("a").status == 200
    wait_for(lambda: b"embedge_clients_left_total 1.0" in client.get("/metrics").body)


def test_requests_of_many_clients_share_runs(start: Start, hold: Callable[[Server], Held]) -> None:
    client, server = start()
    held = hold(server)
    first, _ = in_thread(lambda: client.embed("first"))
    wait_for(lambda: held.runs)
    others = [in_thread(functools.partial(client.embed, f"text {n}")) for n in range(6)]
    wait_for(lambda: len(held.queue._waiting._turns.get(" 127.0.0.1", ())) == 6)
    held.gate.set()
    for thread, found in others:
        thread.join()
        assert found[0].status == 200
    first.join()
    assert held.runs == [1, 6]


def test_the_event_loop_neither_tokenizes_nor_writes_megabytes(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = start()
    threads: dict[str, set[str]] = {}

    def note(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def noted(*arguments: Any, **options: Any) -> Any:
            threads.setdefault(name, set()).add(threading.current_thread().name)
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, noted)

    (queue,) = server.service.queues.values()
    note(queue._encoder, "token_ids")
    note(queue, "submit")
    note(answers, "json_answer")
    texts = ["a", "bc"] * 2000
    assert len(client.embed(texts, model="tiny").vectors) == len(texts)
    for name in ("token_ids", "submit", "json_answer"):
        assert all(one.startswith("embedge-") for one in threads[name]), (name, threads[name])


def test_few_short_texts_are_tokenized_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = start()
    (queue,) = server.service.queues.values()
    token_ids, threads = queue._encoder.token_ids, []

    def noted(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        return token_ids(*arguments, **options)

    monkeypatch.setattr(queue._encoder, "token_ids", noted)
    for texts in ("a", ["a"] * 5, ["a"] * 200, ["a" * 1100]):
        assert client.embed(texts, truncate=True).vectors
    names = [one.split("_")[0] for one in threads]
    assert names == ["test-server", "test-server", "embedge-quick", "embedge-quick"]


@pytest.mark.parametrize("asleep", [0.0, 1000.0])
def test_a_reader_that_takes_nothing_is_dropped(asleep: float) -> None:
    class Transport:
        unsent = 5
        aborted = False

        def get_write_buffer_size(self) -> int:
            return self.unsent

        def abort(self) -> None:
            self.aborted = True

    class Cycle:
        response_complete = True

    class Connection:
        transport = Transport()
        cycle = Cycle()

    one = Connection()
    guard = Guard({one}, Settings(write_seconds=10, keep_alive_seconds=1, header_seconds=1))
    guard.look(0)
    guard.look(9)
    one.transport.unsent = 4  # it took a byte
    guard.look(15)
    guard.look(25)
    assert not one.transport.aborted
    guard.forgive(asleep)  # the laptop
    guard.look(25 + asleep)
    assert not one.transport.aborted
    guard.look(26 + asleep)
    assert one.transport.aborted


def test_metrics_have_bounded_labels(server: Client) -> None:
    for name in ("x", "y"):
        server.embed("a", model=name)
        server.get(f"/{name}")
    text = server.get("/metrics").body.decode()
    assert 'model="x"' not in text
    assert "/x" not in text
    assert 'embedge_pack_info{device="cpu",model="tiny",precision="fp32"} 1.0' in text


def test_an_error_of_the_library_shows_no_path(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedge.errors import PackFileError

    client, server = start()
    (queue,) = server.service.queues.values()

    def fail(*_: Any, **__: Any) -> None:
        raise PackFileError("/secret/path is damaged")

    monkeypatch.setattr(queue._encoder, "run_ids", fail)
    reply = client.embed("a")
    assert reply.status == 500
    assert "secret" not in detail(reply)
