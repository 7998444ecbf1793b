"""`embedge bulk` on data sets and images behind S3's protocol, by pyarrow's own client."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import feather
from pyarrow import parquet as pq

from embedge import Embedder
from support.tiny import IMAGE

Bulk = Callable[..., tuple[int, Path]]
Put = Callable[[str, bytes], str]
Captured = pytest.CaptureFixture[str]
ROWS = [{"id": number, "text": f"text {number}"} for number in range(300)]


@pytest.fixture
def pack(make_pack: Callable[..., Path]) -> Path:
    return make_pack("both", image=IMAGE)


def part_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "parts").iterdir())}


def rows_of(out: Path) -> Any:
    return pa.concat_tables([pq.read_table(path) for path in sorted((out / "parts").iterdir())])


def in_format(suffix: str) -> bytes:
    table = pa.Table.from_pylist(ROWS)
    stream = io.BytesIO()
    if suffix == "parquet":
        pq.write_table(table, stream, row_group_size=70)
    elif suffix == "feather":
        feather.write_feather(table, stream)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        stream.write(gzip.compress(lines) if suffix.endswith("gz") else lines)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["parquet", "feather", "jsonl", "jsonl.gz"])
def test_the_parts_are_those_of_a_file_on_this_machine(
    bulk: Bulk, put: Put, tmp_path: Path, suffix: str
) -> None:
    data = in_format(suffix)
    (tmp_path / f"a.{suffix}").write_bytes(data)
    local = bulk(tmp_path / f"a.{suffix}", "--rows", 50, out="local")
    remote = bulk(put(f"{suffix}/a.{suffix}", data), "--rows", 50, out="remote")
    assert (local[0], remote[0]) == (0, 0)
    assert part_bytes(remote[1]) == part_bytes(local[1])
    assert len(part_bytes(local[1])) == 6


def test_folders_and_patterns(bulk: Bulk, put: Put) -> None:
    for key in ("set/b/2.jsonl", "set/a/1.jsonl", "set/_tmp/0.jsonl", "set/note.txt"):
        put(key, json.dumps({"text": key}).encode())
    for number, name in enumerate(("s3://bucket/set", "s3://bucket/set/", "s3://bucket/s*/**")):
        code, out = bulk(name, out=str(number))
        assert code == 0
        assert rows_of(out)["text"].to_pylist() == ["set/a/1.jsonl", "set/b/2.jsonl"]
        inputs = json.loads((out / "manifest.json").read_text())["inputs"]
        assert [one["name"] for one in inputs] == [
            "s3://bucket/set/a/1.jsonl",
            "s3://bucket/set/b/2.jsonl",
        ]


def test_shards_and_changed_objects(bulk: Bulk, put: Put, capsys: Captured) -> None:
    name = put("shards/a.parquet", in_format("parquet"))
    whole = part_bytes(bulk(name, "--rows", 50, out="whole")[1])
    for shard in ("2/2", "1/2"):
        code, out = bulk(name, "--rows", 50, "--shard", shard)
        assert code == 0
    assert part_bytes(out) == whole
    put("shards/a.parquet", in_format("parquet")[:-8] + b"xxxxPAR1")
    assert bulk(name, "--rows", 50)[0] == 2
    assert "cannot be read as Parquet" in capsys.readouterr().err
    table = pa.Table.from_pylist(ROWS[:-1])
    stream = io.BytesIO()
    pq.write_table(table, stream)
    put("shards/a.parquet", stream.getvalue())
    assert bulk(name, "--rows", 50)[0] == 2
    assert f"{name} has changed" in capsys.readouterr().err


def test_the_address_may_stand_in_the_uri(
    bulk: Bulk, put: Put, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = put("address/a.jsonl", b'{"text": "a"}\n')
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    place = server.removeprefix("http://")
    code, out = bulk(f"{name}?scheme=http&endpoint_override={place}")
    assert code == 0
    assert rows_of(out)["text"].to_pylist() == ["a"]


# ---------------------------------------------------------------------------- images


def encoded(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (number * 9, 255 - number, 40)).save(stream, "PNG")
    return stream.getvalue()


def test_images(bulk: Bulk, put: Put, pack: Path, tmp_path: Path) -> None:
    for number in range(20):
        put(f"photos/{number:02}.png", encoded(number))
    put("photos/bad.png", b"not an image")
    with Embedder(pack) as embedder:
        expected = embedder.encode_image([encoded(number) for number in range(20)])
    code, out = bulk("--images", "s3://bucket/photos", "--rows", 8, out="folder")
    assert code == 0
    table = rows_of(out)
    assert table["path"].to_pylist()[0] == "s3://bucket/photos/00.png"
    assert table["path"].to_pylist()[20] == "s3://bucket/photos/bad.png"
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist()[:20]), expected)
    assert "is not an image" in table["error"].to_pylist()[20]

    names = [f"{number:02}.png" for number in range(20)]
    names += ["s3://bucket/photos/03.png", "none.png", "s3://other/a.png", "", "../x//y.png"]
    rows = "".join(json.dumps({"image": name}) + "\n" for name in names).encode()
    beside = put("photos/rows.jsonl", rows)
    (tmp_path / "rows.jsonl").write_bytes(rows)
    column = ["--image-column", "image"]
    first = bulk(beside, *column, out="beside")[1]
    second = bulk(tmp_path / "rows.jsonl", *column, "--root", "s3://bucket/photos/", out="root")[1]
    assert part_bytes(first) == part_bytes(second)
    table = rows_of(first)
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist()[:20]), expected)
    assert table["embedding"].to_pylist()[20] == expected[3].tolist()
    reasons = ["'s3://bucket/photos/none.png' does not exist", "not below s3://bucket/photos"]
    reasons += ["is empty", "cannot be opened"]
    for reason, part in zip(table["error"].to_pylist()[21:], reasons, strict=True):
        assert part in reason


# ---------------------------------------------------------------------------- what fails


def test_what_is_not_there(bulk: Bulk, put: Put, tmp_path: Path, capsys: Captured) -> None:
    put("there/a.txt", b"x")
    rows = put("there/a.jsonl", b'{"image": "a.png"}\n')
    for name, part in (
        ("s3://bucket/none.jsonl", "s3://bucket/none.jsonl does not exist"),
        ("s3://no-bucket/a.jsonl", "s3://no-bucket/a.jsonl does not exist"),
        ("s3://bucket/there/*.csv", "s3://bucket/there/*.csv holds no"),
        ("s3://bucket/a b.jsonl", "s3://bucket/a b.jsonl cannot be read"),
    ):
        capsys.readouterr()
        assert bulk(name)[0] == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert part in lines[0]
    root = ["--image-column", "image", "--root", "s3://bucket/none"]
    assert bulk(rows, *root)[0] == 2
    assert "--root s3://bucket/none is not a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"AWS_ACCESS_KEY_ID": None}, ["ACCESS_DENIED", "check the credentials"]),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, ["connect to server", "check the network"]),
    ],
)
def test_a_server_that_does_not_answer_is_one_sentence(
    put: Put, pack: Path, tmp_path: Path, changes: dict[str, str | None], parts: list[str]
) -> None:
    name = put("closed/a.parquet", in_format("parquet"))
    environment = {**os.environ, **{key: value for key, value in changes.items() if value}}
    for key in (key for key, value in changes.items() if value is None):
        del environment[key]
    command = [sys.executable, "-m", "embedge", "bulk", name, "-p", str(pack)]
    command += ["--out", str(tmp_path / "out")]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 2
    lines = run.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"embedge: error: {name} cannot be read: ")
    assert all(part in lines[0] for part in parts)
    assert not (tmp_path / "out").exists()
