"""Fetching, against a server on this machine."""

import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from embedge.images import sources, urls
from embedge.images.sources import RefusedImageError, open_source


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
