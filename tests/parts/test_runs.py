"""`embedge bulk`: what the parts hold, who makes them, and what a second run does."""

import errno
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from embedge import Embedder
from embedge.cli import main
from embedge.files import whole
from embedge.parts.libraries import needs_pyarrow
from parts.conftest import TEXTS, part_bytes, read_parts

Bulk = Callable[..., tuple[int, Path]]
Captured = pytest.CaptureFixture[str]


def vectors_of(pack: Path, texts: list[str], **options: Any) -> np.ndarray[Any, Any]:
    with Embedder(pack) as embedder:
        return embedder.encode(texts, **options)


def test_the_parts_have_all_rows_in_order_with_their_vectors(
    bulk: Bulk, data: Path, pack: Path, capsys: Captured
) -> None:
    code, out = bulk(data, "--rows", 120, "--task", "retrieval", "--prompt-name", "query")
    assert code == 0
    assert sorted(part_bytes(out)) == [f"part-{number:06}.parquet" for number in range(5)]
    table = read_parts(out)
    assert table.column_names == ["id", "text", "tags", "embedding", "error"]
    assert table["id"].to_pylist() == list(range(500))
    assert table["text"].to_pylist() == TEXTS
    assert table["tags"].to_pylist() == [["a", "b"]] * 500
    assert table["error"].null_count == 500
    assert table.schema.field("embedding").type.list_size == 8
    found = np.array(table["embedding"].to_pylist(), np.float32)
    expected = vectors_of(pack, TEXTS, task="retrieval", prompt_name="query")
    assert found.tobytes() == expected.tobytes()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["rows"] == 500
    assert manifest["parts"] == 5
    assert manifest["vectors"]["task"] == "retrieval"
    assert manifest["vectors"]["prompt"] == "Q: "
    assert set(manifest["versions"]) == {"embedge", "numpy", "onnxruntime", "pyarrow", "tokenizers"}
    assert [item["rows"] for item in manifest["inputs"]] == [500]
    facts = pq.read_schema(next(out.glob("parts/*"))).metadata[b"embedge"]
    assert json.loads(facts) == manifest["vectors"]
    assert "500 rows in 5 parts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "width", "item"),
    [("float32", 4, "float"), ("binary", 1, "int8"), ("ubinary", 1, "uint8"), ("int8", 4, "int8")],
)
def test_vectors_of_every_type(
    bulk: Bulk, data: Path, pack: Path, tmp_path: Path, kind: str, width: int, item: str
) -> None:
    options: list[Any] = [
        "--embedding-type",
        kind,
        "--truncate-dim",
        4,
        "--keep",
        "",
        "--into",
        "v",
    ]
    given: dict[str, Any] = {}
    if kind == "int8":
        given["ranges"] = np.array([[-1] * 4, [1] * 4], np.float32)
        np.save(tmp_path / "ranges.npy", given["ranges"])
        options += ["--ranges", tmp_path / "ranges.npy"]
    code, out = bulk(data, *options)
    assert code == 0
    table = read_parts(out)
    assert table.column_names == ["v", "error"]
    assert str(table.schema.field("v").type.value_type) == item
    expected = vectors_of(pack, TEXTS, embedding_type=kind, truncate_dim=4, **given)
    assert np.array(table["v"].to_pylist(), expected.dtype).tobytes() == expected.tobytes()
    assert expected.shape == (500, width)


