"""`embedge bulk --check`: what is found in parts whose hash is right."""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet as pq

from embedge.parts import checking
from embedge.parts.chunks import Chunk
from embedge.vectors import quantize
from parts.conftest import TEXTS, part_bytes

Bulk = Callable[..., tuple[int, Path]]
Captured = pytest.CaptureFixture[str]
ALL = ("--rows", 100, "--check", 1000)


def change(out: Path, part: str, how: Callable[[list[Any]], None]) -> None:
    """Writes a part with other vectors, and the list with its size and hash."""
    path = out / "parts" / part
    table = pq.read_table(path)
    vectors = table["embedding"].to_pylist()
    how(vectors)
    place = table.column_names.index("embedding")
    field = table.schema.field("embedding")
    pq.write_table(table.set_column(place, field, pa.array(vectors, field.type)), path)
    lists = out / "done-1-of-1.jsonl"
    lines = [json.loads(line) for line in lists.read_text().split("\n") if line]
    for line in lines:
        if line["part"] == part:
            line["bytes"] = path.stat().st_size
            line["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    lists.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_parts_that_are_right_have_the_same_bits(
    bulk: Bulk, data: Path, tmp_path: Path, capsys: Captured
) -> None:
    rows = [json.dumps({"id": 1, "text": text, "tags": "x"}) for text in ("a", None, "b", "")]
    (tmp_path / "more.jsonl").write_text("".join(f"{row}\n" for row in rows))
    both = (data, tmp_path / "more.jsonl", "--keep", "")
    out = bulk(*both, "--rows", 100)[1]
    parts = part_bytes(out)
    assert bulk(*both, *ALL)[0] == 0
    assert "embedded again: 504 rows; all with the same bits" in capsys.readouterr().err
    assert bulk(*both, "--rows", 100, "--check", 7)[0] == 0
    assert "embedded again: 7 rows; all with the same bits" in capsys.readouterr().err
    assert part_bytes(out) == parts


def test_a_vector_of_another_text_is_found_though_its_hash_is_right(
    bulk: Bulk, data: Path, capsys: Captured
) -> None:
    out = bulk(data, "--rows", 100)[1]
    parts = part_bytes(out)

    def exchange(vectors: list[Any]) -> None:
        vectors[23] = [-number for number in vectors[23]]

    change(out, "part-000001.parquet", exchange)
    assert bulk(data, "--rows", 100, "--verify")[0] == 0
    assert "made again" not in capsys.readouterr().err
    assert bulk(data, *ALL)[0] == 1
    said = capsys.readouterr().err
    assert "embedded again: 500 rows; 499 with the same bits" in said
    where = f"{data}, row 124, in part-000001.parquet"
    assert f"{where}: the vector is not this row's: cosine -1.000" in said
    assert "1 row of 500 checked is wrong; remove part-000001.parquet" in said
    # What it says to do works.
    (out / "parts" / "part-000001.parquet").unlink()
    assert bulk(data, *ALL)[0] == 0
    assert part_bytes(out) == parts


def test_a_vector_that_is_gone_or_should_not_be_there_is_found(
    bulk: Bulk, tmp_path: Path, capsys: Captured
) -> None:
    pq.write_table(pa.table({"text": ["a", None, "c", "d"]}), tmp_path / "d.parquet")
    out = bulk(tmp_path / "d.parquet")[1]

    def exchange(vectors: list[Any]) -> None:
        vectors[0], vectors[1] = vectors[1], vectors[0]

    change(out, "part-000000.parquet", exchange)
    assert bulk(tmp_path / "d.parquet", "--check", 4)[0] == 1
    said = capsys.readouterr().err
    assert "row 1, in part-000000.parquet: has no vector in the part, and should have one" in said
    assert "row 2, in part-000000.parquet: has a vector in the part, and should have none" in said
    assert "embedded again: 4 rows; 2 with the same bits" in said


def test_other_bits_of_the_same_vector_are_counted(
    bulk: Bulk, data: Path, capsys: Captured
) -> None:
    out = bulk(data, "--rows", 100)[1]

    def touch(vectors: list[Any]) -> None:
        for row in (4, 9):
            vectors[row][0] = float(np.nextafter(np.float32(vectors[row][0]), np.float32(2)))

    change(out, "part-000004.parquet", touch)
    assert bulk(data, *ALL)[0] == 0
    said = capsys.readouterr().err
    assert "498 with the same bits, 2 with others, of a cosine of 1.000000 or more: at " in said


