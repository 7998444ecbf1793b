"""Fetching, against a server on this machine."""

import contextlib
import io
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from PIL import Image

from embedge.images import sources, urls
from embedge.images.pillow import RefusedImageError
from embedge.images.sources import open_source


class Handler(BaseHTTPRequestHandler):
    """Answers by path; `asked` remembers what came."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        redirects = {
            "/to-file": "file:///etc/passwd",
            "/to-ftp": "ftp://127.0.0.1/x.png",
            "/to-image": "/image.png",
            "/in-circles": "/in-circles",
        }
        if self.path in redirects:
            self.send_response(302)
            self.send_header("Location", redirects[self.path])
            self.end_headers()
        elif self.path in ("/image.png", "/short", "/endless", "/silent"):
            stream = io.BytesIO()
            Image.new("RGB", (6, 4), (1, 2, 3)).save(stream, "PNG")
            data = stream.getvalue()
            self.send_response(200)
            if self.path != "/endless":
                promised = len(data) + (5 if self.path == "/short" else 0)
                self.send_header("Content-Length", str(promised))
            self.end_headers()
            if self.path == "/silent":
                time.sleep(0.6)
            self.wfile.write(data)
            if self.path == "/endless":
                self.endless()
        else:
            self.send_error(404)

    def endless(self) -> None:
        try:
            for _ in range(10_000):
                self.wfile.write(bytes(2**16))
        except OSError:
            pass  # the reader left, as it should

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    Handler.asked = []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def size(url: str) -> tuple[int, int]:
    with open_source(url, allow_urls=True) as image:
        image.load()
        return image.size


def refused(url: str) -> str:
    with pytest.raises(RefusedImageError) as caught:
        size(url)
    return str(caught.value)


def test_an_image_is_fetched_also_by_a_redirect(server: str) -> None:
    assert size(f"{server}/image.png") == (6, 4)
    assert size(f"{server}/to-image") == (6, 4)


def test_nothing_is_fetched_unless_it_is_allowed(server: str) -> None:
    with (
        pytest.raises(RefusedImageError, match="allow_urls=True"),
        open_source(f"{server}/image.png", allow_urls=False),
    ):
        pass
    assert Handler.asked == []


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/nothing", "answers 404"),
        ("/to-file", "'file:///etc/passwd' is not allowed"),
        ("/to-ftp", "to ftp://, which is not followed"),
        ("/in-circles", "302"),
        ("/short", "5 bytes are missing"),
    ],
)
def test_what_cannot_be_fetched_says_why(server: str, path: str, told: str) -> None:
    assert told in refused(server + path)
    assert len(Handler.asked) < 10


def test_more_than_the_limit_is_not_read(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 2**20)
    assert "more than 1,048,576 bytes" in refused(f"{server}/endless")


def test_a_silent_and_a_slow_server_are_given_up(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urls, "SILENCE", 0.1)
    assert "says nothing" in refused(f"{server}/silent")
    monkeypatch.setattr(urls, "SILENCE", 5.0)
    monkeypatch.setattr(urls, "LONGEST", 0.0)
    assert "takes longer" in refused(f"{server}/endless")


def test_a_download_can_be_cancelled(server: str) -> None:
    cancel = threading.Event()
    cancel.set()
    with (
        pytest.raises(RefusedImageError, match="cancelled"),
        open_source(f"{server}/endless", allow_urls=True, cancel=cancel),
    ):
        pass


@pytest.mark.parametrize("url", ["http://", "http://[", "http://127.0.0.1:1/a", "http://a b/"])
def test_a_url_that_leads_nowhere_is_one_images_error(url: str) -> None:
    assert "cannot be fetched" in refused(url)


class Dripping(BaseHTTPRequestHandler):
    """Sends a little now and then, for ever; `/redirect` never comes to an end either."""

    beginnings: ClassVar[dict[str, bytes]] = {
        "/headers": b"HTTP/1.1 200 OK\r\n",
        "/informational": b"",
        "/body": b"HTTP/1.1 200 OK\r\n\r\n",
        "/extension": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        "/trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
        "/nothing": b"",
    }
    drops: ClassVar[dict[str, bytes]] = {
        "/headers": b"x",
        "/informational": b"HTTP/1.1 100 Continue\r\n\r\n",
        "/trailers": b"a: b\r\n",
        "/nothing": b"",
    }

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        try:
            if path == "/redirect":
                time.sleep(0.2)
                self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /redirect?")
                self.wfile.write(f"{time.monotonic()}\r\nContent-Length: 0\r\n\r\n".encode())
                return
            self.wfile.write(self.beginnings[path])
            for _ in range(1500):  # half a minute, were it not for the limit
                self.wfile.write(self.drops.get(path, b"x"))
                time.sleep(0.02)
        except OSError:
            pass  # the reader left, as it should

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def dripping(server: str) -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    running.daemon_threads = True
    running.block_on_close = False
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def no_fetch_is_left() -> bool:
    end = time.monotonic() + 10
    while any(thread.name == "embedge-fetch" for thread in threading.enumerate()):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize(
    "path",
    ["headers", "informational", "body", "extension", "trailers", "nothing", "redirect"],
)
def test_the_time_limit_holds_for_all_of_a_fetch(
    dripping: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(urls, "LONGEST", 0.3)
    start = time.monotonic()
    assert "takes longer than" in refused(f"{dripping}/{path}")
    assert time.monotonic() - start < 8  # the server would go on for 30 s
    assert no_fetch_is_left()


def test_a_fetch_that_hangs_can_be_cancelled(dripping: str) -> None:
    cancel = threading.Event()
    timer = threading.Timer(0.2, cancel.set)
    timer.start()
    start = time.monotonic()
    with (
        pytest.raises(RefusedImageError, match="cancelled"),
        open_source(f"{dripping}/nothing", allow_urls=True, cancel=cancel),
    ):
        pass
    assert time.monotonic() - start < 8  # its silence alone is borne for 10 s
    assert no_fetch_is_left()
    timer.join()


def test_a_name_that_is_looked_up_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    known = threading.Event()
    monkeypatch.setattr(urls, "LONGEST", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: known.wait(30) and [])
    try:
        assert "takes longer than" in refused("http://example.invalid/a.png")
    finally:
        known.set()
    assert no_fetch_is_left()


def test_a_socket_that_tls_has_taken_over_is_still_stopped() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        download = urls._Download("https://127.0.0.1/", 10)
        plain = download._connect(listener.getsockname()[:2], 20.0)
        taken = socket.socket(fileno=plain.detach())  # as ssl does
        taken.settimeout(20.0)
        threading.Timer(0.1, download.stop).start()
        start = time.monotonic()
        with taken, contextlib.suppress(OSError):
            assert taken.recv(1) == b""
        assert time.monotonic() - start < 8
        with pytest.raises(urls.UrlError):
            download._connect(listener.getsockname()[:2], 20.0)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # where clouds keep credentials
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
        ("2002:7f00:1::", False),
        ("2001:0:53aa:64c:0:1234:5678:9abc", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert urls.is_public(address) is public


@pytest.mark.parametrize("url", ["https://127.0.0.1/x", "https://[::1]/x", "https://inside/x"])
def test_strangers_reach_public_addresses_only(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **options: Any) -> Any:
        return found("127.0.0.1" if host == "inside" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(urls.UrlError, match="not on the public internet"):
        urls.fetch(url, most=1000, public=True)


def test_strangers_use_https_only(server: str) -> None:
    with pytest.raises(urls.UrlError, match="unknown url type"):
        urls.fetch(f"{server}/image.png", most=1000, public=True)


def test_a_redirect_is_looked_at_again(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address passes as public; what it redirects to is asked about anew."""
    asked: list[str] = []

    def once(address: str) -> bool:
        asked.append(address)
        return len(asked) == 1

    monkeypatch.setattr(urls, "is_public", once)
    real = urls.opener
    monkeypatch.setattr(urls, "opener", lambda connect, *, public: real(connect, public=False))
    with pytest.raises(urls.UrlError, match="not on the public internet"):
        urls.fetch(f"{server}/to-image", most=10_000, public=True)
    assert len(asked) == 2


def test_strangers_are_not_sent_on_to_http() -> None:
    request = urllib.request.Request("https://example.org/image.png")
    redirects = urls._Redirects(("https",))
    with pytest.raises(urllib.error.HTTPError, match="to http://, which is not followed"):
        redirects.redirect_request(request, io.BytesIO(), 302, "Found", {}, "http://example.org/")
