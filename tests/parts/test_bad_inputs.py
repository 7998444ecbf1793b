"""What is wrong with a data set ends as a row with a reason or as one sentence."""

import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import ipc
from pyarrow import parquet as pq

from parts.conftest import read_parts

Bulk = Callable[..., tuple[int, Path]]
Captured = pytest.CaptureFixture[str]
TEXTS = [f"text {number}" for number in range(200)]


@pytest.fixture
def refusal(bulk: Bulk, capsys: Captured, tmp_path: Path) -> Callable[..., str]:
    """`refusal(INPUT…)`: what a run says that stops with exit code 2, before it writes anything."""

    def run(*arguments: Any) -> str:
        capsys.readouterr()
        assert bulk(*arguments, out="refused")[0] == 2
        assert not (tmp_path / "refused").exists()
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]

    return run


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=20, use_dictionary=False)
    return path


def arrow(path: Path, table: pa.Table) -> Path:
    with ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=50)
    return path


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# ---------------------------------------------------------------------------- rows


def test_values_of_json_that_are_not_texts(bulk: Bulk, tmp_path: Path) -> None:
    odd: list[Any] = [float("nan"), float("inf"), 5, True, ["a"], {"a": 1}, None]
    rows = [*({"text": value} for value in odd), "good", {"text": ""}, {"text": "  "}]
    code, out = bulk(lines(tmp_path / "a.jsonl", *rows))
    assert code == 0
    table = read_parts(out)
    assert table["error"].to_pylist() == ['"text" is not a string'] * 6 + ["is null"] + [None] * 3
    vectors = table["embedding"].to_pylist()
    assert [row is None for row in vectors] == [True] * 7 + [False] * 3


def test_texts_of_parquet_that_are_odd(bulk: Bulk, tmp_path: Path) -> None:
    odd = ["", "   ", "\n", "a\0b", "x" * 1_000_000, "\U0010ffff\u202e", None]
    code, out = bulk(parquet(tmp_path / "a.parquet", text=odd))
    assert code == 0
    table = read_parts(out)
    assert table["text"].to_pylist() == odd
    assert table["error"].to_pylist() == [None] * 6 + ["is null"]


def test_a_text_is_too_long_for_memory_in_every_format(bulk: Bulk, tmp_path: Path) -> None:
    long = "x" * (16 * 2**20 + 1)
    sources = [parquet(tmp_path / "a.parquet", text=[long, "good"])]
    sources.append(lines(tmp_path / "a.jsonl", {"text": long}, {"text": "good"}))
    code, out = bulk(*sources, "--keep", "")
    assert code == 0
    errors = read_parts(out)["error"].to_pylist()
    assert [reason is None for reason in errors] == [False, True, False, True]
    assert "16 MiB" in errors[0]
    assert errors[2] == errors[0]


def test_a_column_of_nothing_but_null(bulk: Bulk, tmp_path: Path) -> None:
    empty = parquet(tmp_path / "a.parquet", text=pa.nulls(2), id=pa.nulls(2))
    full = parquet(tmp_path / "b.parquet", text=["good", "fine"], id=[1, 2])
    for order in ((empty, full), (full, empty)):
        code, out = bulk(*order, out=order[0].stem)
        assert code == 0
        assert sorted(map(str, read_parts(out)["id"].to_pylist())) == ["1", "2", "None", "None"]
        assert read_parts(out)["error"].to_pylist().count("is null") == 2


