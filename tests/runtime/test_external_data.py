import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from embedge.pack.external_data import MESSAGES, Reference, references, referred_files
from support.tiny import write_graph


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="checksum", value="location")
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value="4")
    return tensor


def model_of(tensor: TensorProto) -> bytes:
    content: bytes = helper.make_model(
        helper.make_graph([], "graph", [], [], [tensor])
    ).SerializeToString()
    return content


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def entry(key: bytes, value: bytes) -> bytes:
    return field(13, field(1, key) + field(2, value))


LOCATED = bytes([14 << 3, 1])  # data_location = EXTERNAL
LENGTH = entry(b"length", b"4")
FILE = entry(b"location", b"listed")


def model_with(tensor: bytes) -> bytes:
    """A model whose one initializer is these bytes."""
    return field(7, field(5, tensor))


def test_initializers(tmp_path: Path) -> None:
    write_graph(tmp_path, "a.onnx", constant=[0.0] * 8, location="weights.bin")
    write_graph(tmp_path, "b.onnx", constant=[0.0] * 8, location=None)
    assert referred_files((tmp_path / "a.onnx").read_bytes()) == {"weights.bin"}
    assert referred_files((tmp_path / "b.onnx").read_bytes()) == set()


def test_every_place_where_a_tensor_may_stand() -> None:
    inner = helper.make_graph([], "inner", [], [], [external("subgraph")])
    inner.sparse_initializer.add().values.CopyFrom(external("sparse"))
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner)
    node.attribute.append(helper.make_attribute("value", external("attribute")))
    node.attribute.append(helper.make_attribute("values", [external("attributes")]))
    node.attribute.append(
        helper.make_attribute("graphs", [helper.make_graph([], "g", [], [], [external("graphs")])])
    )
    constant = helper.make_node("Constant", [], ["z"], value=external("function"))
    function = helper.make_function("d", "f", [], ["z"], [constant], [])
    model = helper.make_model(helper.make_graph([node], "outer", [], []), functions=[function])
    training = onnx.TrainingInfoProto()
    training.algorithm.initializer.append(external("training"))
    model.training_info.append(training)
    assert referred_files(model.SerializeToString()) == {
        *("subgraph", "sparse", "attribute", "attributes", "graphs", "function", "training")
    }


def test_nesting_without_end_is_refused() -> None:
    content = b""
    for number in [6, 5, 1] * 1000 + [7]:  # graph in attribute in node in graph … in model
        size, length = len(content), b""
        while size >= 0x80:
            length += bytes([size & 0x7F | 0x80])
            size >>= 7
        content = bytes([number << 3 | 2]) + length + bytes([size]) + content
    with pytest.raises(ValueError, match="deep"):
        referred_files(content)


def test_ranges() -> None:
    tensor = external("file")
    tensor.external_data.add(key="offset", value="64")
    assert references(model_of(tensor)) == [Reference("file", 64, 4)]
    assert references(model_of(external("file"))) == [Reference("file", 0, 4)]
    assert references(model_with(LOCATED + FILE + LENGTH)) == [Reference("listed", 0, 4)]


NAMES = {
    "model": onnx.ModelProto,
    "training": onnx.TrainingInfoProto,
    "function": onnx.FunctionProto,
    "graph": onnx.GraphProto,
    "node": onnx.NodeProto,
    "attribute": onnx.AttributeProto,
    "sparse": onnx.SparseTensorProto,
    "tensor": onnx.TensorProto,
    "entry": onnx.StringStringEntryProto,
}


