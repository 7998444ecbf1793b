"""What may be given as an image, and what is said of what may not."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embedge import ImageError
from embedge.images.pillow import RefusedImageError, decode
from embedge.images.sources import check_source, list_images, open_source

COLOR = (10, 200, 30)


def picture(size: tuple[int, int] = (6, 4)) -> Image.Image:
    return Image.new("RGB", size, COLOR)


def encoded(form: str = "PNG", image: Image.Image | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image or picture()).save(stream, form, **options)
    return stream.getvalue()


def uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def read(source: Any) -> Any:
    """The pixels of a source, (H, W, 3)."""
    check_source(source, allow_urls=False)
    with open_source(source, allow_urls=False) as image:
        decode(image, shared=image is source)
        return np.asarray(image.convert("RGB"))


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(RefusedImageError) as caught:
        check_source(source, **{"allow_urls": False, **options})
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a picture.png"
    path.write_bytes(encoded())
    return path


def test_every_kind_of_source_gives_the_same_image(file: Path) -> None:
    data = encoded()
    array = np.asarray(picture())
    sources = [
        file,
        str(file),
        data,
        bytearray(data),
        memoryview(data),
        uri(data),
        uri(data).replace("+", "%2B").replace("/", "%2F").replace("image%2Fpng", "image/png"),
        picture(),
        Image.open(file),
        array,
        np.dstack([array, np.full((4, 6), 9, np.uint8)]),
    ]
    for source in sources:
        pixels = read(source)
        assert pixels.shape == (4, 6, 3), source
        assert (pixels == COLOR).all(), source


def test_a_gray_array_and_one_that_is_not_contiguous() -> None:
    gray = np.arange(24, dtype=np.uint8).reshape(4, 6)
    np.testing.assert_array_equal(read(gray)[:, :, 0], gray)
    np.testing.assert_array_equal(read(gray[:, ::-2])[:, :, 0], gray[:, ::-2])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_the_formats_of_photos_and_screens_are_read(form: str) -> None:
    assert np.abs(read(encoded(form)).astype(int) - COLOR).max() < 8


def test_the_first_frame_counts() -> None:
    other = Image.new("RGB", (6, 4), (250, 0, 0))
    for form in ("GIF", "WEBP", "TIFF", "PNG"):
        options = {} if form in ("TIFF",) else {"duration": 100}
        data = encoded(form, save_all=True, append_images=[other], **options)
        assert np.abs(read(data).astype(int) - COLOR).max() < 20, form


def test_one_image_and_several(file: Path) -> None:
    array = np.zeros((4, 6, 3), np.uint8)
    for single in (file, str(file), b"x", picture(), array, array[:, :, 0]):
        assert list_images(single)[1]
    assert list_images([file, b"x"]) == ([file, b"x"], False)
    assert list_images(path for path in [file]) == ([file], False)
    several, single_image = list_images(np.zeros((5, 4, 6, 3), np.uint8))
    assert (len(several), single_image) == (5, False)
    for nothing in (5, None, {"a": 1}, {"a"}, io.BytesIO(b"x")):
        with pytest.raises(ImageError, match="an image or a list"):
            list_images(nothing)


def test_the_callers_image_stays_open_and_unchanged(file: Path) -> None:
    with Image.open(file) as image:
        assert read(image).shape == (4, 6, 3)
        assert image.size == (6, 4)
        assert image.getpixel((0, 0)) == COLOR
    loaded = picture()
    loaded.info["note"] = "mine"
    read(loaded)
    assert loaded.info == {"note": "mine"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (7, "the int is not an image"),
        (None, "NoneType is not an image"),
        ("nothing here.jpg", "'nothing here.jpg' does not exist"),
        ("", "'' does not exist"),
        ("x" * 100_000, "cannot be opened"),
        ("a\0b", "cannot be opened"),
        (b"", "is not an image that can be read here"),
        (b"just text", "is not an image that can be read here"),
        ("data:image/png;base64,@@@@", "not valid base64"),
        ("data:image/png;base64,AAA", "not valid base64"),
        ("data:image/png,AAAA", "not a data URI of an image"),
        ("data:text/plain;base64,AAAA", "not a data URI of an image"),
        ("data:", "not a data URI of an image"),
        ("data:image/png;base64,AAAA", "not an image that can be read"),
        ("file:///etc/passwd", "another scheme"),
        ("ftp://127.0.0.1/a.png", "another scheme"),
        ("http://127.0.0.1/a.png", "allow_urls=True"),
        ("HTTPS://127.0.0.1/a.png", "allow_urls=True"),
        (np.zeros((4, 4), np.float32), "float32; give uint8"),
        (np.zeros((4, 4), bool), "bool; give uint8"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((4,), np.uint8), r"shape \(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((1, 100, 3), np.uint8), "one edge is more than 64 times"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_image_is_refused_with_its_name_and_the_reason(source: Any, told: str) -> None:
    import re

    assert re.search(told, refused(source)), refused(source)


def test_a_url_that_may_be_fetched_is_not_fetched_by_the_check() -> None:
    check_source("http://127.0.0.1:1/a.png", allow_urls=True)
    assert "another scheme" in refused("file:///etc/passwd", allow_urls=True)


def test_a_folder_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    assert "it is a folder" in refused(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "pipe" in refused(tmp_path / "pipe")


def test_an_unreadable_file_says_why(file: Path) -> None:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        pytest.skip("root reads everything")
    file.chmod(0)
    assert "cannot be opened: Permission denied" in refused(file)


def test_a_link_that_the_caller_names_is_followed(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.png"
    link.symlink_to(file)
    assert read(link).shape == (4, 6, 3)
