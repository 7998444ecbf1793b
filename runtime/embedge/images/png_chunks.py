"""PNG files whose metadata would hide their pixels: the same file, without that metadata.

Pillow refuses a file for a color profile or text that is large when unpacked, for 64 MB of texts,
and for a checksum that is wrong anywhere, also where only metadata is behind it. Those limits
belong to the host program, and protect it. So they are left as they are, and the parts at fault are
left out of what Pillow sees: the pixels do not depend on them. Takes and gives streams; knows
Pillow's limits and no Pillow.
"""

import bisect
import io
import struct
import zlib
from typing import Any

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST = 2**20  # bytes of a part of metadata, unpacked: Pillow's limit for one
MOST = 2**24  # of all of them
MOST_UNPACKED = 2**26  # bytes unpacked for looking; what follows is left out unseen
MOST_CHUNKS = 2**18  # a photo of 300 MB in the usual pieces of 8 kB has 40,000
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_COMPRESSED = (b"iCCP", b"zTXt", b"iTXt")


class TooManyChunksError(Exception):
    """A file in so many parts that walking over them takes minutes."""


def without_bulky_metadata(stream: Any) -> Any:
    """The stream itself, at its start; or where parts have to be left out, one without them.

    Raises:
        TooManyChunksError: the file has more than MOST_CHUNKS parts.
    """
    stream.seek(0)
    found = stream.read(8) == SIGNATURE
    kept = _kept(stream) if found else []
    stream.seek(0)
    if len(kept) < 2:  # one range: all of the file
        return stream
    return io.BufferedReader(_Ranges(stream, kept))


def _kept(stream: Any) -> list[tuple[int, int]]:
    """The ranges (start, end) of a PNG that are to be seen."""
    kept: list[tuple[int, int]] = []
    start, position, budget = 0, 8, _Budget()
    for _ in range(MOST_CHUNKS):
        header = stream.read(8)
        if len(header) < 8:
            break
        length, kind = struct.unpack(">I4s", header)
        end = position + 12 + length
        # The fifth bit of the first letter: a reader may ignore the chunk.
        ancillary = kind[0] & 0x20 and kind not in _ANIMATION
        if ancillary and not budget.takes(kind, length, stream):
            kept.append((start, position))
            start = end
        position = end
        stream.seek(position)
        if kind == b"IEND":
            break
    else:
        raise TooManyChunksError(f"it has more than {MOST_CHUNKS:,} parts")
    kept.append((start, stream.seek(0, io.SEEK_END)))
    return [(low, high) for low, high in kept if low < high]


class _Budget:
    """Which metadata is sound and small enough, and how much is left for the rest."""

    def __init__(self) -> None:
        self._room = MOST
        self._unpacking = MOST_UNPACKED

    def takes(self, kind: bytes, length: int, stream: Any) -> bool:
        """Whether a chunk may be seen; the stream stands at its data."""
        if length > min(LARGEST, self._room):
            return False
        data, checksum = stream.read(length), stream.read(4)
        if checksum != struct.pack(">I", zlib.crc32(kind + data)):
            return False
        size = length
        if kind in _COMPRESSED:
            size = max(length, self._unpacked(kind, data))
        if size > min(LARGEST, self._room):
            return False
        self._room -= size
        return True

    def _unpacked(self, kind: bytes, data: bytes) -> int:
        """Bytes of a compressed chunk when unpacked; more than LARGEST if it is not to be known."""
        _, _, rest = data.partition(b"\0")  # the name
        if kind == b"iTXt":
            if not rest[:1].strip(b"\0"):
                return len(data)  # not compressed
            *_, rest = rest[2:].split(b"\0", 2)  # language, translated name
        else:
            rest = rest[1:]  # the method
        if self._unpacking <= 0:
            return LARGEST + 1
        try:
            size = len(zlib.decompressobj().decompress(rest, LARGEST + 1))
        except zlib.error:
            return LARGEST + 1  # damaged: Pillow refuses some of them
        self._unpacking -= size
        return size


class _Ranges(io.RawIOBase):
    """Ranges of a stream, one after another, as a stream of their own."""

    def __init__(self, stream: Any, ranges: list[tuple[int, int]]) -> None:
        self._stream = stream
        self._ranges = ranges
        self._starts: list[int] = []  # of each, here
        self._size = 0
        for low, high in ranges:
            self._starts.append(self._size)
            self._size += high - low
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        number = bisect.bisect_right(self._starts, self._position) - 1
        low, high = self._ranges[number]
        low += self._position - self._starts[number]
        self._stream.seek(low)
        data = self._stream.read(min(len(buffer), high - low))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
