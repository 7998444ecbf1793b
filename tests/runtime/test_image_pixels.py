"""Preprocessing, against the documented algorithm written down a second time, and by hand."""

import io
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embedge.images.pillow import RefusedImageError
from embedge.images.pixels import crop, from_square, prepare, resized, to_pixels
from embedge.pack.manifest import ImageInput

CLIP = ImageInput(
    size=512,
    resize="shortest",
    interpolation="bicubic",
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    fill=0,
    per_image=0,
)


def photo(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth shapes with noise: edges and flat parts, as photos have."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (5, 7, 4), np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    noise = generator.integers(-9, 10, (height, width, 4))
    noisy = np.clip(np.asarray(image).astype(int) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(noisy).convert("RGBA").convert(mode)


def by_the_book(image: Image.Image, spec: ImageInput = CLIP) -> Any:
    """torchvision's Resize, CenterCrop, RGB, ToTensor and Normalize, as their documents say."""
    width, height = image.size
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = spec.size, int(spec.size * long / short)
    new = (new_short, new_long) if width <= height else (new_long, new_short)
    image = image.resize(new, Image.Resampling.BICUBIC)
    top = int(round((new[1] - spec.size) / 2.0))  # noqa: RUF046
    left = int(round((new[0] - spec.size) / 2.0))  # noqa: RUF046
    image = image.crop((left, top, left + spec.size, top + spec.size)).convert("RGB")
    values = np.asarray(image).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (spec.mean, spec.std))
    return (values - mean) / std


@pytest.mark.parametrize(
    "size",
    [(640, 480), (481, 640), (512, 512), (513, 512), (512, 515), (1, 1), (3, 100), (1337, 900)],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "YCbCr"])
def test_the_pixels_are_those_of_the_documented_steps(size: tuple[int, int], mode: str) -> None:
    image = photo(*size, mode)
    given_pixels = np.asarray(image).copy()
    pixels = to_pixels(image, CLIP, upright=True)
    assert pixels.shape == (3, 512, 512)
    assert pixels.dtype == np.float32
    assert pixels.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(pixels, by_the_book(image))
    assert image.mode == mode  # the caller's image is as it was
    np.testing.assert_array_equal(np.asarray(image), given_pixels)


@pytest.mark.parametrize(
    ("excess", "first"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (6, 3), (7, 4)]
)
def test_the_middle_starts_where_half_to_even_says(excess: int, first: int) -> None:
    """An image of the right height is not resized: its columns 0, 1, 2 … are its numbers."""
    columns = np.tile(np.arange(8 + excess, dtype=np.uint8), (8, 1))  # (8, 8 + excess)
    assert np.asarray(crop(Image.fromarray(columns), 8))[0, :, 0].tolist() == list(
        range(first, first + 8)
    )
    turned = Image.fromarray(np.ascontiguousarray(columns.T))
    assert np.asarray(crop(turned, 8))[:, 0, 0].tolist() == list(range(first, first + 8))


def test_a_plain_color_can_be_computed_by_hand() -> None:
    spec = ImageInput(
        size=4,
        resize="shortest",
        interpolation="bicubic",
        mean=(0.5, 0.0, 1.0),
        std=(0.5, 2.0, 1.0),
        fill=0,
        per_image=0,
    )
    pixels = to_pixels(Image.new("RGB", (9, 5), (255, 51, 0)), spec, upright=True)
    np.testing.assert_allclose(pixels[:, 0, 0], [1.0, 0.1, -1.0], rtol=1e-6)
    assert (pixels == pixels[:, :1, :1]).all()


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([1, 4, 224, 512]))
def test_the_longer_edge_is_cut_to_a_whole_number(width: int, height: int, size: int) -> None:
    short, long = sorted((width, height))
    expected = (size, int(size * long / short))
    assert sorted(resized(width, height, size)) == sorted(expected)
    assert min(resized(width, height, size)) == size  # so a crop never reaches past the image


def test_rgb_comes_after_the_crop() -> None:
    """The test above would not see it if the order made no difference."""
    image = photo(100, 80, "P")
    early = np.asarray(crop(image.convert("RGB"), 64))
    assert (early != np.asarray(crop(image, 64))).any()


def test_transparency_is_dropped_and_nothing_warns() -> None:
    image = photo(30, 20, "P")
    image.info["transparency"] = bytes(range(256))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_pixels(image, CLIP, upright=True)
    assert "transparency" in image.info
    hidden = Image.new("RGBA", (4, 4), (200, 100, 50, 0))
    assert np.asarray(crop(hidden, 4))[0, 0].tolist() == [200, 100, 50]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_keep_their_shades(form: str) -> None:
    shades = np.array([[0, 257, 32768, 65535]] * 4, np.uint16)
    stream = io.BytesIO()
    Image.fromarray(shades).save(stream, form)
    image = Image.open(stream)
    assert image.mode.startswith("I;16")
    assert np.asarray(prepare(image, upright=True))[0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_mode_without_a_brightest_value_is_refused(mode: str) -> None:
    with pytest.raises(RefusedImageError, match=f"'{mode}'.*8 bits"):
        to_pixels(Image.new(mode, (8, 8)), CLIP, upright=True)


CORNERS = np.array([[10, 20], [30, 40]], np.uint8)
# What a viewer shows for each orientation, by the figure in the EXIF standard.
UPRIGHT = {
    1: [[10, 20], [30, 40]],
    2: [[20, 10], [40, 30]],
    3: [[40, 30], [20, 10]],
    4: [[30, 40], [10, 20]],
    5: [[10, 30], [20, 40]],
    6: [[30, 10], [40, 20]],
    7: [[40, 20], [30, 10]],
    8: [[20, 40], [10, 30]],
    99: [[10, 20], [30, 40]],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photos_are_turned_upright_unless_told_not_to(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(CORNERS).save(stream, "PNG", exif=exif)
    image = Image.open(stream)
    assert np.asarray(prepare(image, upright=True)).tolist() == UPRIGHT[orientation]
    assert np.asarray(prepare(image, upright=False)).tolist() == CORNERS.tolist()


def test_exif_that_cannot_be_read_is_no_reason_to_refuse() -> None:
    stream = io.BytesIO()
    Image.fromarray(CORNERS).save(stream, "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.asarray(prepare(Image.open(stream), upright=True)).tolist() == CORNERS.tolist()


def test_squares_become_pixels_alone_as_together() -> None:
    """What the exporter gates graphs on is what the runtime feeds them, to the bit."""
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    squares = np.stack([levels, levels[::-1], levels.transpose(1, 0, 2)])
    together = from_square(squares, CLIP)
    assert together.shape == (3, 3, 16, 16)
    assert together.flags["C_CONTIGUOUS"]
    mean, std = (np.array(numbers, np.float32) for numbers in (CLIP.mean, CLIP.std))
    expected = (squares.astype(np.float32) / np.float32(255) - mean) / std
    np.testing.assert_array_equal(together, expected.transpose(0, 3, 1, 2))
    for square, pixels in zip(squares, together, strict=True):
        np.testing.assert_array_equal(from_square(square, CLIP), pixels)
