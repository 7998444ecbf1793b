"""Images of requests: fetched where that is allowed, decoded within the owner's limits.

Takes what a client sent and gives what the network sees, (size, size, 3). Never opens a file of
this machine, whatever a client writes.
"""

import base64
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.images.pillow import RefusedImageError, decode
from embedge.images.pixels import to_square
from embedge.images.sources import open_source
from embedge.images.urls import UrlError, fetch
from embedge.pack.manifest import ImageInput
from embedge.server.settings import Settings
from embedge.server.work import Picture


def fetch_picture(url: str, settings: Settings, cancel: threading.Event) -> bytes:
    """The file behind a URL of a client.

    Raises:
        RefusedImageError: the owner does not allow URLs, or this one gives no file.
    """
    if not settings.allow_urls:
        raise RefusedImageError(
            "is a URL, and this server fetches none; send the image itself, as base64 or a data "
            "URI (its owner can start it with --allow-urls)"
        )
    if not url.startswith("https://"):
        raise RefusedImageError("is not an https URL, and no other is fetched")
    try:
        return fetch(url, most=settings.image_bytes, cancel=cancel, public=True)
    except UrlError as error:
        raise RefusedImageError(str(error)) from None


def square_of(
    source: bytes, spec: ImageInput, settings: Settings, *, upright: bool, cancel: threading.Event
) -> NDArray[np.uint8]:
    """A file's bytes as the network sees the image: the same as in `Embedder.encode_image`.

    Raises:
        RefusedImageError: it is no image, a damaged one, or one beyond the limits.
    """
    if len(source) > settings.image_bytes:
        raise RefusedImageError(
            f"has {len(source):,} bytes, and the limit is {settings.image_bytes:,}"
        )
    with open_source(source, allow_urls=False, cancel=cancel) as image:
        _check_pixels(image, settings.image_pixels)
        decode(image, shared=False)
        return to_square(image, spec, upright=upright)


def is_picture(text: str) -> bool:
    """Whether a plain string of a request is an image: a data URI of one."""
    return text[:11].lower() == "data:image/"


def picture_of(text: str) -> Picture:
    """What a client means by a string that stands for an image.

    Args:
        text: an http(s) URL, a data URI, or base64 without anything before it.

    Raises:
        ValueError: it is none of them.
    """
    if text[:8].lower().startswith(("http://", "https://")):
        return Picture(text)
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise ValueError("is a data URI without base64: data:image/…;base64,…")
    if "%" in text[-12:]:  # padding, escaped as in a URL
        text = text.replace("%3D", "=").replace("%3d", "=")
    try:
        return Picture(base64.b64decode("".join(text.split()), validate=True))
    except ValueError:
        raise ValueError("is neither a URL, nor a data URI, nor base64") from None


def _check_pixels(image: Any, most: int) -> None:
    width, height = image.size
    if width * height > most:
        raise RefusedImageError(
            f"has {width:,} x {height:,} pixels, and the limit is {most:,}; make it smaller"
        )
