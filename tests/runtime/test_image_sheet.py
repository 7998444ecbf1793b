"""The contact sheet: where pictures and captions stand."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedge.images.sheet import COLUMNS, GAP, LINE, LINES, MOST, PICTURE, draw_sheet


def at(sheet: Image.Image, index: int) -> tuple[int, int]:
    """The middle of a picture's lower edge, where every picture reaches."""
    columns = (sheet.width - GAP) // (PICTURE + GAP)
    left = GAP + index % columns * (PICTURE + GAP)
    top = GAP + index // columns * (PICTURE + LINES * LINE + GAP)
    return left + PICTURE // 2, top + PICTURE - 3


@pytest.mark.parametrize("count", [0, 1, COLUMNS, COLUMNS + 1, 3 * COLUMNS])
def test_pictures_stand_row_by_row(count: int) -> None:
    colors = [(10 * number, 255 - 10 * number, 99) for number in range(count)]
    sheet = draw_sheet([(Image.new("RGB", (30, 20), color), ("a",)) for color in colors])
    assert [sheet.getpixel(at(sheet, index)) for index in range(count)] == colors
    rows = max(1, -(-count // COLUMNS))
    assert sheet.height == rows * (PICTURE + LINES * LINE + GAP) + GAP


def test_sources_of_every_mode_and_shape(tmp_path: Path) -> None:
    sources = [
        Image.new(mode, size)
        for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "LAB", "I;16")
        for size in ((1, 1), (1, 60), (500, 300))
    ]
    transparent = Image.new("P", (30, 30))
    transparent.info["transparency"] = bytes(256)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sheet = draw_sheet([(source, ("name",)) for source in [*sources, transparent]])
    assert sheet.mode == "RGB"
    assert sheet.getpixel(at(sheet, len(sources))) == (255, 255, 255)  # people see the paper


def test_a_large_photo_is_upright_and_small(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    halves = np.zeros((3000, 2000, 3), np.uint8)
    halves[:1500] = (200, 0, 0)
    Image.fromarray(halves).save(tmp_path / "a.jpg", exif=exif)
    sheet = draw_sheet([(tmp_path / "a.jpg", ("a",))])
    red, _, _ = sheet.getpixel(at(sheet, 0))  # type: ignore[misc]
    assert red > 190


def test_what_cannot_be_read_leaves_a_frame_and_odd_names_do_no_harm() -> None:
    captions = ["a\x1b[31m\n", "日本語 🚲 " * 40, "x" * 5000, "", "\ud800"]
    sheet = draw_sheet([(b"no image", (caption, caption, "too many")) for caption in captions])
    assert sheet.getpixel((GAP, GAP)) != (255, 255, 255)
    ink = np.asarray(sheet.convert("L"))[GAP + PICTURE :, GAP : GAP + PICTURE]
    assert (ink < 128).any()
    column = np.asarray(sheet.convert("L"))[:, GAP + PICTURE + 1 : 2 * GAP + PICTURE - 1]
    assert (column == 255).all()  # no caption runs into the next


def test_the_number_is_bounded() -> None:
    small = Image.new("RGB", (2, 2))
    sheet = draw_sheet([(small, ())] * (MOST + 50))
    assert sheet.height == -(-MOST // COLUMNS) * (PICTURE + LINES * LINE + GAP) + GAP
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