def test_equal_texts_are_embedded_once(
    bulk: Bulk, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "again.parquet"
    long = "word " * 3000
    texts = ["Mars", None, "Venus", "Mars", long, "Mars", long]
    pq.write_table(pa.table({"text": texts}), path)
    encode, taken = Embedder.encode, []

    def watched(self: Embedder, texts: Any, **options: Any) -> Any:
        taken.extend(texts)
        return encode(self, texts, **options)

    monkeypatch.setattr(Embedder, "encode", watched)
    code, out = bulk(path, "--on-overflow", "error", "--max-length", 30)
    assert code == 0
    assert taken == ["Mars", "Venus", long]
    monkeypatch.undo()
    table = read_parts(out)
    found = table["embedding"].to_pylist()
    expected = vectors_of(pack, ["Mars", "Venus"]).tolist()
    assert found == [expected[0], None, expected[1], expected[0], None, expected[0], None]
    reasons = table["error"].to_pylist()
    assert reasons[1] == "is null"
    assert reasons[4] == reasons[6] == "is longer than 30 tokens, prompt and special included"
    assert [reason is None for reason in reasons] == [row is not None for row in found]


def test_shards_make_the_parts_of_one_run(bulk: Bulk, data: Path, capsys: Captured) -> None:
    common = [data, "--rows", 64]
    whole_run = bulk(*common)[1]
    for index in (3, 1, 2):
        code, out = bulk(*common, "--shard", f"{index}/3", out="shards")
        assert code == 0
        said = capsys.readouterr().err
        assert ("not done yet" in said) == (index != 2)
    assert part_bytes(out) == part_bytes(whole_run)
    assert (out / "manifest.json").read_bytes() == (whole_run / "manifest.json").read_bytes()
    lines = [
        {line for path in folder.glob("done-*") for line in path.read_text().split("\n") if line}
        for folder in (out, whole_run)
    ]
    assert lines[0] == lines[1]  # names, rows and hashes
    # What shards left undone, a run with another number of them completes.
    bulk(*common, "--shard", "2/4", out="changed")
    out = bulk(*common, out="changed")[1]
    assert "done before: 2 parts; 6 to do" in capsys.readouterr().err
    assert part_bytes(out) == part_bytes(whole_run)


def test_a_shard_reads_the_row_groups_of_its_parts_alone(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.parquet"
    texts = [f"text {number}" for number in range(12_000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=6000)
    iter_batches, read = pq.ParquetFile.iter_batches, []

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        for batch in iter_batches(self, *arguments, **options):
            read.append((options["row_groups"], batch.num_rows))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    assert bulk(path, "--rows", 1000, "--shard", "4/6")[0] == 0
    assert read == [([1], 1024), ([1], 1024)]  # rows 6000 to 7999, and not to the group's end
    out = tmp_path / "out"
    assert sorted(part_bytes(out)) == ["part-000006.parquet", "part-000007.parquet"]
    assert read_parts(out)["text"].to_pylist() == texts[6000:8000]


def test_shards_start_at_the_same_moment(
    bulk: Bulk, data: Path, pack: Path, tmp_path: Path
) -> None:
    out = tmp_path / "together"
    command = [sys.executable, "-m", "embedge", "bulk", str(data), "--rows", "64", "-q"]
    command += ["-p", str(pack), "--out", str(out)]
    processes = [subprocess.Popen([*command, "--shard", f"{index}/3"]) for index in (1, 2, 3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert part_bytes(out) == part_bytes(bulk(data, "--rows", 64)[1])


def test_a_folder_whose_manifest_was_never_finished_is_taken(bulk: Bulk, data: Path) -> None:
    out = data.with_name("out")
    out.mkdir()
    (out / ".manifest.json.0123456789abcdef.part").write_text("{")
    assert bulk(data)[0] == 0


def test_the_row_groups_of_an_input_do_not_matter(bulk: Bulk, data: Path, tmp_path: Path) -> None:
    first = part_bytes(bulk(data, "--rows", 99)[1])
    pq.write_table(pq.read_table(data), data, row_group_size=33)
    assert part_bytes(bulk(data, "--rows", 99, out="other")[1]) == first


def test_a_second_run_does_nothing(
    bulk: Bulk, data: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = bulk(data, "--rows", 100)[1]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    monkeypatch.setattr("embedge.parts.run.write_part", None)
    assert bulk(data, "--rows", 100) == (0, out)
    assert "done before: 5 parts; 0 to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before


def test_verify_makes_again_what_changed(bulk: Bulk, data: Path, capsys: Captured) -> None:
    out = bulk(data, "--rows", 100)[1]
    parts = part_bytes(out)
    path = out / "parts" / "part-000003.parquet"
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    (out / "parts" / "part-000001.parquet").unlink()
    with (out / "parts" / "part-000000.parquet").open("ab") as stream:
        stream.write(b"x")
    assert bulk(data, "--rows", 100)[0] == 0  # what is missing, or of another size
    assert {name for name, held in part_bytes(out).items() if held != parts[name]} == {path.name}
    capsys.readouterr()
    assert bulk(data, "--rows", 100, "--verify")[0] == 0
    assert "made again: 1 part" in capsys.readouterr().err
    assert part_bytes(out) == parts


# ---------------------------------------------------------------------------- stopped


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_a_run_that_is_killed_again_and_again_is_completed(
    bulk: Bulk, data: Path, pack: Path, tmp_path: Path
) -> None:
    chance = random.Random(5)
    expected = bulk(data, "--rows", 5, out="whole")[1]
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "embedge", "bulk", str(data), "--rows", "5"]
    command += ["-p", str(pack), "--out", str(out), "-q"]
    killed = 0
    for _ in range(4):
        target = len(list(out.glob("parts/*.parquet"))) + chance.randint(1, 16)
        with subprocess.Popen(command) as process:
            while process.poll() is None:
                if len(list(out.glob("parts/*.parquet"))) >= target:
                    time.sleep(chance.random() / 200)
                    process.kill()
            killed += process.wait() == -9
    assert killed >= 2
    assert subprocess.run(command, check=True).returncode == 0
    assert part_bytes(out) == part_bytes(expected)
    assert read_parts(out)["id"].to_pylist() == list(range(500))


def test_ctrl_c_loses_one_part_and_leaves_no_rubbish(
    bulk: Bulk, data: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = part_bytes(bulk(data, "--rows", 100, out="whole")[1])
    encode = Embedder.encode
    monkeypatch.setattr(Embedder, "encode", stopping(KeyboardInterrupt(), after=TEXTS[250]))
    code, out = bulk(data, "--rows", 100)
    assert code == 130
    said = capsys.readouterr().err
    assert "made and kept: 2 parts; the same command goes on there" in said
    assert said.endswith("embedge: interrupted\n")
    assert sorted(part_bytes(out)) == sorted(expected)[:2]
    monkeypatch.setattr(Embedder, "encode", encode)
    assert bulk(data, "--rows", 100)[0] == 0
    assert part_bytes(out) == expected


def stopping(error: BaseException, *, after: str) -> Any:
    """`Embedder.encode` that fails where a text comes."""
    encode = Embedder.encode

    def stopped(self: Embedder, texts: Any, **options: Any) -> Any:
        if after in texts:
            raise error
        return encode(self, texts, **options)

    return stopped


def test_a_full_disk_stops_with_a_sentence_and_goes_on_later(
    bulk: Bulk, data: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = part_bytes(bulk(data, "--rows", 100, out="whole")[1])
    capsys.readouterr()
    room = sum(map(len, expected.values())) // 2
    write = whole._Raw.write

    def filling(self: Any, block: Any) -> int:
        nonlocal room
        room -= memoryview(block).nbytes
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.place)
        return int(write(self, block))

    monkeypatch.setattr(whole._Raw, "write", filling)
    code, out = bulk(data, "--rows", 100)
    assert code == 2
    kept, error = capsys.readouterr().err.splitlines()
    assert kept.startswith("embedge: made and kept: ")
    assert error.startswith("embedge: error: ")
    assert error.endswith("No space left on device")
    assert 0 < len(part_bytes(out)) < 5
    monkeypatch.undo()
    assert bulk(data, "--rows", 100)[0] == 0
    assert part_bytes(out) == expected


def test_half_a_line_of_a_killed_process_is_no_part(bulk: Bulk, data: Path) -> None:
    out = bulk(data, "--rows", 100)[1]
    parts = part_bytes(out)
    done = out / "done-1-of-1.jsonl"
    done.write_bytes(done.read_bytes()[:-40])
    (out / "parts" / ".part-000002.parquet.0123456789abcdef.part").write_bytes(b"left")
    assert bulk(data, "--rows", 100)[0] == 0
    assert part_bytes(out) == parts
    assert len([line for line in done.read_text().split("\n") if line.endswith("}")]) == 5


def test_two_processes_do_not_make_one_shard(bulk: Bulk, data: Path, capsys: Captured) -> None:
    fcntl = pytest.importorskip("fcntl")
    out = bulk(data)[1]
    with (out / "done-1-of-1.jsonl").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert bulk(data)[0] == 2
    assert "another process makes shard 1/1" in capsys.readouterr().err


# ---------------------------------------------------------------------------- refused


def test_another_run_is_refused(
    bulk: Bulk, data: Path, make_pack: Callable[..., Path], capsys: Captured, tmp_path: Path
) -> None:
    parts = part_bytes(bulk(data, "--rows", 100)[1])

    def refusal(*arguments: Any, **options: Any) -> str:
        capsys.readouterr()
        code, out = bulk(*arguments, **options)
        assert code == 2
        assert part_bytes(out) == parts
        return capsys.readouterr().err

    same = [data, "--rows", 100]
    assert "--rows was 100, and is 50; name another --out" in refusal(data, "--rows", 50)
    assert "task was 'text-matching', and is 'retrieval'" in refusal(*same, "--task", "retrieval")
    assert "--embedding-type was 'float32'" in refusal(*same, "--embedding-type", "binary")
    assert "prompt was 'D: ', and is 'x: '" in refusal(*same, "--prompt", "x: ")
    other = make_pack("other", prompts={"query": "Other: ", "document": "D: "})
    assert "fingerprint was " in refusal(*same, pack=other)
    pq.write_table(pa.table({"id": [1], "text": ["a"], "tags": [["a"]]}), tmp_path / "more.parquet")
    more = tmp_path / "more.parquet"
    assert f"the input {more} is new" in refusal(data, more, "--rows", 100)
    assert bulk(data, more, "--rows", 100, out="two")[0] == 0
    capsys.readouterr()
    assert bulk(data, "--rows", 100, out="two")[0] == 2
    assert f"the input {more} is gone" in capsys.readouterr().err
    assert bulk(more, data, "--rows", 100, out="two")[0] == 2
    assert "the inputs stand in another order" in capsys.readouterr().err
    table = pq.read_table(data)
    texts = pa.array([f"{text[:-1]}y" for text in TEXTS])
    pq.write_table(table.set_column(1, "text", texts), data, row_group_size=70)
    assert f"{data} has changed" in refusal(*same)


@pytest.mark.parametrize("held", ["{}", "not JSON", '{"format": 2}', "[]"])
def test_a_damaged_manifest_is_refused(bulk: Bulk, data: Path, held: str, capsys: Captured) -> None:
    out = bulk(data)[1]
    (out / "manifest.json").write_text(held)
    assert bulk(data)[0] == 2
    assert "manifest.json" in capsys.readouterr().err


def test_what_cannot_be_a_run_is_refused(
    bulk: Bulk, data: Path, tmp_path: Path, capsys: Captured
) -> None:
    def refusal(*arguments: Any, **options: Any) -> str:
        capsys.readouterr()
        assert bulk(*arguments, **options)[0] == 2
        return capsys.readouterr().err

    assert "is a file; name a folder" in refusal(data, out=data.name)
    assert main(["bulk", str(data), "--out", "s3://bucket/vectors"]) == 2
    assert "--out s3://bucket/vectors is a URI" in capsys.readouterr().err
    assert not Path("s3:").exists()
    assert "holds other files" in refusal(data, out=".")
    assert "does not exist; make that folder first" in refusal(data, out="a/b/c")
    assert "int8 needs --ranges" in refusal(data, "--embedding-type", "int8")
    assert "leave it out" in refusal(data, "--ranges", tmp_path / "r.npy")
    assert "does not exist" in refusal(
        data, "--embedding-type", "int8", "--ranges", tmp_path / "r.npy"
    )
    assert '"id" holds int64, not texts' in refusal(data, "--column", "id")
    assert 'no column "body"; it has id, text, tags' in refusal(data, "--column", "body")
    assert 'no column "x"' in refusal(data, "--keep", "id,x")
    assert "--into" in refusal(data, "--into", "id")
    assert "task 'x' is not in this pack" in refusal(data, "--task", "x")
    for shard in ("0/2", "3/2", "1", "a/b", "1/0"):
        assert "--shard" in refusal(data, "--shard", shard)
    assert not (tmp_path / "out").exists()


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "embedge\[bulk\]"'), needs_pyarrow():
        import pyarrow  # noqa: F401
