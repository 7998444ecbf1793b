"""Which data files an ONNX graph refers to, read from its bytes without the `onnx` package.

Takes the graph's bytes, gives file names with the ranges used. A graph says for itself where its
weights stand, so a pack whose listed files are all right could still point ONNX Runtime at another
file. Its reader of protobuf forgives much: numbers that are too long, fields that it does not know,
one field twice. Whatever another reader could take for something else is refused here, so that no
reference can be hidden in it. What has no tensors in it is skipped unread.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5  # wire types

# The fields of every message on the roads to a tensor, all of onnx.proto: number and kind (a test
# compares them with the onnx package). A star: may be repeated. "bytes" stands for strings, and for
# messages that hold no tensor; the other kinds are numbers, or the names of messages here.
_WIRES = {"varint": _VARINT, "eight": _EIGHT_BYTES, "bytes": _DELIMITED, "four": _FOUR_BYTES}
_SCHEMA = {
    "model": "1 varint, 2 bytes, 3 bytes, 4 bytes, 5 varint, 6 bytes, 7 graph, 8 bytes*, "
    "14 bytes*, 20 training*, 25 function*, 26 bytes*",
    "training": "1 graph, 2 graph, 3 bytes*, 4 bytes*",
    "function": "1 bytes, 4 bytes*, 5 bytes*, 6 bytes*, 7 node*, 8 bytes, 9 bytes*, 10 bytes, "
    "11 attribute*, 12 bytes*, 13 bytes, 14 bytes*",
    "graph": "1 node*, 2 bytes, 5 tensor*, 10 bytes, 11 bytes*, 12 bytes*, 13 bytes*, 14 bytes*, "
    "15 sparse*, 16 bytes*",
    "node": "1 bytes*, 2 bytes*, 3 bytes, 4 bytes, 5 attribute*, 6 bytes, 7 bytes, 8 bytes, "
    "9 bytes*, 10 bytes*",
    "attribute": "1 bytes, 2 four, 3 varint, 4 bytes, 5 tensor, 6 graph, 7 four*, 8 varint*, "
    "9 bytes*, 10 tensor*, 11 graph*, 13 bytes, 14 bytes, 15 bytes*, 20 varint, 21 bytes, "
    "22 sparse, 23 sparse*",
    "sparse": "1 tensor, 2 tensor, 3 varint*",
    "tensor": "1 varint*, 2 varint, 3 bytes, 4 four*, 5 varint*, 6 bytes*, 7 varint*, 8 bytes, "
    "9 bytes, 10 eight*, 11 varint*, 12 bytes, 13 entry*, 14 varint, 16 bytes*",
    "entry": "1 bytes, 2 bytes",
}
MESSAGES: dict[str, dict[int, str]] = {
    name: {int(field.split()[0]): field.split()[1] for field in fields.split(", ")}
    for name, fields in _SCHEMA.items()
}
_ENTRIES, _DATA_LOCATION = 13, 14  # fields of a tensor
_KEY, _VALUE = 1, 2  # fields of an entry
_EXTERNAL = b"\1"  # value of the data location
_PROPERTIES = {b"location", b"offset", b"length", b"checksum"}  # of a tensor's data
_BYTE_COUNT = re.compile(rb"0|[1-9][0-9]{0,17}")
# Graphs within graphs (loops, branches); no writer nests anywhere near as deep.
_DEEPEST = 100


class Reference(NamedTuple):
    """A part of a data file that a tensor is read from."""

    file: str
    offset: int  # bytes
    length: int  # bytes


def referred_files(model: bytes) -> set[str]:
    """The names of all external data files in a serialized ONNX model.

    Raises:
        ValueError: see `references`.
    """
    return {reference.file for reference in references(model)}


def references(model: bytes) -> list[Reference]:
    """All parts of external data files that a serialized ONNX model uses.

    Raises:
        ValueError: these bytes are not an ONNX model, or could be read in more than one way.
    """
    found: list[Reference] = []
    _walk(memoryview(model), "model", 0, found.append)
    return found


def _walk(message: memoryview, kind: str, depth: int, found: Callable[[Reference], None]) -> None:
    if depth > _DEEPEST:
        raise ValueError("graphs are nested too deeply")
    known = MESSAGES[kind]
    for number, content in _fields(message, kind):
        child = known[number].rstrip("*")
        if child == "tensor":
            _tensor(content, found)
        elif child in MESSAGES:
            _walk(content, child, depth + 1, found)


def _tensor(message: memoryview, found: Callable[[Reference], None]) -> None:
    entries = []
    location = b""
    for number, content in _fields(message, "tensor"):
        if number == _ENTRIES:
            fields = {part: bytes(text) for part, text in _fields(content, "entry")}
            entries.append((fields.get(_KEY, b""), fields.get(_VALUE, b"")))
        elif number == _DATA_LOCATION:
            location = bytes(content)
    if location not in (b"", b"\0", _EXTERNAL) or (location == _EXTERNAL) != bool(entries):
        raise ValueError("a tensor is not clear about whether its data stand in a file")
    if entries:
        found(_reference(entries))


def _reference(entries: Sequence[tuple[bytes, bytes]]) -> Reference:
    """What the properties of one tensor's data say together."""
    values = dict(entries)
    if len(values) < len(entries) or not values.keys() <= _PROPERTIES:
        raise ValueError(f"a tensor's data have the properties {[key for key, _ in entries][:9]}")
    offset, length = values.get(b"offset", b"0"), values.get(b"length", b"")
    if not (_BYTE_COUNT.fullmatch(offset) and _BYTE_COUNT.fullmatch(length)):
        raise ValueError("a tensor's data have no offset and length in plain digits")
    try:
        file = values.get(b"location", b"").decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("a tensor's data stand in a file whose name is not UTF-8") from None
    if not file:
        raise ValueError("a tensor's data stand in a file without a name")
    return Reference(file, int(offset), int(length))


def _fields(message: memoryview, kind: str) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message: (number, content); of numbers the bytes that encode them."""
    known, seen = MESSAGES[kind], set()
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position, 32)
        number, wire = tag >> 3, tag & 7
        field = known.get(number)
        if field is None:
            raise ValueError(f"a {kind} has an unknown field {number}")
        repeated = field.endswith("*")
        if number in seen and not repeated:  # protobuf would join the two, or take the second
            raise ValueError(f"a {kind} has its field {number} twice")
        seen.add(number)
        # Repeated numbers may stand one by one, or packed as bytes.
        expected = _WIRES.get(field.rstrip("*"), _DELIMITED)
        if wire != expected and not (repeated and wire == _DELIMITED):
            raise ValueError(f"field {number} of a {kind} has the wire type {wire}")
        start = position
        if wire == _VARINT:
            _, position = _varint(message, position, 64)
        elif wire == _DELIMITED:
            size, start = _varint(message, position, 31)
            position = start + size
        else:
            position += 8 if wire == _EIGHT_BYTES else 4
        if position > end:
            raise ValueError(f"field {number} of a {kind} is longer than the {kind}")
        yield number, message[start:position]


def _varint(message: memoryview, position: int, bits: int) -> tuple[int, int]:
    """A number of at most so many bits, in its shortest form, and where it ends."""
    value = shift = 0
    end = len(message)
    while position < end and shift < bits:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> bits or (byte == 0 and shift > 0):
                break
            return value, position
        shift += 7
    raise ValueError("a number has no end, or is not in its shortest form")