def holds_tensors(descriptor: Any, seen: frozenset[str] = frozenset()) -> bool:
    if descriptor.name in seen:
        return False
    return descriptor.name == "TensorProto" or any(
        holds_tensors(item.message_type, seen | {descriptor.name})
        for item in descriptor.fields
        if item.message_type
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_fields_are_those_of_onnx(name: str) -> None:
    """None is missing: a field that is unknown here would be refused, or hide a tensor."""
    kinds = {}
    for item in NAMES[name].DESCRIPTOR.fields:
        if item.message_type is None:
            kind = {1: "eight", 2: "four", 9: "bytes", 12: "bytes"}.get(item.type, "varint")
        elif name == "tensor" and item.name == "external_data":
            kind = "entry"
        elif holds_tensors(item.message_type):
            kind = next(k for k, v in NAMES.items() if v.DESCRIPTOR.name == item.message_type.name)
        else:
            kind = "bytes"
        repeated = getattr(item, "is_repeated", None)  # `label` is no more in newer protobuf
        if repeated is None:
            repeated = item.label == 3
        kinds[item.number] = kind + "*" * repeated
    assert MESSAGES[name] == kinds


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        # Tags: protobuf's C++ keeps 32 bits, and takes more bytes than are needed.
        (b"\xea\x80\x80\x80\x10" + FILE[1:], "shortest"),
        (b"\xea\x00" + FILE[1:], "shortest"),
        (b"\x80\x00", "shortest"),
        (b"\xff" * 12, "shortest"),
        # Lengths.
        (FILE[:1] + b"\x94\x80\x80\x80\x10" + FILE[2:], "shortest"),
        (FILE[:1] + bytes([FILE[1] | 0x80, 0]) + FILE[2:], "shortest"),
        (FILE[:1] + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "shortest"),
        # Fields: number 0 ends a message for some, the others stand for what is not known here.
        (b"\0", "unknown field 0"),
        (b"\2\0", "unknown field 0"),
        (field(15, b""), "unknown field 15"),
        (b"\xd2\x0f\0", "unknown field 250"),
        # Wire types: groups, and numbers in place of messages.
        (bytes([13 << 3 | 3, 13 << 3 | 4]), "wire type 3"),
        (bytes([13 << 3 | 4]), "wire type 4"),
        (bytes([13 << 3 | 6]), "wire type 6"),
        (bytes([13 << 3, 1]), "wire type 0"),
        (bytes([13 << 3 | 5, 0, 0, 0, 0]), "wire type 5"),
        (bytes([14 << 3 | 2, 1, 1]), "wire type 2"),
        # The location of the data: other values, twice, in too many bytes, with nothing to it.
        (bytes([14 << 3, 0, 14 << 3, 1]), "field 14 twice"),
        (bytes([14 << 3, 0x81, 0]), "shortest"),
        (bytes([14 << 3, 0x81, 0x80, 0x80, 0x80, 0x10]) + FILE + LENGTH, "not clear"),
        (bytes([14 << 3, 2]) + FILE + LENGTH, "not clear"),
        (FILE + LENGTH, "not clear"),
        (LOCATED, "not clear"),
        # Properties: unknown, twice, missing, without a key, of another form.
        (LOCATED + FILE + LENGTH + entry(b"base", b"/"), "properties .*base"),
        (LOCATED + FILE + LENGTH + entry(b"Location", b"x"), "properties .*Location"),
        (LOCATED + FILE + LENGTH + entry(b"location\0", b"x"), "properties"),
        (LOCATED + FILE + LENGTH + entry(b"prepacked_w", b"1;2"), "properties"),
        (LOCATED + FILE + LENGTH + entry(b"", b"x"), "properties"),
        (LOCATED + FILE + LENGTH + field(13, b""), "properties"),
        (LOCATED + FILE + LENGTH + FILE, "properties"),
        (LOCATED + LENGTH + field(13, field(1, b"location") * 2), "field 1 twice"),
        (LOCATED + LENGTH + field(13, FILE[2:] + field(2, b"x")), "field 2 twice"),
        (LOCATED + LENGTH + field(13, FILE[2:] + field(3, b"x")), "unknown field 3"),
        (LOCATED + LENGTH + field(13, FILE[2:] + b"\x8a\x80\x80\x80\x10\1x"), "shortest"),
        (LOCATED + FILE, "plain digits"),
        *(
            (LOCATED + FILE + entry(b"length", value), "plain digits")
            for value in (b"", b"-4", b"+4", b" 4", b"4 ", b"04", b"0x4", b"4e0", b"9" * 19)
        ),
        (LOCATED + FILE + LENGTH + entry(b"offset", b"-1"), "plain digits"),
        (LOCATED + FILE + LENGTH + entry(b"offset", b""), "plain digits"),
        (LOCATED + entry(b"location", b"a\xff") + LENGTH, "not UTF-8"),
        (LOCATED + entry(b"location", b"") + LENGTH, "without a name"),
        (LOCATED + LENGTH, "without a name"),
        # One field of a tensor's twice, and one that ends late.
        (field(8, b"a") + field(8, b"b"), "field 8 twice"),
        (bytes([13 << 3 | 2, 9]), "longer than"),
        (bytes([4 << 3 | 5, 0, 0]), "longer than"),
    ],
)
def test_what_two_readers_could_take_for_different_things(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        references(model_with(content))


@pytest.mark.parametrize(
    "content",
    [
        field(7, b"") * 2,  # two graphs: protobuf joins them
        field(7, field(1, field(5, field(5, b"") * 2))),  # an attribute's tensor
        field(7, field(1, field(5, field(6, b"") * 2))),  # an attribute's graph
        field(7, field(15, field(1, b"") * 2)),  # the values of a sparse tensor
        field(7, field(1, field(5, b"\xb2\1\0" * 2))),  # an attribute's sparse tensor
    ],
)
def test_a_message_in_two_parts_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="twice"):
        references(content)


