"""Images made to take memory, to start programs, or to take good ones down with them."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from embedge import Embedder, ImageError
from embedge.engine.providers.cpu import Cpu
from embedge.images.pillow import MAX_PIXELS, RefusedImageError
from embedge.images.sources import check_source
from support.tiny import IMAGE

MakePack = Callable[..., Path]


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that claims any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def jpeg(size: tuple[int, int] = (64, 48)) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    return stream.getvalue()


def refused(source: Any) -> str:
    with pytest.raises(RefusedImageError) as caught:
        check_source(source, allow_urls=False)
    return str(caught.value)


@pytest.fixture
def embedder(make_pack: MakePack) -> Iterator[Embedder]:
    with Embedder(make_pack(image=IMAGE)) as opened:
        yield opened


@pytest.mark.parametrize("size", [(9_460, 9_460), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: ImageFile.ImageFile) -> None:
        raise AssertionError("its pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, for the smallest of the three
        assert "too large" in refused(png(*size))
    assert limit == Image.MAX_IMAGE_PIXELS  # the host program's


def test_the_limit_holds_where_the_host_has_lifted_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert MAX_PIXELS < 9_460 * 9_460
    assert "too large" in refused(png(9_460, 9_460))


def test_a_thread_of_pixels_is_refused_before_it_grows() -> None:
    """1 x 100,000 would be resized to 512 x 51,200,000."""
    assert "one edge is more than 64 times" in refused(png(1, 100_000))
    assert "one edge is more than 64 times" in refused(np.zeros((100_000, 1), np.uint8))


def test_a_file_that_starts_a_program_is_not_opened() -> None:
    """Pillow hands EPS to Ghostscript."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
    with Image.open(io.BytesIO(eps)) as image:
        assert image.format == "EPS"  # so it would have been opened
    assert "not an image that can be read here" in refused(eps)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_named_and_the_others_are_kept(
    embedder: Embedder, tmp_path: Path, kept: float
) -> None:
    (tmp_path / "good.jpg").write_bytes(jpeg())
    half = tmp_path / "half.jpg"
    whole = jpeg((300, 200))
    half.write_bytes(whole[: int(len(whole) * kept)])
    images = [tmp_path / "good.jpg", half, tmp_path / "good.jpg"]
    with pytest.raises(ImageError, match=r"item 1: .*half\.jpg' is damaged") as caught:
        embedder.encode_image(images)
    assert [index for index, _ in caught.value.items] == [1]
    vectors = caught.value.vectors
    assert np.isnan(vectors[1]).all()
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(vectors[0], embedder.encode_image(images[0]))


def test_a_file_that_changes_after_it_was_looked_at(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted, or made a bomb, between the check and the decoding: still one image's error."""
    paths = [tmp_path / f"{number}.jpg" for number in range(12)]
    for path in paths:
        path.write_bytes(jpeg())

    def spoil(done: int, total: int) -> None:
        if done == 1:
            paths[-1].unlink()
            paths[-2].write_bytes(png(1, 100_000))

    monkeypatch.setattr(Cpu, "images_per_run", 1)
    with pytest.raises(ImageError) as caught:
        embedder.encode_image(paths, progress=spoil)
    reasons = dict(caught.value.items)
    assert sorted(reasons) == [10, 11]
    assert "64 times" in reasons[10]
    assert "does not exist" in reasons[11]
    assert np.isfinite(caught.value.vectors[:10]).all()


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_never_leave_as_another_error(embedder: Embedder, seed: int) -> None:
    """Bytes changed at random in files of every format: an image, or an ImageError."""
    generator = np.random.default_rng(seed)
    form = ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"][seed % 7]
    stream = io.BytesIO()
    with Image.open(io.BytesIO(jpeg((40, 30)))) as image:
        image.save(stream, form)
    data = bytearray(stream.getvalue())
    for place in generator.integers(0, len(data), 12):
        data[place] = generator.integers(0, 256)
    bad: list[int] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vectors = embedder.encode_image(
            [jpeg(), bytes(data)], on_error=lambda index, reason: bad.append(index)
        )
    assert bad in ([], [1])
    assert np.isfinite(vectors[0]).all()
    assert np.isfinite(vectors[1]).all() == (not bad)
