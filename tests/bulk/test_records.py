"""Reading texts: any bytes give records or reasons, never an exception."""

import codecs
import io
import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.bulk.records import Bad, Record, _read, read_records

LINE = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=20)


@given(st.lists(LINE, min_size=1), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_lines_round_trip(texts, newline, last):
    data = newline.join(texts) + (newline if last or not texts[-1] else "")
    records = list(_read(io.BytesIO(data.encode()), "f", "lines", 0))
    if texts[0].startswith("\ufeff"):  # a byte order mark is not text
        texts = [texts[0][1:], *texts[1:]]
    assert [record.text for record in records] == texts
    assert [record.where for record in records] == [f"f:{i + 1}" for i in range(len(texts))]


@given(
    st.lists(
        st.tuples(
            st.text(), st.none() | st.text(st.characters(exclude_categories=["Cs"])) | st.integers()
        )
    )
)
def test_jsonl_round_trip(rows):
    data = "".join(json.dumps({"text": text, "id": id_}) + "\n" for text, id_ in rows)
    records = list(_read(io.BytesIO(data.encode()), "f", "jsonl", 0))
    assert [(record.text, record.id) for record in records] == rows


@given(st.binary(), st.sampled_from(["lines", "jsonl", "file"]))
def test_any_bytes(data, kind):
    records = list(_read(io.BytesIO(data), "f", kind, 5))
    assert all(isinstance(record, (Record, Bad)) for record in records)
    assert [record.index for record in records] == list(range(5, 5 + len(records)))


MARKED = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
# Line ends of Unicode that end no line; code units that hold the bytes of LF and CR; a surrogate
# pair; an empty line.
TEXTS = ["a\u2028b\x85c\x0cd\x0be", "ਊ਀\u0d0a\u0a0d上", "", "🙂 zwölf", "last"]


class OneByte(io.RawIOBase):
    """A pipe whose writer sends a byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer):
        return self._stream.readinto(memoryview(buffer)[:1])


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize(
    ("end", "pipe"),
    [("\n", False), ("\r\n", False), ("\r", False), ("\n", True), ("\r\n", True)],
)
@pytest.mark.parametrize("last", [True, False])
def test_a_mark_names_the_encoding_and_lines_keep_their_places(encoding, end, last, pipe):
    data = MARKED[encoding] + (end.join(TEXTS) + (end if last else "")).encode(encoding)
    stream = io.BufferedReader(OneByte(data), 1) if pipe else io.BytesIO(data)
    records = list(_read(stream, "f", "lines", 0))
    assert [record.text for record in records] == TEXTS
    assert [record.index for record in records] == list(range(len(TEXTS)))
    assert sum(record.size for record in records) == pytest.approx(len(data), abs=4)  # progress


@pytest.mark.parametrize("mark", [b"", *MARKED.values()])
def test_a_mark_alone_is_no_line(mark):
    assert list(_read(io.BytesIO(mark), "f", "lines", 0)) == []


@pytest.mark.parametrize("encoding", MARKED)
def test_json_lines_and_whole_files_with_a_mark(encoding):
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS)
    records = list(_read(io.BytesIO(MARKED[encoding] + lines.encode(encoding)), "f", "jsonl", 0))
    assert [record.text for record in records] == TEXTS
    whole = MARKED[encoding] + "a\r\nb\n".encode(encoding)
    (record,) = _read(io.BytesIO(whole), "f", "file", 0)
    assert record.text == "a\r\nb\n"


@pytest.mark.parametrize("kind", ["lines", "jsonl", "file"])
@pytest.mark.parametrize(
    "data",
    [
        "alpha\r\nbeta\r\n".encode("utf-16-le"),
        "alpha\nbeta\n".encode("utf-16-be"),
        "alpha\nbeta\n".encode("utf-32-le"),
        "上海\n北京\n".encode("utf-16-le"),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\n\n\n",
    ],
)
def test_what_holds_nul_without_a_mark_is_refused_as_a_whole(kind, data):
    (bad,) = _read(io.BytesIO(data), "f", kind, 3)
    assert isinstance(bad, Bad)
    assert (bad.index, bad.where) == (3, "f")
    assert bad.reason.startswith("is binary, no text (or UTF-16 without a byte order mark); conv")


def test_bytes_that_are_no_utf8_cost_their_lines_only():
    data = b"one\ncaf\xe9\nnul" + b"x" * 2**17 + b"\n\0\nlast\n"
    records = list(_read(io.BytesIO(data), "f", "lines", 0))
    assert [record.index for record in records if isinstance(record, Record)] == [0, 2, 4]
    assert records[1].reason.startswith("is not UTF-8 (byte 0xe9 at position 4)")
    assert records[3].reason.startswith("holds NUL characters")


def test_half_a_pair_of_surrogates_costs_its_line_only():
    data = codecs.BOM_UTF16_LE + "one\nx".encode("utf-16-le") + b"\x00\xd8"
    data += "\nlast".encode("utf-16-le")
    records = list(_read(io.BytesIO(data), "f", "lines", 0))
    assert [record.index for record in records if isinstance(record, Record)] == [0, 2]


def test_what_cannot_go_on_is_told_once():
    data = codecs.BOM_UTF16_LE + "one\ntwo\n".encode("utf-16-le") + b"x"
    *good, bad = _read(io.BytesIO(data), "f", "lines", 0)
    assert [record.text for record in good] == ["one", "two"]
    assert bad.index == 2
    assert "damaged UTF-16" in bad.reason


def test_lines_of_a_pipe_come_as_they_are_written():
    """A program that writes a line and waits for its record is not left waiting."""
    reading, writing = os.pipe()
    records: list[object] = []
    come = threading.Event()

    def read() -> None:
        with os.fdopen(reading, "rb") as stream:
            for record in _read(stream, "f", "lines", 0):
                records.append(record.text)
                come.set()

    thread = threading.Thread(target=read)
    thread.start()
    os.write(writing, b"a\n")
    assert come.wait(10)
    os.close(writing)
    thread.join(10)
    assert records == ["a"]


def test_files_and_a_stream_count_on(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 7, "text": "one"}\n3\n')
    stream = io.BytesIO(b"two\n")
    paths = [str(tmp_path / "a.jsonl"), "-", str(tmp_path / "missing"), "-"]
    records = list(read_records(paths, stdin=stream))
    assert [record.index for record in records] == [0, 1, 2, 3]
    assert [record.where for record in records[2:]] == ["stdin:1", paths[2]]
    assert [type(record) for record in records] == [Record, Bad, Record, Bad]
    assert not stream.closed