def test_packed_and_single_numbers() -> None:
    """Both are how ONNX's writers write them."""
    tensor = TensorProto(name="w", data_type=TensorProto.INT64, dims=[2, 300])
    tensor.int64_data.extend([-1, 2**62])
    tensor.float_data.extend([1.5])
    tensor.double_data.extend([1.5])
    assert references(model_of(tensor)) == []
    attributes = [
        *(helper.make_attribute("i", -(2**63)), helper.make_attribute("is", [1, -1])),
        *(helper.make_attribute("f", 1.5), helper.make_attribute("fs", [1.5, 2.5])),
    ]
    node = helper.make_node("X", ["a"], ["b"])
    node.attribute.extend(attributes)
    model = helper.make_model(helper.make_graph([node], "graph", [], []))
    assert references(model.SerializeToString()) == []


def every_tensor(message: Any) -> Iterator[Any]:
    """All tensors in a message, as the onnx package reads it."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
    for item, value in message.ListFields():
        if item.message_type is not None:
            repeated = not hasattr(value, "DESCRIPTOR")
            for child in value if repeated else [value]:
                yield from every_tensor(child)


@pytest.mark.parametrize("seed", range(20))
def test_another_reader_of_protobuf_finds_the_same(seed: int) -> None:
    """A graph with some bytes changed is refused, or means the same to the onnx package."""
    inner = helper.make_graph([], "inner", [], [], [external("subgraph")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner)
    node.attribute.append(helper.make_attribute("values", [external("attributes")]))
    graph = helper.make_graph([node], "outer", [], [], [external("a"), external("b")])
    whole = helper.make_model(graph).SerializeToString()
    dice = random.Random(seed)
    accepted = 0
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(dice.choice([1, 1, 2, 5])):
            place = dice.randrange(len(data))
            change = dice.randrange(4)
            if change == 0:
                data[place] ^= 1 << dice.randrange(8)
            elif change == 1:
                data[place] = dice.choice([0, 1, 0x6A, 0x80, 0xEA, 0xFF, dice.randrange(256)])
            elif change == 2:
                data.insert(place, dice.choice([0, 0x80, dice.randrange(256)]))
            else:
                del data[place]
        try:
            found = references(bytes(data))
        except ValueError:
            continue
        try:
            model = onnx.ModelProto.FromString(bytes(data))
        except DecodeError:  # what is no text where a text should be: it does not load
            continue
        accepted += 1
        told = sorted(
            entry.value
            for tensor in every_tensor(model)
            for entry in tensor.external_data
            if entry.key == "location"
        )
        assert sorted(reference.file for reference in found) == told
    assert accepted > 0


@given(st.binary(max_size=200))
def test_any_bytes_give_names_or_a_value_error(content: bytes) -> None:
    try:
        names = referred_files(content)
    except ValueError:
        return
    assert all(isinstance(name, str) for name in names)
