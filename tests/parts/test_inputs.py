"""What `embedge bulk` reads: names, formats, columns, and rows that hold no text."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, ipc
from pyarrow import parquet as pq

from embedge import Embedder
from embedge.errors import InputError
from embedge.parts.inputs import find_inputs
from parts.conftest import read_parts

Bulk = Callable[..., tuple[int, Path]]
Captured = pytest.CaptureFixture[str]
ROWS: list[dict[str, Any]] = [
    {"id": number, "text": f"text {number}", "odd": number % 2 == 1} for number in range(30)
]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    """The rows in the format that the name says."""
    columnar = path.suffix in (".parquet", ".feather", ".arrow")
    table: Any = pa.Table.from_pylist(rows) if columnar else None
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    cells = [list(rows[0]), *(list(map(str, row.values())) for row in rows)]
    suffixes = "".join(path.suffixes)
    if suffixes == ".parquet":
        pq.write_table(table, path)
    elif suffixes == ".feather":
        feather.write_feather(table, path)
    elif suffixes == ".arrow":  # a stream, as the datasets library writes
        with ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    elif suffixes == ".json" and path.stem != "lines":  # as Spark writes them
        path.write_text(json.dumps(rows))
    elif suffixes in (".csv", ".tsv"):
        path.write_text("".join((",", "\t")[suffixes == ".tsv"].join(row) + "\n" for row in cells))
    elif suffixes == ".jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines)
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("a.parquet", "a.feather", "a.arrow", "a.jsonl", "a.ndjson", "a.jsonl.gz", "a.json"),
        *("a.csv", "a.tsv", "lines.json"),
    ],
)
def test_every_format_gives_the_same_rows(
    bulk: Bulk, tmp_path: Path, pack: Path, name: str
) -> None:
    code, out = bulk(write(tmp_path / name), "--rows", 8)
    assert code == 0
    table = read_parts(out)
    texts = name.endswith(("csv", "tsv"))  # whose cells have no types
    assert table.drop(["embedding", "error"]).to_pylist() == [
        {key: str(value) if texts else value for key, value in row.items()} for row in ROWS
    ]
    with Embedder(pack) as embedder:
        expected = embedder.encode([row["text"] for row in ROWS])
    assert table["embedding"].to_pylist() == expected.tolist()


def test_inputs_of_several_formats_follow_each_other(bulk: Bulk, tmp_path: Path) -> None:
    first = write(tmp_path / "b.jsonl", ROWS[:11])
    second = write(tmp_path / "a.parquet", ROWS[11:12])
    third = write(tmp_path / "c.json", ROWS[12:])
    code, out = bulk(first, second, third, "--rows", 4)
    assert code == 0
    assert read_parts(out)["id"].to_pylist() == list(range(30))
    assert len(list(out.glob("parts/*"))) == 8


def test_columns_of_json_have_the_type_of_all_their_values(bulk: Bulk, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "a", "int": 1, "float": 1, "mixed": 1, "list": [1], "big": 2**70, "none": None},
        {"text": "b", "int": None, "float": 0.5, "mixed": "x", "list": {"a": "\ud800"}},
        {"text": "c", "later": True, "float": 2**60, "mixed": "\ud800"},
    ]
    code, out = bulk(write(tmp_path / "a.jsonl", rows), "--rows", 2)
    assert code == 0
    table = read_parts(out).drop(["embedding", "error"])
    assert {field.name: str(field.type) for field in table.schema} == {
        "text": "string",
        "int": "int64",
        "float": "double",
        "mixed": "string",
        "list": "string",
        "big": "string",
        "none": "string",
        "later": "bool",
    }
    assert table["float"].to_pylist() == [1.0, 0.5, 2.0**60]
    assert table["mixed"].to_pylist() == ["1", "x", "\ufffd"]
    assert table["list"].to_pylist() == ["[1]", '{"a": "\\ud800"}', None]
    assert table["later"].to_pylist() == [None, None, True]


def test_bad_rows_have_a_reason_and_no_vector(bulk: Bulk, tmp_path: Path, capsys: Captured) -> None:
    lines = [
        b'{"id": 0, "text": "good"}',
        b'{"id": 1, "text": null}',
        b'{"id": 2}',
        b'{"id": 3, "text": 5}',
        b'{"id": 4, "text": "a\\u0000b"}',
        b"{not JSON",
        b"[1]",
        b'{"id": 7, "text": "\xff"}',
        b'{"id": 8, "text": "surrogate \\ud800"}',
        b'{"id": 9, "text": "' + b"long " * 200_000 + b'"}',
        b'"a string alone"',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    code, out = bulk(tmp_path / "a.jsonl", "--on-overflow", "error", "--rows", 4)
    assert code == 0
    table = read_parts(out)
    errors = table["error"].to_pylist()
    assert [index for index, reason in enumerate(errors) if reason is None] == [0, 8, 10]
    expected = ["is null", 'has no "text"', '"text" is not a string', "NUL", "is not JSON"]
    expected += ["neither a JSON string", "is not UTF-8", "tokens"]
    for reason, part in zip([errors[i] for i in (1, 2, 3, 4, 5, 6, 7, 9)], expected, strict=True):
        assert part in reason
    vectors = table["embedding"].to_pylist()
    assert [row is None for row in vectors] == [reason is not None for reason in errors]
    assert table["id"].to_pylist() == [0, 1, 2, 3, 4, None, None, None, 8, 9, None]
    said = capsys.readouterr().err
    assert f"embedge: {tmp_path / 'a.jsonl'}, row 2: is null" in said
    assert "without a vector: 8 rows" in said


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.large_string()])
def test_texts_of_other_types_and_bytes_that_are_no_text(
    bulk: Bulk, tmp_path: Path, kind: pa.DataType
) -> None:
    values = [b"one", None, b"\xff", b"two"]
    if pa.types.is_large_string(kind):
        values[2] = None
    table = pa.table({"body": pa.array(values, kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    code, out = bulk(tmp_path / "a.parquet", "--column", "body")
    assert code == 0
    assert read_parts(out)["body"].to_pylist() == table["body"].to_pylist()
    errors = read_parts(out)["error"].to_pylist()
    assert [reason is None for reason in errors] == [True, False, False, True]


def test_dictionaries_are_texts_too(bulk: Bulk, tmp_path: Path) -> None:
    texts = pa.array(["a", "b", None, "a"]).dictionary_encode()
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    code, out = bulk(tmp_path / "a.parquet")
    assert code == 0
    assert [row is None for row in read_parts(out)["embedding"].to_pylist()] == [False] * 2 + [
        True,
        False,
    ]


def test_on_error_raise_stops_at_the_row(bulk: Bulk, tmp_path: Path, capsys: Captured) -> None:
    rows = [*ROWS[:20], {"id": 20, "text": None}, *ROWS[20:]]
    code, out = bulk(write(tmp_path / "a.jsonl", rows), "--rows", 8, "--on-error", "raise")
    assert code == 2
    assert f"{tmp_path / 'a.jsonl'}, row 21: is null; leave it out, or pass --on-error null" in (
        capsys.readouterr().err
    )
    assert len(list(out.glob("parts/*"))) == 2


def test_an_input_without_rows(bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    code, out = bulk(tmp_path / "a.jsonl")
    assert code == 0
    assert list((out / "parts").iterdir()) == []
    assert json.loads((out / "manifest.json").read_text())["parts"] == 0


def test_inputs_that_do_not_fit_each_other(bulk: Bulk, tmp_path: Path, capsys: Captured) -> None:
    def refusal(*arguments: Any) -> str:
        assert bulk(*arguments)[0] == 2
        return capsys.readouterr().err

    first = write(tmp_path / "a.parquet")
    other = write(tmp_path / "b.parquet", [{"id": "x", "text": "a", "odd": True}])
    fewer = write(tmp_path / "c.parquet", [{"id": 1, "text": "a"}])
    assert 'column "id" holds string, and int64 in the inputs before' in refusal(first, other)
    assert 'has no column "odd"' in refusal(first, fewer)
    assert 'has no column "odd"' in refusal(fewer, first)
    assert bulk(first, fewer, "--keep", "id")[0] == 0
    assert "is named twice" in refusal(first, first)
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and no more PAR1")
    assert "d.parquet cannot be read as Parquet" in refusal(tmp_path / "d.parquet")
    (tmp_path / "e.arrow").write_bytes(b"nothing")
    assert "e.arrow cannot be read as Arrow" in refusal(tmp_path / "e.arrow")
    (tmp_path / "f.jsonl").write_bytes(bytes(range(256)) * 20)
    assert "f.jsonl cannot be read: it is" in refusal(tmp_path / "f.jsonl")
    table = pa.table({"text": ["a"], "error": ["b"]})
    pq.write_table(table, tmp_path / "g.parquet")
    assert "choose the columns to write with --keep" in refusal(tmp_path / "g.parquet")
    assert bulk(tmp_path / "g.parquet", "--keep", "text", out="other")[0] == 0


def test_names_stand_for_files_in_a_fixed_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.parquet", "a.parquet", "deep/er/c.jsonl", "deep/d.csv.gz", "note.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("x")
    for name in ("deep/dataset_info.json", "deep/state.json", "dataset_dict.json"):
        (tmp_path / "data" / name).write_text("{}")
    for name in ("_SUCCESS.json", ".hidden.csv", "deep/_tmp/x.csv", "x.parquet.gz"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("x")
    monkeypatch.chdir(tmp_path)

    def found(*names: str) -> list[str]:
        return [item.name for item in find_inputs(names, out=tmp_path / "out")]

    everything = ["data/a.parquet", "data/b.parquet", "data/deep/d.csv.gz", "data/deep/er/c.jsonl"]
    assert found("data") == everything
    assert found("data/**") == everything
    assert found("data/*.parquet") == everything[:2]
    assert found("d*/deep/**/*.jsonl") == everything[3:]
    assert found("**/*.csv.gz") == everything[2:3]
    assert found("data/b.parquet", "data/[a]*") == ["data/b.parquet", "data/a.parquet"]
    assert found("data/_*.json") == ["data/_SUCCESS.json"]
    assert found("data/deep/state.json") == ["data/deep/state.json"]
    uri = (tmp_path / "data").as_uri()
    assert found(f"{uri}/*.parquet") == [f"{uri}/a.parquet", f"{uri}/b.parquet"]
    for name, reason in (
        ("nothing.csv", "does not exist"),
        ("data/note.txt", "by its name"),
        ("*.csv", "holds no .parquet"),
        ("gopher://a/b", "cannot be read"),
        ("data/x.parquet.gz", "by its name"),
    ):
        with pytest.raises(InputError, match=reason):
            found(name)
    with pytest.raises(InputError, match="outside of it"):
        find_inputs(["data"], out=tmp_path / "data" / "out")


def test_vectors_are_read_back_as_an_array(bulk: Bulk, tmp_path: Path) -> None:
    out = bulk(write(tmp_path / "a.parquet"))[1]
    column = read_parts(out)["embedding"].combine_chunks()
    array = column.flatten().to_numpy().reshape(-1, column.type.list_size)
    assert array.shape == (30, 8)
    assert array.dtype == np.float32
