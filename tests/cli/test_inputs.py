"""Reading texts: any bytes give records or told problems, never an exception."""

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from embedge.cli.inputs import Bad, Record, _read

LINE = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=20)


@given(st.lists(LINE, min_size=1), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_lines_round_trip(texts, newline, last):
    data = newline.join(texts) + (newline if last or not texts[-1] else "")
    records = list(_read(io.BytesIO(data.encode()), "f", "lines", 0))
    if texts[0].startswith("\ufeff"):  # a byte order mark is no text
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