def test_what_is_wrong_is_not_loaded(
    bulk: Bulk, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = bulk(data, "--rows", 100)[1]

    def turn(vectors: list[Any]) -> None:  # the tiny pack's texts have all but the same vector
        vectors[0] = [-number for number in vectors[0]]

    change(out, "part-000000.parquet", turn)
    loads: list[Any] = []
    monkeypatch.setattr("embedge.cli.commands.bulk.check_target", lambda *_: None)
    monkeypatch.setattr(
        "embedge.cli.commands.bulk.load_into", lambda *words, **_: loads.append(words)
    )
    assert bulk(data, *ALL, "--to", "lance:x")[0] == 1
    assert loads == []
    (out / "parts" / "part-000000.parquet").unlink()
    assert bulk(data, *ALL, "--to", "lance:x")[0] == 0
    assert len(loads) == 1


def test_a_shard_checks_its_own_parts(bulk: Bulk, data: Path, capsys: Captured) -> None:
    bulk(data, "--rows", 100, "--shard", "1/2")
    out = bulk(data, "--rows", 100, "--shard", "2/2")[1]
    capsys.readouterr()
    assert bulk(data, *ALL, "--shard", "2/2")[0] == 0
    rows = sum(
        json.loads(line)["rows"]
        for line in (out / "done-2-of-2.jsonl").read_text().split("\n")
        if line
    )
    assert f"embedded again: {rows} rows; all" in capsys.readouterr().err


# ---------------------------------------------------------------------------- each type


@pytest.mark.parametrize("kind", ["int8", "uint8", "binary", "ubinary"])
def test_small_types_are_compared_by_what_they_stand_for(kind: Any) -> None:
    """The cosine of small vectors is near that of the floats that they were made of."""
    chance = np.random.default_rng(3)
    rows = chance.standard_normal((200, 512)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    noise = chance.standard_normal(rows.shape).astype(np.float32) * np.float32(0.004)
    ranges = np.full((2, 512), [[-0.25], [0.25]], np.float32)
    given: dict[str, Any] = {} if kind in ("binary", "ubinary") else {"ranges": ranges}
    bits = not given

    def directions(vectors: NDArray[Any]) -> NDArray[np.float32]:
        return checking._directions(quantize(vectors, kind, **given), bits)

    same = np.sum(directions(rows) * directions(rows), axis=1)
    np.testing.assert_allclose(same, 1, atol=1e-6)
    near = np.sum(directions(rows) * directions(rows + noise), axis=1)
    other = np.sum(directions(rows) * directions(rows[::-1]), axis=1)
    assert near.min() > 0.8
    assert np.abs(other).max() < 0.3


def test_rows_are_chosen_of_all_parts_and_none_twice() -> None:
    spans = [range(10), range(30, 40), range(40, 45)]
    everything = [row for span in spans for row in span]
    assert checking._choose(spans, 100, random.Random(1)) == everything
    some = checking._choose(spans, 9, random.Random(1))
    assert some == sorted(set(some))
    assert len(some) == 9
    assert set(some) <= set(everything)
    assert checking._choose(spans, 9, random.Random(2)) != some
    assert checking._choose([], 9, random.Random(2)) == []


@pytest.mark.parametrize("kind", ["float32", "int8", "ubinary"])
def test_a_run_of_any_type_is_checked(
    bulk: Bulk, data: Path, tmp_path: Path, kind: str, capsys: Captured
) -> None:
    np.save(tmp_path / "ranges.npy", np.array([[-1] * 8, [1] * 8], np.float32))
    options = ["--embedding-type", kind]
    options += ["--ranges", str(tmp_path / "ranges.npy")] if kind == "int8" else []
    assert bulk(data, *ALL, *options)[0] == 0
    assert "500 rows; all with the same bits" in capsys.readouterr().err


def test_rows_alone_are_those_of_the_inputs(data: Path, tmp_path: Path) -> None:
    from embedge.parts.columns import TextColumn
    from embedge.parts.inputs import find_inputs
    from embedge.parts.plan import look_at, make_plan

    (tmp_path / "more.csv").write_text("text\n" + "".join(f"more {row}\n" for row in range(90)))
    inputs = find_inputs([str(data), str(tmp_path / "more.csv")], out=tmp_path / "out")
    plan = make_plan([look_at(one, "text") for one in inputs], column=TextColumn("text"), into="v")
    rows = [0, 69, 70, 499, 500, 501, 589]
    chunks: Sequence[Chunk] = list(plan.rows_alone(rows))
    assert [item for chunk in chunks for item in chunk.items] == [
        *(TEXTS[row] for row in rows[:4]),
        *("more 0", "more 1", "more 89"),
    ]
