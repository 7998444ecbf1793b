"""`embedge bulk --to`: which parts are loaded when, over a store that is held in memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from embedge import StoreError
from embedge.errors import MissingExtraError, OptionError
from embedge.stores import opening
from embedge.stores.layout import Layout
from embedge.stores.qdrant import point_id
from embedge.stores.rows import Rows
from embedge.stores.target import Target, parse_target, said_by
from parts.conftest import TEXTS, read_parts

Bulk = Callable[..., tuple[int, Path]]
Captured = pytest.CaptureFixture[str]


class Memory:
    """A store with all of its tables, which notes what it is asked for."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, tuple[dict[str, Any], bytes]]] = {}
        self.puts: list[int] = []  # the rows of each
        self.left: float = float("inf")  # puts until one fails
        self.error: BaseException = RuntimeError("the store is full.\nmore")
        self.finished = 0

    def open(self, target: Target, layout: Layout) -> "MemoryTable":
        return MemoryTable(self, target)


class MemoryTable:
    def __init__(self, memory: Memory, target: Target) -> None:
        self.memory, self.name = memory, target.table

    def find(self) -> bool:
        return self.name in self.memory.tables

    def create(self) -> None:
        self.memory.tables[self.name] = {}

    def count(self) -> int:
        return len(self.memory.tables[self.name])

    def put(self, rows: Rows) -> None:
        pairs = list(zip(rows.ids, rows.records(), rows.vectors, strict=True))
        self.memory.left -= 1
        # A put that fails has taken half of the rows: the worst that a store may do.
        taken = pairs if self.memory.left >= 0 else pairs[: len(pairs) // 2]
        for key, record, vector in taken:
            self.memory.tables[self.name][key] = (record, vector.tobytes())
        if self.memory.left < 0:
            raise self.memory.error
        self.memory.puts.append(len(rows))

    def finish(self) -> None:
        self.memory.finished += 1

    def close(self) -> None:
        pass


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    memory = Memory()
    monkeypatch.setattr(opening, "_open", memory.open)
    return memory


def test_all_parts_are_loaded_in_order_and_once(
    bulk: Bulk, data: Path, memory: Memory, capsys: Captured
) -> None:
    code, out = bulk(data, "--rows", 120, "--to", "lance:x", "--table", "notes")
    assert code == 0
    assert memory.puts == [120, 120, 120, 120, 20]
    table = read_parts(out)
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    rows = memory.tables["notes"]
    assert list(rows) == list(range(500))
    assert [record for record, _ in rows.values()] == table.select(
        ["id", "text", "tags"]
    ).to_pylist()
    assert b"".join(vector for _, vector in rows.values()) == vectors.tobytes()
    said = capsys.readouterr().err
    assert "loaded 500 rows in " in said
    assert 'table "notes" of lance:x has 500 rows' in said
    # Nothing is left to do; and it is seen that nothing is.
    assert bulk(data, "--rows", 120, "--to", "lance:x", "--table", "notes")[0] == 0
    assert "loaded before: 5 parts; 0 to do" in capsys.readouterr().err
    assert len(memory.puts) == 5
    assert memory.finished == 1


def test_a_finished_run_is_loaded_without_embedding(
    bulk: Bulk, data: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    bulk(data, "--rows", 100)
    monkeypatch.setattr("embedge.parts.run.write_part", None)
    assert bulk(data, "--rows", 100, "--to", "qdrant:there")[0] == 0
    assert bulk(data, "--rows", 100, "--to", "qdrant:there", "--table", "more")[0] == 0
    assert {name: len(rows) for name, rows in memory.tables.items()} == {
        "embeddings": 500,
        "more": 500,
    }


def test_rows_without_a_vector_are_left_out(
    bulk: Bulk, tmp_path: Path, memory: Memory, capsys: Captured
) -> None:
    pq.write_table(pa.table({"text": ["a", None, "c", None]}), tmp_path / "d.parquet")
    assert bulk(tmp_path / "d.parquet", "--to", "lance:x", "--rows", 2)[0] == 0
    rows = memory.tables["embeddings"]
    assert {key: record for key, (record, _) in rows.items()} == {
        0: {"text": "a"},
        2: {"text": "c"},
    }
    assert "not loaded, without a vector: 2 rows" in capsys.readouterr().err


@pytest.mark.parametrize("puts", [0, 1, 3])
def test_a_load_that_fails_goes_on_and_doubles_nothing(
    bulk: Bulk, data: Path, memory: Memory, puts: int, capsys: Captured
) -> None:
    memory.left = puts
    command = [data, "--rows", 100, "--to", "lance:x"]
    assert bulk(*command)[0] == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        'embedge: error: table "embeddings" of lance:x: the store is full; parts that are '
        "made and rows that are loaded stay, and the same command goes on there"
    )
    assert len(memory.tables["embeddings"]) == puts * 100 + 50
    memory.left = 100
    memory.puts.clear()
    assert bulk(*command)[0] == 0
    assert list(memory.tables["embeddings"]) == list(range(500))
    assert len(memory.puts) == 5 - puts


def test_ctrl_c_keeps_what_is_loaded(
    bulk: Bulk, data: Path, memory: Memory, capsys: Captured
) -> None:
    memory.left, memory.error = 2, KeyboardInterrupt()
    assert bulk(data, "--rows", 100, "--to", "lance:x")[0] == 130
    said = capsys.readouterr().err
    assert "the parts that were loaded stay loaded; the same command goes on there" in said
    memory.left = 100
    assert bulk(data, "--rows", 100, "--to", "lance:x")[0] == 0
    assert "loaded before: 2 parts; 3 to do" in capsys.readouterr().err
    assert len(memory.tables["embeddings"]) == 500


def test_what_is_lost_or_changed_is_loaded_again(
    bulk: Bulk, data: Path, memory: Memory, capsys: Captured
) -> None:
    command = [data, "--rows", 100, "--to", "lance:x"]
    out = bulk(*command)[1]
    for key in range(5):
        del memory.tables["embeddings"][key]
    assert bulk(*command)[0] == 0
    assert "has fewer rows than were loaded before; all parts" in capsys.readouterr().err
    assert sorted(memory.tables["embeddings"]) == list(range(500))
    memory.tables.clear()
    assert bulk(*command)[0] == 0
    assert sorted(memory.tables["embeddings"]) == list(range(500))
    # A line of the list that names other bytes, as after --verify has made a part again.
    path = out / "loaded.jsonl"
    lines = [json.loads(line) for line in path.read_text().split("\n") if line]
    lines[-1]["sha256"] = "0" * 64
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    memory.puts.clear()
    assert bulk(*command)[0] == 0
    assert memory.puts == [100]


def test_shards_load_when_all_parts_are_there(
    bulk: Bulk, data: Path, memory: Memory, capsys: Captured
) -> None:
    command = [data, "--rows", 100, "--to", "lance:x"]
    assert bulk(*command, "--shard", "1/2")[0] == 0
    assert "gets the parts when all are done" in capsys.readouterr().err
    assert memory.tables == {}
    assert bulk(*command, "--shard", "2/2")[0] == 0
    assert len(memory.tables["embeddings"]) == 500


def test_ids_of_a_column(bulk: Bulk, tmp_path: Path, memory: Memory, capsys: Captured) -> None:
    names = [f"doc-{number}" for number in range(30)]
    pq.write_table(pa.table({"name": names, "text": TEXTS[:30]}), tmp_path / "d.parquet")
    command = [tmp_path / "d.parquet", "--rows", 8, "--to", "lance:x", "--id-column", "name"]
    assert bulk(*command)[0] == 0
    assert list(memory.tables["embeddings"]) == names
    # Newer data replaces the rows with the same ids, and adds the others.
    changed = [*names[20:], "doc-30"]
    pq.write_table(pa.table({"name": changed, "text": TEXTS[100:111]}), tmp_path / "d.parquet")
    assert bulk(*command, out="newer")[0] == 0
    assert list(memory.tables["embeddings"]) == [*names, "doc-30"]
    assert memory.tables["embeddings"]["doc-20"][0]["text"] == TEXTS[100]
    assert "has 31 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ids", "rows", "reason"),
    [
        (["a", "b", "a"], 3, "\"name\" is 'a' in more than one row"),
        (["a", "b", "a"], 2, "2 rows after 3 were loaded, so some ids in"),
        (["a", None, "c"], 3, '"name" is null in 1 rows'),
        (pa.array([1, 2**63, 3], pa.uint64()), 3, "numbers above 2^63"),
    ],
)
def test_ids_that_are_none(
    bulk: Bulk, tmp_path: Path, memory: Memory, capsys: Captured, ids: Any, rows: int, reason: str
) -> None:
    pq.write_table(pa.table({"name": ids, "text": ["x", "y", "z"]}), tmp_path / "d.parquet")
    command = [tmp_path / "d.parquet", "--rows", rows, "--to", "lance:x", "--id-column", "name"]
    assert bulk(*command)[0] == 2
    assert reason in capsys.readouterr().err


