"""What a caller may pass as an image, opened and checked: paths, bytes, data URIs, URLs, arrays.

Gives PIL images whose header was read and whose size is within bounds; their pixels are decoded
later. Whatever is wrong with one source is a `RefusedImageError` with the reason, so that the
others are not lost. Knows nothing of a model.
"""

import base64
import contextlib
import io
import os
import re
import stat
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedge.errors import ImageError
from embedge.images.pillow import (
    RefusedImageError,
    check_shape,
    is_closed,
    load_pillow,
    read_image,
)
from embedge.reasons import reason_of

if TYPE_CHECKING:
    from PIL import Image

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]"
Images: TypeAlias = "ImageSource | Iterable[ImageSource]"

MAX_BYTES = 64 * 2**20  # of a file behind a URL or in a data URI

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(//)?", re.IGNORECASE)
_DATA = re.compile(r"data:image/[\w.+-]+(;[\w.=+-]+)*;base64,", re.IGNORECASE | re.ASCII)


def list_images(images: object) -> tuple[list[Any], bool]:
    """The sources as a list, and whether one image was given rather than several.

    Raises:
        ImageError: it is neither an image nor an ordered iterable.
    """
    pillow = load_pillow()
    single = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview))
    # (H, W) and (H, W, C) are one image, (N, H, W, C) are N.
    single |= isinstance(images, np.ndarray) and images.ndim in (2, 3)
    if single or isinstance(images, pillow.Image):
        return [images], True
    if (
        not isinstance(images, Iterable)
        or isinstance(images, (Mapping, Set))
        or hasattr(images, "read")
    ):
        raise ImageError([(0, f"{_kind(images)} is not an image or a list of images")])
    return list(images), False


def check_source(source: object, *, allow_urls: bool) -> None:
    """Refuses what can be known to be bad without decoding: kind, existence, header, size.

    URLs are checked for being allowed only; what is behind one shows when it is fetched.

    Raises:
        RefusedImageError: the reason.
    """
    if isinstance(source, str) and _is_url(source, allow_urls=allow_urls):
        return
    with open_source(source, allow_urls=allow_urls):
        pass


@contextlib.contextmanager
def open_source(
    source: object, *, allow_urls: bool, cancel: threading.Event | None = None
) -> "Iterator[Image.Image]":
    """The image that a source means, with a size within bounds, its pixels not decoded yet.

    Whatever goes wrong within the `with` block, where the pixels are decoded, is the source's
    fault too.

    Raises:
        RefusedImageError: the reason.
    """
    name = source_name(source)
    try:
        with contextlib.ExitStack() as stack:
            image = _open(source, stack, allow_urls=allow_urls, cancel=cancel)
            check_shape(image.size)
            yield image
    except RefusedImageError as error:
        raise RefusedImageError(f"{name} {error}") from None
    except MemoryError:
        raise RefusedImageError(f"{name} takes more memory than there is") from None
    except OSError as error:
        if error.strerror and error.errno:
            raise RefusedImageError(f"{name} cannot be read: {error.strerror}") from None
        raise RefusedImageError(f"{name} is damaged: {reason_of(error)}") from None
    # A damaged file makes Pillow's readers fail in every way there is (SyntaxError, struct.error,
    # EOFError, IndexError …), and a program that turned warnings into errors adds another.
    except Exception as error:
        raise RefusedImageError(f"{name} is damaged: {reason_of(error)}") from None


def source_name(source: object) -> str:
    """How messages call a source."""
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        text = text if isinstance(text, str) else os.fsdecode(text)
        return repr(text if len(text) <= 120 else f"{text[:60]}…")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "the file"
    return f"the {_kind(source)}"


def _open(
    source: object,
    stack: contextlib.ExitStack,
    *,
    allow_urls: bool,
    cancel: threading.Event | None,
) -> "Image.Image":
    pillow = load_pillow()
    if isinstance(source, pillow.Image):
        own: Image.Image = source
        if is_closed(own):
            raise RefusedImageError("was closed; pass it before you close it, or pass a copy")
        return own
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return read_image(io.BytesIO(source), stack)
    if isinstance(source, str):
        if _is_url(source, allow_urls=allow_urls):
            return read_image(io.BytesIO(_fetch(source, cancel)), stack)
        if source[:5].lower() == "data:":
            return read_image(io.BytesIO(_from_data_uri(source)), stack)
    if isinstance(source, (str, os.PathLike)):
        return read_image(stack.enter_context(_open_file(source)), stack)
    raise RefusedImageError(
        "is not an image; give a path, bytes, a data URI, a PIL image or a uint8 array "
        "(H, W[, 3 or 4])"
    )


def _open_file(path: str | os.PathLike[str]) -> Any:
    """A regular file; never waits for a pipe."""
    flags = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY"))
    try:
        descriptor = os.open(path, os.O_RDONLY | flags)
    except FileNotFoundError:
        raise RefusedImageError("does not exist; give a path, a data URI or a URL") from None
    except (OSError, ValueError) as error:  # a text of a megabyte, a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, IsADirectoryError):
            reason = "it is a folder; list its files"
        raise RefusedImageError(f"cannot be opened: {reason}") from None
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise RefusedImageError("cannot be opened: it is a folder; list its files")
        if not stat.S_ISREG(mode):
            raise RefusedImageError("is a pipe, socket or device, not a file")
        stack.pop_all()
    return os.fdopen(descriptor, "rb")


def _from_array(array: NDArray[Any]) -> "Image.Image":
    if array.dtype != np.uint8:
        # 0 to 1 and 0 to 255 are both common, and the wrong one gives a black image.
        raise RefusedImageError(f"has dtype {array.dtype}; give uint8, 0 to 255")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise RefusedImageError(f"has shape {array.shape}; give (H, W), (H, W, 3) or (H, W, 4)")
    check_shape((array.shape[1], array.shape[0]))
    image: Image.Image = load_pillow().fromarray(array)
    return image


def _fetch(url: str, cancel: threading.Event | None) -> bytes:
    from embedge.images.urls import UrlError, fetch  # a tenth of a second, for the few who need it

    try:
        return fetch(url, most=MAX_BYTES, cancel=cancel)
    except UrlError as error:
        raise RefusedImageError(str(error)) from None


def _from_data_uri(uri: str) -> bytes:
    header = _DATA.match(uri[:200])
    if header is None:
        raise RefusedImageError("is not a data URI of an image: data:image/…;base64,…")
    if len(uri) > MAX_BYTES * 4 // 3:
        raise RefusedImageError(f"holds more than {MAX_BYTES // 2**20} MiB")
    body = urllib.parse.unquote(uri[header.end() :])
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError as error:
        raise RefusedImageError(f"is not valid base64: {error}") from None


def _is_url(text: str, *, allow_urls: bool) -> bool:
    """Whether a text is a URL that may be fetched; another URL is refused."""
    found = _SCHEME.match(text)
    if found is None or (found[2] is None and found[1].lower() not in ("http", "https")):
        return False  # a path, perhaps with a colon in its name, or a data URI
    if found[1].lower() not in ("http", "https"):
        raise RefusedImageError("is a URL of another scheme than http and https")
    if not allow_urls:
        raise RefusedImageError("is a URL; pass allow_urls=True to have it fetched")
    return True


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"array {value.shape}"
    return type(value).__name__
