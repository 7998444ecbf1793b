"""Images that would take minutes to decode, found before they are: from headers, and by counting.

The number of pixels says little. A JPEG may hold hundreds of scans, each over all pixels; some
formats are decoded by Pillow in Python, a million numbers in half a second; a header may have a
comment of megabytes, which is read byte by byte. Takes streams and opened PIL images, and gives the
reason to refuse one.
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

MOST_READS = 100_000  # for one header; a photo takes some hundred
MOST_HEADER = 2**26  # bytes read for a header beyond the size of its file
MOST_COMMENTS = 1000  # of a plain PPM: each costs a copy of up to a megabyte
# Decoded in Python: samples (about 0.4 s a million), or bytes of a file whose samples are text.
MOST_SAMPLES = 2**25
MOST_TEXT = 2**25
# A scan takes about 7 ns a pixel. Encoders write up to about 12.
FEW_SCANS = 16
MOST_SCANNED = 2**30  # scans times pixels: 10 s
MOST_COUNTED = 2**28  # bytes of a JPEG in which scans are counted exactly
BLOCK = 2**20

_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_SCAN, _END = b"\xda", b"\xd9"
_BARE = (b"\x01", b"\xd8")  # markers without a length


class CostlyError(Exception):
    """Why a header takes too long to be read."""


class Metered:
    """A file, for Pillow to read a header from: some headers have no end.

    Pillow reads them part by part, in Python: comments byte by byte, segments, blocks, boxes and
    tags one by one. A file of 64 MB can have millions of them, or the same ones again and again.

    Attributes:
        on: whether reads count. Turn it off once the header was read.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._reads = 0
        self._bytes = stream.seek(0, 2) + MOST_HEADER  # that may still be read
        self.on = True
        stream.seek(0)

    def read(self, size: int = -1) -> bytes:
        """As of the file.

        Raises:
            CostlyError: it was read too often, or too much of it.
        """
        data: bytes = self._stream.read(size)
        if self.on:
            self._reads += 1
            self._bytes -= len(data)
            if self._reads > MOST_READS or self._bytes < 0:
                raise CostlyError(
                    f"its header has more than {MOST_READS:,} parts, or the same ones again and "
                    "again; save it again without comments and metadata"
                )
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def costly(image: "Image.Image") -> str | None:
    """Why an opened image takes too long to decode; None if it does not, or is decoded already."""
    stream, tile = getattr(image, "fp", None), getattr(image, "tile", None)
    if stream is None or not tile:
        return None
    decoder = tile[0][0]
    position = stream.tell()
    try:
        if decoder == "jpeg":
            return _many_scans(stream, image.size)
        if decoder == "ppm" and _samples(image) > MOST_SAMPLES:
            return (
                f"it has {_samples(image):,} samples of a range that is scaled one by one (the "
                f"limit is {MOST_SAMPLES:,}); scale them to 0 to 255, or save it as PNG"
            )
        if decoder in ("ppm_plain", "bmp_rle"):
            return _much_text(stream)
    finally:
        stream.seek(position)
    return None


def _samples(image: "Image.Image") -> int:
    return image.width * image.height * len(image.getbands())


def _much_text(stream: Any) -> str | None:
    size = stream.seek(0, 2)
    if size > MOST_TEXT:
        return (
            f"it has {size:,} bytes in a form that is read one by one (the limit is "
            f"{MOST_TEXT:,}); save it as PNG"
        )
    stream.seek(0)
    if stream.read(1) == b"P" and stream.read().count(b"#") > MOST_COMMENTS:
        return f"it has more than {MOST_COMMENTS:,} comments; save it as PNG"
    return None


def _many_scans(stream: Any, size: tuple[int, int]) -> str | None:
    """Counts the scans of a JPEG where there may be many."""
    most = max(FEW_SCANS, MOST_SCANNED // (size[0] * size[1]))
    stream.seek(0)
    # At least as many as there are, and quick: embedded previews have scans too.
    bound, before = 0, b""
    while block := stream.read(BLOCK):
        bound += (before + block).count(b"\xff" + _SCAN)
        before = block[-1:]
    if bound <= most:
        return None
    stream.seek(0)
    scans = _count_scans(stream.read(MOST_COUNTED))
    if scans <= most:
        return None
    return (
        f"it is a JPEG of {scans:,} scans, {size[0]:,} x {size[1]:,} pixels each (the limit is "
        f"{most:,} of that size); save it again"
    )


def _count_scans(data: bytes) -> int:
    """Scans of the first image; the segments between them are not looked into."""
    scans, position = 0, 2
    while found := _MARKER.search(data, position):
        position = found.end()
        if found[1] == _END:
            break
        scans += found[1] == _SCAN
        if found[1] not in _BARE:
            position += int.from_bytes(data[position : position + 2], "big")
    return scans