# ---------------------------------------------------------------------------- refused


def test_row_numbers_do_not_replace_rows_of_other_data(
    bulk: Bulk, data: Path, memory: Memory, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bulk(data, "--to", "lance:x")[0] == 0
    before = dict(memory.tables["embeddings"])
    monkeypatch.setattr("embedge.parts.run.write_part", None)  # refused before any work
    assert bulk(data, "--rows", 50, "--to", "lance:x", out="other")[0] == 2
    assert "has 500 rows of something else" in capsys.readouterr().err
    assert memory.tables["embeddings"] == before
    assert not data.with_name("other").exists()


def test_options_that_say_nothing(
    bulk: Bulk, data: Path, memory: Memory, capsys: Captured, tmp_path: Path
) -> None:
    def refusal(*options: Any) -> str:
        assert bulk(data, *options)[0] == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "'pinecone:x' names no store; write one of lance:FOLDER" in refusal("--to", "pinecone:x")
    assert "does not say where; write qdrant:http" in refusal("--to", "qdrant")
    assert "--table says how parts are loaded" in refusal("--table", "x")
    assert "--id-column says how parts are loaded" in refusal("--id-column", "id")
    assert "is empty" in refusal("--to", "lance:x", "--table", "")
    to = ("--to", "lance:x")
    assert '"x" is not among the columns that are kept: id, text, tags' in refusal(
        *to, "--id-column", "x"
    )
    assert "kept: text" in refusal(*to, "--id-column", "id", "--keep", "text")
    assert '"tags" holds list<' in refusal(*to, "--id-column", "tags")
    assert "which the inputs have too" in refusal(*to, "--into", "row_number")
    assert memory.tables == {}


def test_one_process_loads_at_a_time(
    bulk: Bulk, data: Path, memory: Memory, capsys: Captured
) -> None:
    fcntl = pytest.importorskip("fcntl")
    out = bulk(data)[1]
    with (out / "loaded.jsonl").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert bulk(data, "--to", "lance:x")[0] == 2
    assert "another process loads the parts of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("to", "library", "install"),
    [
        ("lance:x", "lancedb", "pip install lancedb"),
        ("qdrant:x", "qdrant_client", "pip install qdrant-client"),
        ("sqlite-vec:x", "apsw", "pip install apsw sqlite-vec"),
    ],
)
def test_a_library_that_is_missing_is_named(
    bulk: Bulk,
    data: Path,
    to: str,
    library: str,
    install: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    code, out = bulk(data, "--to", to)
    assert code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"is not installed; `{install}`")
    assert not out.exists()


