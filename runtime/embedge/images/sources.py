"""What a caller may give as an image, opened and checked: paths, bytes, data URIs, URLs, arrays.

Gives PIL images whose header was read and whose size is sane; pixels are decoded by whoever asks
for them. Whatever is wrong with one source is a `RefusedImageError` with the reason, so that the
others are not lost. Knows nothing of a model.
"""

import base64
import contextlib
import functools
import io
import os
import re
import stat
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Set
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedge.errors import ImageError, MissingExtraError
from embedge.fork_locks import ForkLock
from embedge.images.costly import CostlyError, Metered, costly
from embedge.images.png_chunks import TooManyChunksError, without_bulky_metadata
from embedge.printable import printable
from embedge.reasons import reason_of

if TYPE_CHECKING:
    from PIL import Image

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]"
Images: TypeAlias = "ImageSource | Iterable[ImageSource]"

# Pillow reads some forty formats; these are what photos, screens and scans come in. Left out are
# those that start a program (EPS) and those of games, microscopes and weather services.
# HEIF is there once a plugin such as pi-heif was registered.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "BMP", "TIFF", "PPM", "JPEG2000")
# Decoded it takes 4 bytes a pixel: 342 MiB. The same number as Pillow's own, kept here because
# Pillow's is the host program's to change.
MAX_PIXELS = 2**30 // 4 // 3
MAX_BYTES = 64 * 2**20  # of a file behind a URL or in a data URI
# The shorter edge becomes the model's size, so an image of 1 x 100,000 would grow to gigabytes for
# the sake of its middle. A whole web page as one screenshot has a ratio of some 40.
MOST_RATIO = 64

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(//)?", re.IGNORECASE)
_DATA = re.compile(r"data:image/[\w.+-]+(;[\w.=+-]+)*;base64,", re.IGNORECASE | re.ASCII)
# Decoding changes a PIL image that was opened and not loaded, and the caller may have given it
# twice.
_CALLERS_IMAGES = ForkLock()


class RefusedImageError(Exception):
    """Why a source is no image that can be embedded; for `ImageError.items`.

    Names of files and words of servers are in it, and callers print it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(printable(reason))


@functools.cache
def load_pillow() -> ModuleType:
    """The module PIL.Image, its formats registered.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "PIL":
            raise
        raise MissingExtraError(
            'images need Pillow, which is not installed; `pip install "embedge[image]"`'
        ) from None
    Image.init()
    return Image


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
        raise ImageError([(0, f"{_kind(images)} is no image and no list of images")])
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
    """The image that a source means, with a sane size, its pixels not decoded yet.

    Whatever goes wrong within the `with` block, where the pixels are decoded, is the source's
    fault too.

    Raises:
        RefusedImageError: the reason.
    """
    name = source_name(source)
    try:
        with contextlib.ExitStack() as stack:
            image = _open(source, stack, allow_urls=allow_urls, cancel=cancel)
            _check_shape(image.size)
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


def decode(image: "Image.Image", *, shared: bool) -> None:
    """Decodes the pixels of an image that was opened.

    Args:
        image: from `open_source`.
        shared: it is the caller's own, and another thread may have it too.
    """
    with _CALLERS_IMAGES if shared else contextlib.nullcontext():
        size = image.size
        if reason := costly(image):
            raise RefusedImageError(f"takes too long to read: {reason}")
        image.load()
        with contextlib.suppress(Exception):
            image.getexif()  # kept with the image; see ORIENTATION in pixels.py
    if image.size != size:
        raise RefusedImageError(f"says it is {size[0]} x {size[1]} and holds another size")


def source_name(source: object) -> str:
    """How messages call a source."""
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        text = text if isinstance(text, str) else os.fsdecode(text)
        return repr(text if len(text) <= 120 else f"{text[:60]}…")
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
        if _is_closed(own):
            raise RefusedImageError("was closed; pass it before you close it, or pass a copy")
        return own
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read(io.BytesIO(source), stack)
    if isinstance(source, str):
        if _is_url(source, allow_urls=allow_urls):
            return _read(io.BytesIO(_fetch(source, cancel)), stack)
        if source[:5].lower() == "data:":
            return _read(io.BytesIO(_from_data_uri(source)), stack)
    if isinstance(source, (str, os.PathLike)):
        return _read(stack.enter_context(_open_file(source)), stack)
    raise RefusedImageError(
        "is no image; give a path, bytes, a data URI, a PIL image or a uint8 array (H, W[, 3 or 4])"
    )


def _read(stream: Any, stack: contextlib.ExitStack) -> "Image.Image":
    pillow = load_pillow()
    try:
        file = Metered(without_bulky_metadata(stream))
        image: Image.Image = pillow.open(
            file, formats=[name for name in FORMATS if name in pillow.OPEN]
        )
        file.on = False
    except (CostlyError, TooManyChunksError) as error:
        raise RefusedImageError(f"takes too long to read: {error}") from None
    except pillow.DecompressionBombError:
        raise RefusedImageError(_too_large("it has more pixels than Pillow reads")) from None
    except pillow.UnidentifiedImageError:
        known = ", ".join(name for name in FORMATS if name in pillow.OPEN and name != "MPO")
        raise RefusedImageError(f"is no image that can be read here ({known})") from None
    stack.enter_context(image)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RefusedImageError(_too_large(f"{width:,} x {height:,} pixels"))
    return image


def _is_closed(image: "Image.Image") -> bool:
    """Whether a caller's image was closed; Pillow puts an error where its pixels were."""
    held = vars(image).get("_im", vars(image).get("im"))  # since Pillow 11, and before
    return type(held).__name__ == "DeferredError"


def _too_large(found: str) -> str:
    return (
        f"is too large ({found}, the limit is {MAX_PIXELS:,}); make it smaller, or open it "
        "yourself and pass the PIL image"
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
            raise RefusedImageError("is a pipe, socket or device, no file")
        stack.pop_all()
    return os.fdopen(descriptor, "rb")


def _from_array(array: NDArray[Any]) -> "Image.Image":
    if array.dtype != np.uint8:
        # 0 to 1 and 0 to 255 are both common, and the wrong one gives a black image.
        raise RefusedImageError(f"has dtype {array.dtype}; give uint8, 0 to 255")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise RefusedImageError(f"has shape {array.shape}; give (H, W), (H, W, 3) or (H, W, 4)")
    _check_shape((array.shape[1], array.shape[0]))
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
        raise RefusedImageError("is no data URI of an image: data:image/…;base64,…")
    if len(uri) > MAX_BYTES * 4 // 3:
        raise RefusedImageError(f"holds more than {MAX_BYTES // 2**20} MiB")
    body = urllib.parse.unquote(uri[header.end() :])
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError as error:
        raise RefusedImageError(f"is no valid base64: {error}") from None


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


def _check_shape(size: tuple[int, int]) -> None:
    short, long = sorted(size)
    if short < 1:
        raise RefusedImageError("has no pixels")
    if long > MOST_RATIO * short:
        raise RefusedImageError(
            f"is {size[0]:,} x {size[1]:,} pixels: one edge is more than {MOST_RATIO} times the "
            "other, and the model would see its middle only; cut it into pieces"
        )


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"array {value.shape}"
    return type(value).__name__
