"""Which data files an ONNX graph refers to, read from its bytes without the `onnx` package.

Takes the graph's bytes, gives file names. A graph says for itself where its weights stand, so a
pack whose listed files are all right could still point ONNX Runtime at another file. Only the few
protobuf fields on the way to those names are looked at; everything else is skipped unread.
"""

from collections.abc import Iterator

# Message -> {field number: message}, from onnx.proto: all roads to a tensor.
_ROADS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2  # of an entry
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5  # wire types
# Graphs within graphs (loops, branches); no writer nests anywhere near as deep.
_DEEPEST = 100


def referred_files(model: bytes) -> set[str]:
    """The names of all external data files in a serialised ONNX model.

    Raises:
        ValueError: these bytes are no protobuf message.
    """
    return set(_walk(memoryview(model), "model", 0))


def _walk(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("graphs are nested too deeply")
    roads = _ROADS[kind]
    for number, content in _fields(message):
        child = roads.get(number)
        if child == "entry":
            entry = dict(_fields(content))
            if bytes(entry.get(_KEY, b"")) == b"location":
                yield bytes(entry.get(_VALUE, b"")).decode("utf-8", "replace")
        elif child is not None:
            yield from _walk(content, child, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The length-delimited fields of a message: (number, content)."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, position = _varint(message, position)
            continue
        if wire == _DELIMITED:
            size, position = _varint(message, position)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"unknown wire type {wire}")
        if position + size > len(message):
            raise ValueError("a field is longer than its message")
        if wire == _DELIMITED:
            yield number, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("a number has no end")
