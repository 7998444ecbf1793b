"""Packs made to do harm, or damaged: each must be refused with a named error.

Every attack is made on a tiny pack that works, and where it helps the attacker, the manifest's
sizes and hashes are made to agree.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedge import (
    Embedder,
    ManifestError,
    NonFiniteError,
    PackError,
    PackFileError,
    TextError,
    read_manifest,
)
from embedge.cli import main
from embedge.pack.checks import MAX_NAMES
from embedge.pack.files import open_pack, verify_files
from embedge.pack.manifest import MANIFEST
from embedge.pack.reading import MAX_MANIFEST_BYTES, dump_manifest
from support.tiny import IMAGE, edit_manifest, relist, write_graph

MakePack = Callable[..., Path]
GRAPH = "text-matching.fp32.onnx"


def embed(pack: Path) -> Any:
    with Embedder(pack) as embedder:
        return embedder.encode("text")


def test_the_pack_works_before_any_attack(pack: Path) -> None:
    assert embed(pack).shape == (8,)


@pytest.mark.parametrize(
    "name",
    [
        *("../shared.bin", "/etc/passwd", "a/../b", "sub/file", "..", ".", "", "manifest.json"),
        *(
            "C:\\windows\\file",
            "\\\\host\\share",
            "c:file",
            "nul\0",
            "line\nbreak",
            "dot.",
            "space ",
        ),
        "long" * 100,
    ],
)
@pytest.mark.parametrize("where", ["tokenizer", "graph", "data"])
def test_names_that_leave_the_folder(pack: Path, name: str, where: str) -> None:
    def attack(root: dict[str, Any]) -> None:
        root["files"][name] = root["files"]["shared.bin"]
        if where == "tokenizer":
            root["text"]["tokenizer"] = name
        elif where == "graph":
            root["graphs"][1]["file"] = name
        else:
            root["graphs"][1]["data"] = [name]

    edit_manifest(pack, attack)
    with pytest.raises(ManifestError, match="plain file name"):
        embed(pack)


def test_names_that_are_one_file_on_some_systems(pack: Path) -> None:
    edit_manifest(
        pack, lambda root: root["files"].update({"SHARED.BIN": root["files"]["shared.bin"]})
    )
    with pytest.raises(ManifestError, match="differ only by case"):
        embed(pack)


def test_a_graph_that_is_not_listed(pack: Path) -> None:
    edit_manifest(pack, lambda root: root["files"].pop(GRAPH))
    with pytest.raises(ManifestError, match="not listed in files"):
        embed(pack)


@pytest.mark.parametrize("name", ["tokenizer.json", "shared.bin", GRAPH])
def test_a_link_in_place_of_a_file(pack: Path, tmp_path: Path, name: str) -> None:
    moved = (pack / name).rename(tmp_path / "elsewhere")
    (pack / name).symlink_to(moved)
    with pytest.raises(PackFileError, match="is a link"):
        embed(pack)
    assert any("is a link" in problem for problem in verify_files(open_pack(pack)))


def test_a_link_in_place_of_the_manifest(pack: Path, tmp_path: Path) -> None:
    moved = (pack / MANIFEST).rename(tmp_path / "elsewhere")
    (pack / MANIFEST).symlink_to(moved)
    with pytest.raises(ManifestError, match="is a link"):
        embed(pack)


@pytest.mark.parametrize("name", ["tokenizer.json", "shared.bin", GRAPH])
def test_a_missing_file(pack: Path, name: str) -> None:
    (pack / name).unlink()
    with pytest.raises(PackFileError, match=f"{name} is missing"):
        embed(pack)


def test_a_folder_and_a_pipe_in_place_of_a_file(pack: Path) -> None:
    (pack / "shared.bin").unlink()
    (pack / "shared.bin").mkdir()
    with pytest.raises(PackFileError, match="not a regular file"):
        embed(pack)
    (pack / "shared.bin").rmdir()
    os.mkfifo(pack / "shared.bin")  # opening it would wait for ever
    with pytest.raises(PackFileError, match="not a regular file"):
        embed(pack)


@pytest.mark.parametrize("name", ["tokenizer.json", "shared.bin", GRAPH])
def test_an_altered_file_of_the_same_size(pack: Path, name: str) -> None:
    content = bytearray((pack / name).read_bytes())
    content[len(content) // 2] ^= 1
    (pack / name).write_bytes(content)
    with pytest.raises(PackFileError, match="sha256"):
        embed(pack)


@pytest.mark.parametrize("name", ["tokenizer.json", "shared.bin", GRAPH])
def test_a_truncated_file(pack: Path, name: str) -> None:
    (pack / name).write_bytes((pack / name).read_bytes()[:-1])
    with pytest.raises(PackFileError, match="the manifest says"):
        embed(pack)


@pytest.mark.parametrize("size", [10 * 2**30, 2**41, 0, -1, 1.5, True, "64", 10**400])
def test_a_claimed_size_that_is_not_the_files(pack: Path, size: Any) -> None:
    edit_manifest(pack, lambda root: root["files"]["shared.bin"].update(size=size))
    with pytest.raises(PackError, match=r"size|bytes"):
        embed(pack)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_graph_whose_hash_agrees(pack: Path, share: float) -> None:
    content = (pack / GRAPH).read_bytes()
    (pack / GRAPH).write_bytes(content[: int(share * len(content))])
    relist(pack, GRAPH)
    with pytest.raises(PackFileError, match=GRAPH):
        embed(pack)


def test_weights_cut_short_whose_hash_agrees(pack: Path) -> None:
    (pack / "shared.bin").write_bytes((pack / "shared.bin").read_bytes()[:10])
    relist(pack, "shared.bin")
    with pytest.raises(PackFileError, match=GRAPH):
        embed(pack)


@pytest.mark.parametrize(
    "location", ["../shared.bin", "/etc/passwd", "unlisted.bin", "sub/../../shared.bin"]
)
def test_a_graph_that_takes_weights_from_elsewhere(
    make_pack: MakePack, tmp_path: Path, location: str
) -> None:
    pack = make_pack(location=location)
    for path in (tmp_path / "shared.bin", pack / "unlisted.bin"):
        path.write_bytes((pack / "shared.bin").read_bytes())
    with pytest.raises(PackFileError, match="does not list"):
        embed(pack)


def varint(value: int) -> bytes:
    digits = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def field(number: int, content: bytes, *, tag: bytes | None = None) -> bytes:
    return (tag or varint(number << 3 | 2)) + varint(len(content)) + content


def hide(pack: Path, location: bytes, *, tag: bytes | None, key: bytes, value: bytes) -> None:
    """Moves the weights of a graph to another file, in bytes that ONNX Runtime reads as a name."""
    import onnx

    path = pack / GRAPH
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer.pop()
    del tensor.external_data[:]
    entries = [
        field(1, b"location", tag=key) + field(2, b"shared.bin") + field(2, location, tag=value),
        field(1, b"offset") + field(2, b"32"),
        field(1, b"length") + field(2, b"32"),
    ]
    hidden = tensor.SerializeToString() + b"".join(field(13, entry, tag=tag) for entry in entries)
    graph = model.graph.SerializeToString() + field(5, hidden)
    model.ClearField("graph")
    path.write_bytes(model.SerializeToString() + field(7, graph))
    relist(pack, GRAPH)


LONG_TAG = b"\xea\x80\x80\x80\x10"  # field 13 in its low 32 bits


@pytest.mark.parametrize("location", [b"unlisted.bin", b"../unlisted.bin", b"*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize(
    ("tag", "key", "value"),
    [
        (LONG_TAG, b"\x0a", b"\x12"),  # of the entries
        (b"\xea\x00", b"\x0a", b"\x12"),  # the same, in a byte too many
        (None, b"\x8a\x80\x80\x80\x10", b"\x12"),  # of the key
        (None, b"\x0a", b"\x92\x80\x80\x80\x10"),  # of the second value, which counts
        (None, b"\x0a", b"\x12"),  # two values
    ],
)
def test_a_graph_that_hides_where_its_weights_come_from(
    pack: Path, location: bytes, tag: bytes | None, key: bytes, value: bytes
) -> None:
    for path in (pack / "unlisted.bin", pack.parent / "unlisted.bin"):
        path.write_bytes((pack / "shared.bin").read_bytes())
    hide(pack, location, tag=tag, key=key, value=value)
    with pytest.raises(PackFileError, match="not an ONNX graph that can be checked"):
        embed(pack)
    (problem,) = verify_files(open_pack(pack))
    assert GRAPH in problem


def test_a_name_that_is_not_text_is_not_taken_for_one_that_is_listed(make_pack: MakePack) -> None:
    pack = make_pack(location="w?rong")  # a byte of it becomes one that no text has
    name = "w\ufffdrong"
    (pack / name).write_bytes((pack / "shared.bin").read_bytes())
    path = pack / GRAPH
    path.write_bytes(path.read_bytes().replace(b"w?rong", b"w\xffrong"))
    edit_manifest(pack, lambda root: root["graphs"][1].update(data=[name]))
    relist(pack, name, GRAPH)
    with pytest.raises(PackFileError, match="not UTF-8"):
        embed(pack)


@pytest.mark.parametrize(("offset", "length"), [(1, 64), (64, 1), (0, 65), (10**17, 32)])
def test_weights_past_the_end_of_their_file(pack: Path, offset: int, length: int) -> None:
    import onnx

    path = pack / GRAPH
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[-1].external_data:
        if entry.key != "location":
            entry.value = str({"offset": offset, "length": length}[entry.key])
    path.write_bytes(model.SerializeToString())
    relist(pack, GRAPH)
    with pytest.raises(PackFileError, match=r"shared\.bin, which has 64"):
        embed(pack)


@pytest.mark.parametrize("name", ["graph.ort", "graph.ORT", "graph.onnx.ort", "graph"])
def test_a_graph_whose_name_stands_for_another_format(pack: Path, name: str) -> None:
    (pack / GRAPH).rename(pack / name)
    edit_manifest(pack, lambda root: root["graphs"][1].update(file=name))
    relist(pack, name)
    with pytest.raises(ManifestError, match=r"does not end in \.onnx"):
        embed(pack)


def test_an_unknown_operator(pack: Path) -> None:
    content = (pack / GRAPH).read_bytes()
    assert b"ReduceSum" in content
    (pack / GRAPH).write_bytes(content.replace(b"ReduceSum", b"ReduceEvl"))
    relist(pack, GRAPH)
    with pytest.raises(PackFileError, match="cannot be loaded"):
        embed(pack)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_give_no_number(pack: Path, value: float) -> None:
    write_graph(pack, GRAPH, constant=[0, 0, value, 0, 0, 0, 0, 0])
    relist(pack, GRAPH)
    with pytest.raises(NonFiniteError, match="item 0"):
        embed(pack)


def test_a_graph_of_another_width(pack: Path) -> None:
    edit_manifest(pack, lambda root: root.update(dimension=9, matryoshka_dimensions=[]))
    with pytest.raises(PackFileError, match="gave shape"):
        embed(pack)


def test_a_tokenizer_that_is_none_whose_hash_agrees(pack: Path) -> None:
    (pack / "tokenizer.json").write_text('{"model": {"type": "os.system"}}')
    relist(pack, "tokenizer.json")
    with pytest.raises(PackFileError, match=r"tokenizer\.json"):
        embed(pack)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"text"',
        "{",
        "{}",
        '{"format": "embedge.pack"}',
        '{"format": "embedge.pack", "format": "embedge.pack"}',
        '{"format": "embedge.pack", "format_version": true}',
        '{"format": "embedge.pack", "format_version": "1"}',
        "[" * 200_000,
        '{"a":' * 200_000,
        '{"format": "embedge.pack", "format_version": 1, "dimension": ' + "9" * 5000 + "}",
    ],
)
def test_texts_that_are_no_manifest(pack: Path, text: str) -> None:
    (pack / MANIFEST).write_text(text)
    with pytest.raises(ManifestError, match=MANIFEST):
        embed(pack)


def test_bytes_that_are_no_text(pack: Path) -> None:
    (pack / MANIFEST).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(pack)


def test_a_pipe_a_folder_and_a_device_in_place_of_the_manifest(pack: Path) -> None:
    (pack / MANIFEST).unlink()
    os.mkfifo(pack / MANIFEST)  # opening it would wait for ever
    with pytest.raises(ManifestError, match="a pipe, socket or device"):
        embed(pack)
    (pack / MANIFEST).unlink()
    (pack / MANIFEST).mkdir()
    with pytest.raises(ManifestError, match="is a folder"):
        embed(pack)


def test_a_manifest_too_large_to_be_one_is_not_read(pack: Path) -> None:
    with (pack / MANIFEST).open("r+b") as stream:
        stream.truncate(MAX_MANIFEST_BYTES + 1)
    with pytest.raises(ManifestError, match="larger than"):
        embed(pack)


@pytest.mark.parametrize("version", [0, 2, 1.5, None, "1"])
def test_another_format_version(pack: Path, version: Any) -> None:
    edit_manifest(pack, lambda root: root.update(format_version=version))
    with pytest.raises(ManifestError, match="format_version"):
        embed(pack)


@pytest.mark.parametrize("key", ['"files"', '"shared.bin"', '"sha256"', '"tasks"'])
def test_a_name_that_stands_twice(pack: Path, key: str) -> None:
    text = (pack / MANIFEST).read_text()
    at = text.index(f"{key}: ")
    value, _ = json.JSONDecoder().raw_decode(text, at + len(f"{key}: "))
    (pack / MANIFEST).write_text(f"{text[:at]}{key}: {json.dumps(value)}, {text[at:]}")
    with pytest.raises(ManifestError, match="stands twice"):
        embed(pack)


def test_the_same_task_twice_with_another_graph(pack: Path) -> None:
    edit_manifest(pack, lambda root: root["graphs"].append(root["graphs"][0]))
    with pytest.raises(ManifestError, match="stand twice"):
        embed(pack)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dimension", 10**12),
        ("dimension", float("nan")),
        ("dimension", "8"),
        ("matryoshka_dimensions", [10**6]),
        ("matryoshka_dimensions", [True]),
        ("prompts", {"query": 5}),
        ("default_task", "../retrieval"),
        ("tasks", "retrieval"),
        ("graphs", {}),
        ("files", []),
        ("memory", {"per_token": -1, "per_token_squared": 0}),
        ("memory", {"per_token": 10**400, "per_token_squared": 0}),
        ("memory", {"per_token": 2**60, "per_token_squared": 0}),
        ("memory", {"per_token": 0, "per_token_squared": 1e299}),
        ("tasks", [str(number) for number in range(5000)]),
        ("prompts", {str(number): "" for number in range(5000)}),
        ("memory", {"per_token": 0, "per_token_squared": float("inf")}),
        ("memory", {"per_token": 0, "per_token_squared": float("nan")}),
        ("text", {"tokenizer": "missing", "max_length": 1, "pad_token_id": 0, "padding": "right"}),
    ],
)
def test_values_out_of_reason(pack: Path, field: str, value: Any) -> None:
    edit_manifest(pack, lambda root: root.update({field: value}))
    with pytest.raises(ManifestError, match=field):
        embed(pack)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("max_length", 2**40), ("max_length", 0), ("padding", "left")),
        *(("pad_token_id", -1), ("pad_token_id", 2**31), ("pad_token_id", 2**63)),
        *(("vocabulary_size", 2**31), ("vocabulary_size", 10**400)),
    ],
)
def test_text_input_out_of_reason(pack: Path, field: str, value: Any) -> None:
    edit_manifest(pack, lambda root: root["text"].update({field: value}))
    with pytest.raises(ManifestError, match=field):
        embed(pack)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("per_image", 10**400),
        ("mean", [1e299, 0, 0]),
        ("std", [1, 1, 1e-300]),
        ("std", [1, 1, 1e299]),
        ("logit_scale", 1e299),
    ],
)
def test_image_input_out_of_reason(make_pack: MakePack, field: str, value: Any) -> None:
    pack = make_pack(image=IMAGE)
    edit_manifest(pack, lambda root: root["image"].update({field: value}))
    with pytest.raises(ManifestError, match=field):
        embed(pack)


@pytest.mark.parametrize("where", ["prompts", "default_prompt", "source", "model_id", "a key"])
def test_half_characters(pack: Path, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    def attack(root: dict[str, Any]) -> None:
        if where == "prompts":
            root["prompts"]["query"] = "Q\ud800: "
        elif where == "default_prompt":
            root.update(prompts={"\udfff": ""}, default_prompt="\udfff")
        elif where == "a key":
            root["verification"] = {"fp32": {"\ud800": 1}}
        else:
            root[where] = {"source": {"name": ["\ud800"]}, "model_id": "\ud800"}[where]

    edit_manifest(pack, attack)
    with pytest.raises(ManifestError, match="half a character"):
        embed(pack)
    for command in ("info", "verify"):
        assert main([command, str(pack)]) == 2
        assert "half a character" in capsys.readouterr().err


def test_whole_characters_that_are_escaped_are_fine(pack: Path) -> None:
    edit_manifest(pack, lambda root: root["prompts"].update(query="\N{GRINNING FACE}"))
    assert "\\ud83d" in (pack / MANIFEST).read_text()
    assert read_manifest(pack).prompts["query"] == "\N{GRINNING FACE}"


def test_a_manifest_of_many_graphs_takes_no_quadratic_time(pack: Path) -> None:
    """Looked up among all tasks, each graph would take as long as there are tasks."""
    tasks = [f"task {number}" for number in range(MAX_NAMES)]
    looked = 0

    class Counted(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal looked
            looked += 1
            return str.__eq__(self, other)

    manifest = read_manifest(pack)
    graphs = [
        replace(manifest.graphs[0], task=task, precision=precision)
        for task in tasks
        for precision in ("fp32", "int8")
    ]
    dump_manifest(
        replace(
            manifest,
            tasks=tuple(Counted(task) for task in tasks),
            default_task=tasks[0],
            graphs=tuple(graphs),
        )
    )
    assert looked < 10 * len(graphs)


def test_ids_beyond_32_bits(pack: Path) -> None:
    path = pack / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"] = 2**31 + 5
    path.write_text(json.dumps(tokenizer))
    relist(pack, path.name)
    with Embedder(pack) as embedder:
        with pytest.raises(TextError, match=f"item 1.*id {2**31 + 5}"):
            embedder.encode(["b", "a"])
        assert embedder.encode("b").shape == (8,)
