"""Fetches an image by http or https, within bounds of time and size.

Takes a URL, gives the bytes. Only http and https are followed, also by redirects: there is no
handler for files, FTP or anything else. Which hosts a program may reach is for its network to
decide; embedge fetches nothing unless it is told to (`allow_urls=True`).
"""

import http.client
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

SILENCE = 10.0  # seconds that a server may say nothing
LONGEST = 60.0  # seconds for all of it
CHUNK = 2**16
LONGEST_REASON = 200  # characters of a server's own words


class UrlError(Exception):
    """Why a URL gave no bytes."""


def fetch(url: str, *, most: int, cancel: threading.Event | None = None) -> bytes:
    """The bytes behind a URL, at most `most`.

    Raises:
        UrlError: it is malformed, the server refuses, is too slow, or sends too much.
    """
    end = time.monotonic() + LONGEST
    headers = {"User-Agent": "embedge", "Accept": "image/*"}
    try:
        request = urllib.request.Request(url, headers=headers)
        with _opener().open(request, timeout=SILENCE) as response:
            parts: list[bytes] = []
            size = 0
            while part := response.read1(CHUNK):
                size += len(part)
                if size > most:
                    raise UrlError(f"cannot be fetched: the server sends more than {most:,} bytes")
                if time.monotonic() > end:
                    raise UrlError(
                        f"cannot be fetched: the server takes longer than {LONGEST:.0f} s"
                    )
                if cancel is not None and cancel.is_set():
                    raise UrlError("was cancelled")
                parts.append(part)
            missing = response.length  # what the server promised and did not send
    except urllib.error.HTTPError as error:
        error.close()
        words = str(error.reason)[:LONGEST_REASON]
        raise UrlError(f"cannot be fetched: the server answers {error.code} {words}") from None
    except TimeoutError:
        raise UrlError(f"cannot be fetched: the server says nothing for {SILENCE:.0f} s") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UrlError(f"cannot be fetched: {reason}") from None
    if missing:
        raise UrlError(f"cannot be fetched: the connection broke, {missing:,} bytes are missing")
    return b"".join(parts)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Follows to http and https only; the standard handler knows FTP too."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https"):
            told = f"{msg}, to {scheme}://, which is not followed"
            raise urllib.error.HTTPError(req.full_url, code, told, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # Not build_opener, which adds handlers for file: and ftp: by itself.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener
