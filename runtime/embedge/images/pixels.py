"""An image to the square of numbers that an image tower takes.

To the pixel what the models' own code does (jina-clip-v2, transform.py: torchvision's Resize and
CenterCrop on PIL images, then RGB, then normalizing), with two exceptions:
photos are turned upright, and 16-bit grays keep their shades. Takes PIL images, gives float32
(3, size, size). `from_square`, the arithmetic at its end, needs no Pillow. Knows neither files nor
networks.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedge.images.pillow import RefusedImageError, load_pillow
from embedge.pack.manifest import ImageInput

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112  # EXIF
# Those whose brightest value is known. Modes I and F have none, and Pillow would cut at 255.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
WIDE = ("I;16", "I;16L", "I;16B", "I;16N")


def to_pixels(image: "Image.Image", spec: ImageInput, *, upright: bool) -> NDArray[np.float32]:
    """The pixels of an image as the network takes them.

    Args:
        image: any mode of 1, 8 or 16 bits a channel; the first frame of several. Transparency is
            dropped, so that the color behind it shows, as in the model's own code.
        spec: size and normalization.
        upright: turn it as its EXIF orientation says, as viewers do; the model's own code does
            not, so its vectors of photos that lie on their side differ.

    Returns:
        (3, size, size): red, green and blue, minus `mean`, divided by `std`.

    Raises:
        RefusedImageError: the mode is one whose brightest value is not known.
    """
    return from_square(to_square(image, spec, upright=upright), spec)


def to_square(image: "Image.Image", spec: ImageInput, *, upright: bool) -> NDArray[np.uint8]:
    """What the network sees of an image, as levels: (size, size, 3). See `to_pixels`."""
    return np.asarray(crop(prepare(image, upright=upright), spec.size))


def from_square(square: NDArray[np.uint8], spec: ImageInput) -> NDArray[np.float32]:
    """Levels to pixels: (size, size, 3) -> (3, size, size); or of several, (n, ...) each.

    The exporter fits and gates its graphs on this very arithmetic: three operations in float32,
    each rounded by itself, so that every CPU gives the same bits.
    """
    values = square.astype(np.float32) / np.float32(255)  # (..., S, S, 3), 0 to 1
    values -= np.array(spec.mean, np.float32)
    values /= np.array(spec.std, np.float32)
    return np.ascontiguousarray(np.moveaxis(values, -1, -3))


def prepare(image: "Image.Image", *, upright: bool) -> "Image.Image":
    """An image in a mode of 8 bits, upright."""
    turning = _turning(image) if upright else None
    if image.mode in WIDE:
        # Pillow would cut at 255, which leaves a white image.
        shades = np.asarray(image).astype(np.uint32)
        image = load_pillow().fromarray(((shades * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode not in MODES:
        raise RefusedImageError(
            f"has Pillow's mode {image.mode!r}, whose brightest value is not known; scale it to 8 "
            "bits first"
        )
    return image if turning is None else image.transpose(turning)


def crop(image: "Image.Image", size: int) -> "Image.Image":
    """Resizes the shorter edge to `size`, cuts the middle out, and only then makes it RGB.

    In this order: palettes and transparent edges come out otherwise if RGB comes first.
    """
    width, height = resized(*image.size, size)
    if (width, height) != image.size:
        image = image.resize((width, height), load_pillow().Resampling.BICUBIC)
    # round is half to even, as in torchvision.
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    square = image.crop((left, top, left + size, top + size))
    square.info.pop("transparency", None)  # it only makes `convert` warn that it drops it
    return square.convert("RGB")


def resized(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height once the shorter edge is `size`; the longer one is cut to a whole number."""
    if width <= height:
        return size, size * height // width
    return size * width // height, size


def _turning(image: "Image.Image") -> Any:
    """The operation that turns an image upright; None where it is, or says nothing that counts."""
    try:
        orientation = int(image.getexif().get(ORIENTATION) or 1)
    except Exception:  # EXIF that cannot be read is no reason to refuse the image
        return None
    operations = load_pillow().Transpose
    return {
        2: operations.FLIP_LEFT_RIGHT,
        3: operations.ROTATE_180,
        4: operations.FLIP_TOP_BOTTOM,
        5: operations.TRANSPOSE,
        6: operations.ROTATE_270,
        7: operations.TRANSVERSE,
        8: operations.ROTATE_90,
    }.get(orientation)
