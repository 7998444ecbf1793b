"""Fetches an image by http or https, within bounds of time and size.

Takes a URL, gives the bytes. Only http and https are followed, also by redirects: there is no
handler for files, FTP or anything else. Which hosts a program may reach is for its network to
decide; embedge fetches nothing unless it is asked to (`allow_urls=True`).
"""

import contextlib
import http.client
import ipaddress
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from embedge.reasons import reason_of

SILENCE = 10.0  # seconds that a server may say nothing
LONGEST = 60.0  # seconds for all of it
CHUNK = 2**16
POLL = 0.05  # seconds between two looks at `cancel`

Connect = Callable[..., socket.socket]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
LONGEST_REASON = 200  # characters of a server's own words


class UrlError(Exception):
    """Why a URL gave no bytes."""


def fetch(
    url: str, *, most: int, cancel: threading.Event | None = None, public: bool = False
) -> bytes:
    """The bytes behind a URL, at most `most`.

    LONGEST holds for all of it: looking the name up, connecting, redirects, headers and whatever
    else the server sends, however slowly. The work is done in a thread of its own, which is not
    waited for once the time is up or `cancel` is set: its socket is shut down, and it ends.

    Args:
        url: http or https.
        most: bytes.
        cancel: set it from another thread to stop.
        public: for URLs that strangers choose: https only, and only addresses of the public
            internet. Each is looked at when it is connected to, after its name was resolved and
            after each redirect; proxies of the environment are not used.

    Raises:
        UrlError: it is malformed, the server refuses, is too slow, or sends too much.
    """
    if cancel is not None and cancel.is_set():
        raise UrlError("was cancelled")  # no connection is opened
    end = time.monotonic() + LONGEST
    download = _Download(url, most, public=public)
    thread = threading.Thread(target=download.run, name="embedge-fetch", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # too many threads, or the program ends
        raise UrlError(f"cannot be fetched: {error}") from None
    try:
        while not download.done.wait(min(POLL, max(0.0, end - time.monotonic()))):
            if cancel is not None and cancel.is_set():
                raise UrlError("was cancelled")
            if time.monotonic() >= end:
                raise UrlError(f"cannot be fetched: it takes longer than {LONGEST:.0f} s")
    finally:
        download.stop()
    if download.error is not None:
        raise download.error
    return download.data


class _Download:
    """One fetch, run in a thread of its own. `stop` may be called from another at any time.

    Attributes:
        done: set at the end, however it came.
        data: the bytes, unless there is an
        error: why there are none.
    """

    def __init__(self, url: str, most: int, *, public: bool = False) -> None:
        self._public = public
        self._url = url
        self._most = most
        self._lock = threading.Lock()  # of the two below
        self._socket: socket.socket | None = None  # the present one
        self._stopped = False
        self.done = threading.Event()
        self.data = b""
        self.error: UrlError | None = None

    def run(self) -> None:
        """Fetches, and never raises."""
        try:
            self.data = self._read()
        except UrlError as error:
            self.error = error
        except urllib.error.HTTPError as error:
            error.close()
            words = str(error.reason)[:LONGEST_REASON]
            self.error = UrlError(f"cannot be fetched: the server answers {error.code} {words}")
        except TimeoutError:
            self.error = UrlError(f"cannot be fetched: the server says nothing for {SILENCE:.0f} s")
        except BaseException as error:  # OSError, HTTPException, ValueError; a thread has no caller
            inner = getattr(error, "reason", None)
            reason = reason_of(inner if isinstance(inner, BaseException) else error)
            self.error = UrlError(f"cannot be fetched: {reason}")
        finally:
            self.done.set()

    def stop(self) -> None:
        """Ends whatever the thread waits for at its socket, now and later."""
        with self._lock:
            self._stopped = True
            self._release(shut=True)

    def _read(self) -> bytes:
        headers = {"User-Agent": "embedge", "Accept": "image/*"}
        request = urllib.request.Request(self._url, headers=headers)
        parts: list[bytes] = []
        size = 0
        with opener(self._connect, public=self._public).open(request, timeout=SILENCE) as response:
            while part := response.read1(CHUNK):
                size += len(part)
                if size > self._most:
                    raise UrlError(
                        f"cannot be fetched: the server sends more than {self._most:,} bytes"
                    )
                parts.append(part)
            missing = response.length  # what the server promised and did not send
        if missing:
            raise UrlError(
                f"cannot be fetched: the connection broke, {missing:,} bytes are missing"
            )
        return b"".join(parts)

    def _connect(self, address: tuple[str, int], timeout: float, *_: Any) -> socket.socket:
        """`socket.create_connection`, whose socket `stop` knows before it connects."""
        failure = OSError(f"{address[0]} has no address")
        for found in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            if self._public and not is_public(str(found[4][0])):
                raise UrlError("is not on the public internet, and is not fetched")
            connection = socket.socket(*found[:3])
            try:
                self._hold(connection)
                connection.settimeout(timeout)
                connection.connect(found[4])
            except OSError as error:
                connection.close()
                failure = error
            else:
                return connection
        raise failure

    def _hold(self, connection: socket.socket) -> None:
        """Keeps a second handle of a connection: TLS takes the first one over."""
        with self._lock:
            if self._stopped:
                connection.close()
                raise UrlError("was stopped")
            self._release(shut=False)
            self._socket = connection.dup()

    def _release(self, *, shut: bool) -> None:
        if self._socket is not None:
            if shut:
                with contextlib.suppress(OSError):  # it was never connected, or is already
                    self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Follows to these schemes only; the standard handler knows FTP too."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in self._schemes:
            reason = f"{msg}, to {scheme}://, which is not followed"
            raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Http(urllib.request.HTTPHandler):
    """Plain HTTP over the sockets that `connect` makes."""

    def __init__(self, connect: Connect) -> None:
        super().__init__()
        self._connect = connect

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def make(host: str, **options: Any) -> http.client.HTTPConnection:
            return _with_sockets(http.client.HTTPConnection(host, **options), self._connect)

        return self.do_open(make, req)


class _Https(urllib.request.HTTPSHandler):
    """The same with TLS."""

    def __init__(self, connect: Connect) -> None:
        super().__init__()
        self._connect = connect

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def make(host: str, **options: Any) -> http.client.HTTPConnection:
            return _with_sockets(http.client.HTTPSConnection(host, **options), self._connect)

        return self.do_open(make, req)


def _with_sockets(
    connection: http.client.HTTPConnection, connect: Connect
) -> http.client.HTTPConnection:
    # The one place of http.client where a connection can be given its socket.
    connection._create_connection = connect  # type: ignore[attr-defined]
    return connection


def opener(
    connect: Connect = socket.create_connection, *, public: bool = False
) -> urllib.request.OpenerDirector:
    """What opens http and https, and follows redirects to these alone.

    Args:
        connect: makes the sockets.
        public: https only, and no proxy of the environment.
    """
    # Not build_opener, which adds handlers for file: and ftp: by itself.
    director = urllib.request.OpenerDirector()
    handlers = [
        _Https(connect),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(("https",) if public else ("http", "https")),
    ]
    if not public:
        handlers += [_Http(connect), urllib.request.ProxyHandler()]
    for handler in handlers:
        director.add_handler(handler)
    return director


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, and holds none that does not.

    Some IPv6 addresses carry an IPv4 one, which a gateway may connect to.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.teredo is not None:
            return False
    return ip.is_global and not ip.is_multicast