def test_types_that_a_store_does_not_have(bulk: Bulk, data: Path, capsys: Captured) -> None:
    def refusal(store: str, kind: str) -> str:
        assert bulk(data, "--to", f"{store}:x", "--embedding-type", kind)[0] == 2
        return capsys.readouterr().err

    assert "--embedding-type float32 or ubinary" in refusal("lance", "binary")
    assert "--embedding-type float32 or uint8" in refusal("qdrant", "ubinary")
    assert "--embedding-type float32 or int8 or ubinary" in refusal("sqlite-vec", "binary")


def test_what_a_library_raises_is_one_sentence() -> None:
    target = parse_target("sqlite-vec:notes.db")
    with pytest.raises(StoreError, match=r"sqlite-vec:notes.db: first; parts that"):  # noqa: SIM117
        with said_by(target):
            raise RuntimeError("first.\nsecond")
    with pytest.raises(StoreError, match=r": no bucket 'x'; parts"), said_by(target):
        raise OSError("no bucket 'x', /src/aws.rs:319:13")
    with pytest.raises(StoreError, match="KeyError"), said_by(target):
        raise KeyError
    with pytest.raises(MissingExtraError), said_by(target):
        raise MissingExtraError
    with pytest.raises(OptionError), said_by(target):
        raise OptionError


def test_ids_of_points() -> None:
    assert point_id(2**63 - 1) == 2**63 - 1
    known = "2f1c0f6e-6f0b-4e5d-9a53-4d3a1c7a9d10"
    assert point_id(known.upper()) == known
    assert point_id("doc-1") == point_id("doc-1") != point_id("doc-2")
    with pytest.raises(ValueError, match="-1 is no id for Qdrant"):
        point_id(-1)
