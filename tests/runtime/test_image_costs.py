"""Images that would take minutes are refused by what their files show; a reason is never empty."""

import io
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from embedge.images import costly
from embedge.images.pillow import RefusedImageError, decode
from embedge.images.sources import open_source
from embedge.reasons import reason_of


def load(source: Any) -> tuple[int, int]:
    with open_source(source, allow_urls=False) as image:
        decode(image, shared=image is source)
        return image.size


def jpeg(scans: int, **options: Any) -> bytes:
    """A JPEG that repeats its last scan."""
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "JPEG", progressive=True, **options)
    data = stream.getvalue()
    starts = [match.start() for match in re.finditer(b"\xff\xda", data)]
    return data[:-2] + data[starts[-1] : -2] * (scans - len(starts)) + data[-2:]


def test_a_jpeg_of_many_scans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(costly, "MOST_SCANNED", 64 * 64 * 50)
    assert load(jpeg(50)) == (64, 64)
    with pytest.raises(RefusedImageError, match=r"a JPEG of 600 scans, 64 x 64 .*limit is 50 "):
        load(jpeg(600))
    (tmp_path / "a.jpg").write_bytes(jpeg(600))
    with pytest.raises(RefusedImageError, match="600 scans"):
        load(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as own, pytest.raises(RefusedImageError, match="600 scans"):
        load(own)


def test_scans_elsewhere_in_a_jpeg_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a preview, or in what stands behind the image."""
    monkeypatch.setattr(costly, "MOST_SCANNED", 0)
    previews = jpeg(8, comment=b"\xff\xda\0\2" * 9000) + jpeg(600)
    assert load(previews) == (64, 64)


def gif(extensions: bytes) -> bytes:
    stream = io.BytesIO()
    Image.new("P", (20, 20)).save(stream, "GIF")
    data = stream.getvalue()
    place = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    return data[:place] + extensions + data[place:]


def tiff(tags: int, size: int) -> bytes:
    """A gray pixel, and tags that all point at the same bytes."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 1)]
    start = 8 + 2 + 12 * (len(entries) + tags) + 4
    entries += [(40_000 + number, 7, size, start) for number in range(tags)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + bytes(size)


MANY = 120_000
ENDLESS = {
    "a comment of a PPM": b"P6 #" + b"x" * MANY + b"\n2 2 255\n" + bytes(12),
    "comments of a PPM": b"P5 " + b"#\n" * MANY + b"2 2 255\n" + bytes(4),
    "segments of a JPEG": jpeg(8)[:2] + b"\xff\xfe\0\2" * MANY + jpeg(8)[2:],
    "padding of a JPEG": jpeg(8)[:2] + b"\xff" * MANY + jpeg(8)[2:],
    "blocks of a GIF": gif(b"\x21\xfe" + b"\1x" * MANY + b"\0"),
    "extensions of a GIF": gif(b"\x21\xfe\0" * MANY),
    "boxes of a JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08free" * MANY,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_header_without_end(name: str) -> None:
    with pytest.raises(RefusedImageError, match="takes too long to read: its header has more than"):
        load(ENDLESS[name])


@pytest.mark.filterwarnings("ignore:Tag data larger than file")  # where Pillow itself sees it
def test_a_header_that_reads_the_same_bytes_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(costly, "MOST_HEADER", 1000)
    assert load(tiff(1, 500)) == (1, 1)
    file = costly.Metered(io.BytesIO(bytes(5000)))
    for _ in range(6):
        file.seek(0)
        file.read(1000)
    with pytest.raises(costly.CostlyError, match="again and again"):
        file.read(1000)
    file.on = False
    assert len(file.read()) == 3000


def test_headers_that_are_fine() -> None:
    assert load(b"P6 # by hand\n200 200\n# comment\n255\n" + b"#" * 120_000) == (200, 200)
    assert load(b"P4 800 800\n" + bytes(80_000)) == (800, 800)


def test_what_is_decoded_in_python_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled = b"P6 20 20 1023\n" + bytes(2400)
    plain = b"P3 20 20 255\n" + b"1 " * 1200
    run_lengths = b"\x14\x05\0\0" * 20 + b"\0\1"
    bitmap = b"BM" + struct.pack("<IHHI", 1078 + len(run_lengths), 0, 0, 1078)
    bitmap += struct.pack("<IiiHHIIiiII", 40, 20, 20, 1, 8, 1, len(run_lengths), 0, 0, 256, 0)
    bitmap += bytes(1024) + run_lengths
    for data in (scaled, plain, bitmap):
        assert load(data) == (20, 20)
    monkeypatch.setattr(costly, "MOST_SAMPLES", 1199)
    monkeypatch.setattr(costly, "MOST_TEXT", 1000)
    with pytest.raises(RefusedImageError, match="1,200 samples"):
        load(scaled)
    for data in (plain, bitmap):
        with pytest.raises(RefusedImageError, match=r"bytes in a form that is read one by one"):
            load(data)


def test_comments_in_a_plain_image_are_counted() -> None:
    """Each costs a copy of what is left of a megabyte."""
    with pytest.raises(RefusedImageError, match="more than 1,000 comments"):
        load(b"P3 20 20 255\n" + b"#\n" * 1100 + b"1 " * 1200)


def test_a_closed_image_has_a_reason(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    opened = Image.open(tmp_path / "a.png")
    loaded = Image.open(tmp_path / "a.png")
    loaded.load()
    made = Image.new("RGB", (4, 4))
    for image in (opened, loaded, made):
        image.close()
        with pytest.raises(RefusedImageError, match="was closed; pass it before"):
            load(image)


def test_a_reason_is_one_line_of_bounded_length_and_never_empty() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert reason_of(AssertionError()) == "AssertionError"
    assert reason_of(ValueError(" \n ")) == "ValueError"
    assert reason_of(SilentError()) == "SilentError"
    assert reason_of(ValueError("two\nlines")) == "two lines"
    assert len(reason_of(ValueError("x" * 10_000))) < 400
