"""Which rows stand in which part, however the inputs and their chunks are cut."""

import json
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.parts import chunks as cutting
from embedge.parts.chunks import Chunk, joined, wanted_pieces
from embedge.parts.columns import Column, TextColumn
from embedge.parts.inputs import Input, find_inputs
from embedge.parts.plan import Shard, look_at, make_plan
from parts.conftest import TEXTS


class Numbers:
    """A source whose texts are its rows' numbers in the whole, in chunks of a given size."""

    def __init__(self, first: int, rows: int, per_chunk: int) -> None:
        self.input = Input(f"from-{first}", "jsonl", 0, "", None)
        self.first, self.rows, self.per_chunk = first, rows, per_chunk
        self.columns = {"text": pa.string()}
        self.digest = ""

    def chunks(self, wanted: Sequence[range], column: Column, schema: pa.Schema) -> Iterator[Chunk]:
        assert wanted
        for start in range(0, self.rows, self.per_chunk):
            count = min(self.per_chunk, self.rows - start)
            texts: list[str | None] = [str(self.first + start + row) for row in range(count)]
            table = pa.table({"text": texts}, schema=schema)
            chunk = Chunk(table, texts, [None] * count)
            for piece in wanted_pieces(start, count, wanted):
                yield chunk.cut(piece.start, piece.stop)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=5),
    st.integers(1, 20),
    st.integers(1, 4),
)
def test_the_parts_of_all_shards_are_the_rows_in_order(
    sizes: list[tuple[int, int]], per_part: int, shards: int
) -> None:
    sources: list[Any] = []
    for rows, per_chunk in sizes:
        sources.append(Numbers(sum(source.rows for source in sources), rows, per_chunk))
    plan = make_plan(sources, column=TextColumn("text"), into="v", rows_per_part=per_part)
    found: dict[int, list[object]] = {}
    for index in range(1, shards + 1):
        for part, pieces in plan.chunks(Shard(index, shards).parts(plan.count)):
            assert part not in found
            found[part] = [text for chunk in pieces for text in chunk.items]
    assert sorted(found) == list(range(plan.count))
    in_order = [text for part in sorted(found) for text in found[part]]
    assert in_order == [str(row) for row in range(plan.rows)]
    assert all(len(found[part]) == per_part for part in range(plan.count - 1))
    for row in range(plan.rows):
        source = next(s for s in sources if s.first <= row < s.first + s.rows)
        assert plan.where(row) == f"{source.input.name}, row {row - source.first + 1}"


@pytest.mark.parametrize("name", ["data.parquet", "data.jsonl"])
def test_a_plan_is_sent_to_other_processes(data: Path, name: str) -> None:
    source = data.with_name(name)
    if not source.exists():
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    inputs = find_inputs([str(source)], out=data.with_name("out"))
    sources = [look_at(item, "text") for item in inputs]
    plan = make_plan(sources, column=TextColumn("text"), into="v", keep=["text"], rows_per_part=64)
    sent = pickle.loads(pickle.dumps(plan))
    part, pieces = next(sent.chunks([3]))
    assert part == 3
    assert [text for chunk in pieces for text in chunk.items] == TEXTS[192:256]


@given(st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=8))
def test_chunks_are_joined_within_bounds(lengths: list[list[int]]) -> None:
    schema = pa.schema([("text", pa.string())])
    chunks = []
    for some in lengths:
        texts: list[str | None] = ["x" * length for length in some]
        chunks.append(Chunk(pa.table({"text": texts}, schema=schema), texts, [None] * len(some)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "MOST_ROWS", 5)
        patch.setattr(cutting, "MOST_BYTES", 50)
        found = list(joined(chunks))
    assert [text for chunk in found for text in chunk.items] == [
        text for chunk in chunks for text in chunk.items
    ]
    for chunk in found:
        assert chunk.table["text"].to_pylist() == chunk.items
        assert 1 <= len(chunk) <= 5
        assert sum(len(text or "") for text in chunk.items[:-1]) < 50
    # The cuts follow from the rows alone, not from how they came.
    whole = [text for chunk in chunks for text in chunk.items]
    one = Chunk(pa.table({"text": whole}, schema=schema), whole, [None] * len(whole))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "MOST_ROWS", 5)
        patch.setattr(cutting, "MOST_BYTES", 50)
        assert [len(chunk) for chunk in joined([one])] == [len(chunk) for chunk in found]
