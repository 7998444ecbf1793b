"""CSV, TSV and JSON arrays as records: their quoting, their mistakes, and bounded memory."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.bulk import tables
from embedge.bulk.records import Bad, Record, read_records
from embedge.cli import main

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


def read(data: bytes, kind: str, **options: Any) -> list[Record | Bad]:
    return list(read_records(["-"], input_format=kind, stdin=io.BytesIO(data), **options))


def texts(found: list[Record | Bad]) -> list[str | None]:
    return [one.text if isinstance(one, Record) else None for one in found]


@given(st.lists(st.tuples(CELLS, CELLS), max_size=10), st.sampled_from(["csv", "tsv"]))
def test_tables_round_trip(rows: list[tuple[str, str]], kind: str) -> None:
    stream = io.StringIO(newline="")
    delimiter = tables.DELIMITERS[kind]
    writer = csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("id", "text"), *rows])
    data = stream.getvalue()
    if "\r" in data:  # a lone CR is a line end only on old Macs, and is told by the head
        return
    found = read(data.encode(), kind)
    assert texts(found) == [text for _, text in rows]
    assert [one.index for one in found] == list(range(len(rows)))
    assert [one.id for one in found if isinstance(one, Record)] == [
        name or None for name, _ in rows
    ]


def test_a_table_by_hand() -> None:
    data = 'id,text,more\r\na,"two\r\nlines, ""quoted""",x\r\n\r\nb,plain\r\n'.encode("utf-16")
    first, second = read(data, "csv")
    assert isinstance(first, Record)
    assert (first.where, first.id) == ("stdin:2", "a")
    assert first.text == 'two\r\nlines, "quoted"'
    assert isinstance(second, Record)
    assert (second.where, second.text) == ("stdin:5", "plain")
    assert texts(read(b"q\tanswer\na\tb, c\n", "tsv", column="answer")) == ["b, c"]


def test_mistakes_cost_their_row() -> None:
    data = b'text,n\ngood,1\n"bad"x,2\na,b,c\n\xff,3\nlast,5\n'
    found = read(data, "csv")
    assert texts(found) == ["good", None, None, None, "last"]
    reasons = [one.reason for one in found if isinstance(one, Bad)]
    assert "is not a row of a table" in reasons[0]
    assert "has 3 cells, and the table has 2 columns" in reasons[1]
    assert "is not UTF-8" in reasons[2]
    assert [one.where for one in found] == [f"stdin:{line}" for line in (2, 3, 4, 5, 6)]


def test_nul_far_down_costs_its_row() -> None:
    found = read(b"text\n" + b"good\n" * 20_000 + b"bad\0\nlast\n", "csv")
    assert len(found) == 20_002
    assert isinstance(found[-2], Bad)
    assert "NUL" in found[-2].reason
    assert texts(found[-1:]) == ["last"]


def test_a_missing_column_names_those_there_are() -> None:
    (one,) = read(b"title,body\na,b\n", "csv")
    assert isinstance(one, Bad)
    assert "no object" not in one.reason
    assert "it has title, body (--column names another)" in one.reason
    (one,) = read(b'[{"body": "b"}]', "json")
    assert isinstance(one, Bad)
    assert "it has body" in one.reason
    assert texts(read(b'{"body": "b"}\n', "jsonl", column="body")) == ["b"]


def test_an_open_quote_does_not_take_the_memory() -> None:
    data = b'text\n"open\n' + b"line\n" * 200_000
    found = read(data, "csv")
    assert isinstance(found[0], Bad)
    assert "longer than 131,072 characters" in found[0].reason


@given(
    st.lists(
        st.one_of(CELLS, st.fixed_dictionaries({"text": CELLS, "id": st.integers()})), max_size=8
    ),
    st.sampled_from([None, 1]),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
)
def test_arrays_round_trip(values: list[Any], indent: int | None, encoding: str) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=False).encode(encoding)
    expected = [value if isinstance(value, str) else value["text"] for value in values]
    assert texts(read(data, "json")) == expected


def test_a_long_array_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes = 0

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read_bytes
            data = super().read(size)
            read_bytes += len(data)
            return data

        read1 = read

    data = json.dumps(["x" * 1000] * 2000).encode()
    records = read_records(["-"], input_format="json", stdin=Counted(data))
    assert texts([next(records)]) == ["x" * 1000]
    assert read_bytes < len(data) / 4
    assert sum(1 for _ in records) == 1999
    assert sum(one.size for one in read(data, "json")) == len(data)


@pytest.mark.parametrize(
    ("data", "good", "reason"),
    [
        (b"", 0, "is not a JSON array"),
        (b'{"text": "a"}\n', 0, "add --input-format jsonl"),
        (b'["a", "b"', 1, "a comma or ] is missing"),
        (b'["a" "b"]', 0, "a comma or ] is missing"),
        (b'["a", b]', 1, "is not JSON from here on"),
        (b'["a", 5]', 1, "is neither a JSON string"),
        (b'["a", "\xff"]', 1, ""),
    ],
)
def test_a_broken_array_is_told_once(data: bytes, good: int, reason: str) -> None:
    found = read(data, "json")
    assert len(found) == good + 1
    bad = found[-1]
    assert isinstance(bad, Bad) or not reason
    if isinstance(bad, Bad):
        assert reason in bad.reason


def test_an_item_without_end_is_refused_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedge.bulk.records.MAX_TEXT_BYTES", 2**20)
    (bad,) = read(b'["' + b"a" * (8 * 2**20), "json")
    assert isinstance(bad, Bad)
    assert "longer than 1 MiB" in bad.reason


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", "n,text\n1,one\n2,two\n"),
        ("t.TSV", "text\tn\none\t1\ntwo\t2\n"),
        ("t.json", '["one", {"text": "two"}]'),
    ],
)
def test_the_command_goes_by_the_name(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: str
) -> None:
    (tmp_path / name).write_text(data, encoding="utf-8")
    assert main(["embed", "-p", str(pack), str(tmp_path / name), "-q"]) == 0
    lines = capsys.readouterr().out
    assert main(["embed", "-p", str(pack), "-t", "one", "-t", "two", "-q"]) == 0
    assert lines == capsys.readouterr().out


def test_an_unknown_ending_of_the_output_is_refused(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "v.vectors"
    assert main(["embed", "-p", str(pack), "-t", "a", "--out", str(out)]) == 2
    assert ".vectors" in capsys.readouterr().err
    assert main(["embed", "-p", str(pack), "-t", "a", "--out", str(out), "--format", "npy"]) == 0
