"""The lines of a stream, whatever its encoding and line ends, in bounded memory.

Takes a binary stream, gives each line as UTF-8 bytes with its end, and the bytes it took there.
A line ends with LF or CRLF; where the beginning of a file has CR and no LF, as on old Macs, with
CR. Other characters that Unicode counts as line ends (U+0085, U+2028, form feed) end none, as in
editors and `wc -l`: else line numbers would not be theirs.
"""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from embedge.files.encodings import LONGEST_MARK, may_grow_to_mark

HEAD = 2**16  # bytes by which encoding and line ends are judged, where so many are there already


def read_head(stream: BinaryIO) -> bytes:
    """The first bytes, what is there without waiting for more; enough to see a byte order mark."""
    head = _read_some(stream, HEAD)
    while may_grow_to_mark(head) and (more := _read_some(stream, LONGEST_MARK)):
        head += more
    return head


def read_lines(
    stream: BinaryIO, head: bytes, encoding: str, *, most: int
) -> Iterator[tuple[bytes, int]]:
    """(line, bytes of the stream) for each line.

    What is not valid in the encoding is passed on as bytes that are not valid UTF-8 either.

    Args:
        stream: the rest of it, after the head.
        head: from `read_head`.
        encoding: Python's name, from the head.
        most: bytes of a line; one that is longer comes cut, and longer than `most`.

    Raises:
        UnicodeDecodeError: UTF-16 or UTF-32 is damaged in such a way that no next line is known.
    """
    whole = io.BufferedReader(_Headed(head, stream), HEAD)
    width = {"utf-16": 2, "utf-32": 4}.get(encoding)
    start = head.decode(encoding, "ignore")
    end = "\r" if "\r" in start and "\n" not in start else "\n"
    # Latin-1 gives every byte as one character, and back.
    errors = "strict" if width is None else "surrogatepass"
    name = "latin-1" if width is None else encoding
    text = io.TextIOWrapper(whole, name, errors=errors, newline=end)
    first = True
    while line := text.readline(most + 1):
        cut = len(line) > most and not line.endswith(end)
        while cut and (rest := text.readline(HEAD)) and not rest.endswith(end):
            pass  # the rest is not held
        if width is None:
            data = line.encode("latin-1")
            size = len(data)
            if first and encoding == "utf-8-sig":
                data = data[3:]
                if not data:  # the mark, and no line
                    return
        else:
            data = line.encode("utf-8", "surrogatepass")
            size = len(line) * width
        first = False
        yield data, size


def _read_some(stream: BinaryIO, most: int) -> bytes:
    read: Any = getattr(stream, "read1", stream.read)  # read1 does not wait for all of them
    data: bytes = read(most)
    return data


class _Headed(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = memoryview(head)
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        size = len(buffer)
        if self._head:
            part: Any = self._head[:size]
            self._head = self._head[size:]
        else:
            part = _read_some(self._stream, size)
        buffer[: len(part)] = part
        return len(part)
