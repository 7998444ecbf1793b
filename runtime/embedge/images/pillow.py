"""Pillow, which opens images: imported when it is first needed, and held within bounds.

Takes streams, gives PIL images whose header was read; pixels are decoded when asked for. An image
that cannot be used is a `RefusedImageError` with the reason. Knows no path and no URL.
"""

import contextlib
import functools
from types import ModuleType
from typing import TYPE_CHECKING, Any

from embedge.errors import MissingExtraError
from embedge.fork_locks import ForkLock
from embedge.images.costly import CostlyError, Metered, costly
from embedge.images.png_chunks import TooManyChunksError, without_bulky_metadata
from embedge.printable import printable

if TYPE_CHECKING:
    from PIL import Image

# Pillow reads some forty formats; these are what photos, screens and scans come in. Left out are
# those that start a program (EPS) and those of games, microscopes and weather services.
# HEIF is there once a plugin such as pi-heif was registered.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "BMP", "TIFF", "PPM", "JPEG2000")
# Decoded it takes 4 bytes a pixel: 342 MiB. The same number as Pillow's own, kept here because
# Pillow's is the host program's to change.
MAX_PIXELS = 2**30 // 4 // 3
# The shorter edge becomes the model's size, so an image of 1 x 100,000 would grow to gigabytes for
# the sake of its middle. A whole web page as one screenshot has a ratio of about 40.
MOST_RATIO = 64

# Decoding changes a PIL image that was opened and not loaded, and the caller may have given it
# twice.
_CALLERS_IMAGES = ForkLock()


class RefusedImageError(Exception):
    """Why a source is not an image that can be embedded; for `ImageError.items`.

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


def read_image(stream: Any, stack: contextlib.ExitStack) -> "Image.Image":
    """Opens an image and reads its header.

    Args:
        stream: of a file; it stays open with the stack.
        stack: closes the image.

    Raises:
        RefusedImageError: it is not an image, or takes too long to read, or is too large.
    """
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
        raise RefusedImageError(f"is not an image that can be read here ({known})") from None
    stack.enter_context(image)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise RefusedImageError(_too_large(f"{width:,} x {height:,} pixels"))
    return image


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


def check_shape(size: tuple[int, int]) -> None:
    """Refuses an image without pixels, or one of which the model would see a sliver.

    Raises:
        RefusedImageError: the reason.
    """
    short, long = sorted(size)
    if short < 1:
        raise RefusedImageError("has no pixels")
    if long > MOST_RATIO * short:
        raise RefusedImageError(
            f"is {size[0]:,} x {size[1]:,} pixels: one edge is more than {MOST_RATIO} times the "
            "other, and the model would see its middle only; cut it into pieces"
        )


def is_closed(image: "Image.Image") -> bool:
    """Whether a caller's image was closed; Pillow puts an error where its pixels were."""
    held = vars(image).get("_im", vars(image).get("im"))  # since Pillow 11, and before
    return type(held).__name__ == "DeferredError"


def _too_large(found: str) -> str:
    return (
        f"is too large ({found}, the limit is {MAX_PIXELS:,}); make it smaller, or open it "
        "yourself and pass the PIL image"
    )
