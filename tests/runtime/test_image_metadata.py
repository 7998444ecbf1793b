"""Metadata never hides the pixels of a PNG, and Pillow's limits stay as the host set them."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from embedge.images import png_chunks
from embedge.images.pillow import RefusedImageError, decode
from embedge.images.png_chunks import without_bulky_metadata
from embedge.images.sources import open_source

ORANGE = (255, 51, 0)
BOMB = zlib.compress(bytes(3 * 2**20), 9)  # 3 MB in 3 kB


def png(**options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), ORANGE).save(stream, "PNG", **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes, *, checksum: int | None = None) -> bytes:
    check = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", check)


def with_chunks(*chunks: bytes, last: bool = False) -> bytes:
    """A sound PNG with chunks after its header, or before its end."""
    data = png()
    place = len(data) - 12 if last else 33
    return data[:place] + b"".join(chunks) + data[place:]


def pixels(source: Any) -> Any:
    with open_source(source, allow_urls=False) as image:
        decode(image, shared=False)
        return np.asarray(image.convert("RGB"))


BULKY = {
    "profile": [chunk(b"iCCP", b"p\0\0" + BOMB)],
    "compressed text": [chunk(b"zTXt", b"k\0\0" + BOMB)],
    "compressed text in Unicode": [chunk(b"iTXt", b"k\0\1\0en\0key\0" + BOMB)],
    "64 MB of texts": [chunk(b"tEXt", b"k\0" + b"x" * 1_000_000)] * 68,
    "one text of 70 MB": [chunk(b"tEXt", b"k\0" + b"x" * 70_000_000)],
    "texts that unpack to 80 MB": [chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000), 9))]
    * 80,
    "a wrong checksum": [chunk(b"tEXt", b"k\0v", checksum=1), chunk(b"gAMA", b"abcd", checksum=2)],
    "a profile of another method": [chunk(b"iCCP", b"p\0\7" + b"not zlib")],
}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", BULKY)
def test_metadata_that_pillow_refuses_hides_no_pixels(
    tmp_path: Path, name: str, last: bool
) -> None:
    data = with_chunks(*BULKY[name], last=last)
    (tmp_path / "a.png").write_bytes(data)
    assert (pixels(data) == ORANGE).all()
    assert (pixels(tmp_path / "a.png") == ORANGE).all()
    assert (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY) == (2**20, 2**26)


def test_sound_files_are_read_as_they_are() -> None:
    note = PngImagePlugin.PngInfo()
    note.add_text("title", "x" * 1000, zip=True)
    note.add_itxt("XML:com.adobe.xmp", "<x/>", zip=True)
    data = png(pnginfo=note, icc_profile=b"profile" * 100)
    stream = io.BytesIO(data)
    assert without_bulky_metadata(stream) is stream
    assert stream.tell() == 0
    other = io.BytesIO(b"no PNG")
    assert without_bulky_metadata(other) is other


def test_what_is_left_out_is_left_out_and_nothing_else() -> None:
    bulky = chunk(b"zTXt", b"k\0\0" + BOMB)
    small = chunk(b"tEXt", b"Comment\0here")
    data = with_chunks(small, bulky, bulky, small)
    stream = without_bulky_metadata(io.BytesIO(data))
    expected = with_chunks(small, small)
    assert stream.read() == expected
    for start, size in ((0, 8), (30, 20), (len(expected) - 3, 9), (len(expected) + 9, 4)):
        stream.seek(start)
        assert stream.read(size) == expected[start : start + size]
    stream.seek(-12, io.SEEK_END)
    assert stream.read() == expected[-12:]


def test_orientation_survives_a_bulky_neighbor() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png(exif=exif)
    data = data[:33] + BULKY["profile"][0] + data[33:]
    with open_source(data, allow_urls=False) as image:
        decode(image, shared=False)
        assert image.getexif()[0x0112] == 6


def test_damage_to_pixels_is_still_damage() -> None:
    data = bytearray(with_chunks(*BULKY["profile"]))
    place = data.index(b"IDAT") + 8
    data[place] ^= 0xFF
    with pytest.raises(RefusedImageError, match="is damaged"):
        pixels(bytes(data))
    with pytest.raises(RefusedImageError):
        pixels(with_chunks(*BULKY["profile"])[:-30])


def test_a_flood_of_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_chunks, "MOST_CHUNKS", 100)
    with pytest.raises(RefusedImageError, match="takes too long to read: it has more than 100"):
        pixels(with_chunks(*[chunk(b"tIME", b"")] * 101))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_other_formats_with_much_metadata(kind: str) -> None:
    stream = io.BytesIO()
    options: dict[str, Any] = {"icc_profile": bytes(3 * 2**20)}
    if kind != "TIFF":
        exif = Image.Exif()
        exif[0x010E] = "x" * 60_000
        options["exif"] = exif
    Image.new("RGB", (8, 8), ORANGE).save(stream, kind, **options)
    assert np.abs(pixels(stream.getvalue()).astype(int) - ORANGE).max() < 9