def test_rows_of_tables_that_are_broken(bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1,\n2\n3,c,d\n4,ok\n5,"no end\n6,lost\n')
    code, out = bulk(tmp_path / "a.csv")
    assert code == 0
    errors = read_parts(out)["error"].to_pylist()
    assert errors[0] is None  # an empty cell is an empty text
    assert errors[1] == "is null"
    assert errors[2] == "has 3 cells, and the table has 2 columns"
    assert errors[3] is None
    assert "is not a row of a table" in errors[4]


def test_a_json_array_that_breaks_off(bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text": "b"}, {"te')
    code, out = bulk(tmp_path / "a.json")
    assert code == 0
    errors = read_parts(out)["error"].to_pylist()
    assert errors[:2] == [None, None]
    assert "is not JSON from here on" in errors[2]


# ---------------------------------------------------------------------------- files


def test_columns_that_cannot_be_texts(refusal: Callable[..., str], tmp_path: Path) -> None:
    kinds = {"list<": [["a"]], "int64": [5], "double": [0.5], "bool": [True], "struct<": [{"a": 1}]}
    for kind, values in kinds.items():
        said = refusal(parquet(tmp_path / "a.parquet", text=values))
        assert 'column "text" holds' in said
        assert kind in said
        assert "name another with --column" in said


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_column_that_the_third_file_lacks(
    refusal: Callable[..., str], tmp_path: Path, suffix: str
) -> None:
    names = [tmp_path / f"{letter}.{suffix}" for letter in "abc"]
    for path, column in zip(names, ("text", "text", "body"), strict=True):
        if suffix == "parquet":
            parquet(path, **{column: ["a"]})
        else:
            lines(path, {column: "a"})
    assert refusal(*names).endswith(
        f'{names[2]} has no column "text"; it has body (--column names another)'
    )


def test_columns_of_one_name(refusal: Callable[..., str], tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array([1]), pa.array([2])], names=["text", "k", "k"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert 'a.parquet has 2 columns named "k"; rename them' in refusal(tmp_path / "a.parquet")


def test_a_column_that_parquet_does_not_take(
    bulk: Bulk, refusal: Callable[..., str], tmp_path: Path
) -> None:
    kinds = {
        "month_day_nano_interval": pa.array([pa.MonthDayNano([1, 2, 3])]),
        "struct<>": pa.array([{}], pa.struct([])),
    }
    for kind, values in kinds.items():
        source = arrow(tmp_path / "a.arrow", pa.table({"text": ["a"], "odd": values}))
        said = refusal(source)
        assert f'the column "odd" holds {kind}, which Parquet does not take' in said
        assert "leave it out with --keep" in said
    assert bulk(source, "--keep", "text")[0] == 0


def test_files_that_are_cut_off_or_damaged(refusal: Callable[..., str], tmp_path: Path) -> None:
    whole = parquet(tmp_path / "a.parquet", text=TEXTS).read_bytes()
    table = arrow(tmp_path / "a.arrow", pa.table({"text": TEXTS})).read_bytes()
    rows = gzip.compress(lines(tmp_path / "a.jsonl", *TEXTS).read_bytes())
    damaged = bytearray(table)
    damaged[400:460] = b"\xff" * 60
    changed = bytearray(rows)
    changed[len(changed) // 2] ^= 0xFF
    files = {
        "a.parquet": [b"", whole[:-500], b"PAR1"],
        "a.arrow": [b"", table[:-300], bytes(damaged)],
        "a.jsonl.gz": [rows[:-100], b"not compressed", bytes(changed)],
        "a.jsonl.zst": [b"not compressed"],
    }
    for name, contents in files.items():
        for content in contents:
            (tmp_path / name).write_bytes(content)
            said = refusal(tmp_path / name)
            assert said.startswith(f"embedge: error: {tmp_path / name} cannot be read")


def test_a_file_without_a_row_that_can_be_read(refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("plain text\nand more of it\n")
    said = refusal(tmp_path / "a.jsonl")
    assert "a.jsonl has no row that can be read as JSONL; the first is not JSON (" in said
    (tmp_path / "a.csv").write_text('id,text\n1,"no end\n2,lost\n')
    assert "has no row that can be read as CSV" in refusal(tmp_path / "a.csv")


def test_arrow_that_is_not_utf8_is_a_matter_of_its_rows(bulk: Bulk, tmp_path: Path) -> None:
    texts = pa.array([b"good", b"\xff"]).view(pa.string())
    code, out = bulk(arrow(tmp_path / "a.arrow", pa.table({"text": texts})), "--keep", "")
    assert code == 0
    errors = read_parts(out)["error"].to_pylist()
    assert errors[0] is None
    assert "is not UTF-8" in errors[1]


def test_a_broken_page_stops_with_a_sentence_and_keeps_what_is_done(
    bulk: Bulk, tmp_path: Path, capsys: Captured
) -> None:
    path = parquet(tmp_path / "a.parquet", text=TEXTS)
    whole = path.read_bytes()
    place = pq.read_metadata(path).row_group(5).column(0).data_page_offset
    path.write_bytes(whole[:place] + b"\xff" * 40 + whole[place + 40 :])
    code, out = bulk(path, "--rows", 30)
    assert code == 2
    said = capsys.readouterr().err
    assert f"{path} cannot be read as Parquet" in said
    assert "Traceback" not in said
    assert read_parts(out)["text"].to_pylist() == TEXTS[:90]
    path.write_bytes(whole)  # the file is fetched once more, and the run goes on
    assert bulk(path, "--rows", 30)[0] == 0
    assert read_parts(out)["text"].to_pylist() == TEXTS


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_a_name_that_is_not_utf8(refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = os.fsencode(tmp_path / "data") + b"/\xff.jsonl"
    with open(path, "w") as stream:  # noqa: PTH123 a name of bytes
        stream.write('{"text": "a"}\n')
    assert "is not UTF-8; rename it" in refusal(tmp_path / "data")
    assert "is not UTF-8; rename it" in refusal(os.fsdecode(path))
    assert "is not UTF-8; rename it" in refusal("--images", tmp_path / "data")
