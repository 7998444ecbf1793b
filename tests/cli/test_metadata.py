"""What `embedge embed` says of its vectors in the file beside them, and of what was left out."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge import Embedder, __version__
from embedge.bulk.metadata import DescribedSink, MetadataFile, metadata_path
from embedge.bulk.records import NO_PLACE, Bad
from embedge.bulk.sinks import Done, open_sink
from embedge.cli import main

LINES = '{"text": "one", "id": "a"}\nnot JSON\n{"text": "two"}\n{"id": 3, "text": "%s"}\n'


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Four lines: the second is not JSON, the fourth is long."""
    monkeypatch.chdir(tmp_path)
    Path("t.jsonl").write_text(LINES % " ".join("abcdefghijklmnopqrstuvwxyz"), encoding="utf-8")
    return "t.jsonl"


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def embed(pack: Path, *arguments: str) -> int:
    return main(["embed", "-p", str(pack), *arguments])


@pytest.mark.parametrize("name", ["o.npy", "o.jsonl"])
def test_it_says_what_the_vectors_are_and_what_was_left_out(
    pack: Path, texts: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--prompt-name", "query", "--max-length", "9", "--on-overflow", "error"]
    assert embed(pack, texts, "--out", name, "--truncate-dim", "4", *options) == 1
    with Embedder(pack) as embedder:
        fingerprint = embedder.manifest.fingerprint("fp32")
        prompt = embedder.prompts["query"]
    found = read(f"{name}.meta.json")
    reason = found["errors"][1].pop("reason")
    assert reason.startswith("is longer than 9 tokens")
    assert found == {
        "embedge": __version__,
        "model": "tests/tiny",
        "fingerprint": fingerprint,
        "precision": "fp32",
        "task": "text-matching",
        "prompt": prompt,
        "dimension": 4,
        "embedding_type": "float32",
        "max_length": 9,
        "format": name.removeprefix("o."),
        "errors": [
            {"index": 1, "where": "t.jsonl:2", "reason": "is not JSON (Expecting value)"},
            {"index": 3, "id": 3, "where": "t.jsonl:4"},
        ],
        "items": 4,
        "embedded": 2,
        "left_out": 2,
        "truncated": 0,
    }
    assert f"2 of 4 texts were left out{'; their rows are NaN' * (name == 'o.npy')}" in (
        error := capsys.readouterr().err
    )
    assert f"{name}.meta.json lists them" in error
    assert reason in error


def test_who_reads_the_vectors_finds_what_was_there_before(pack: Path, texts: str) -> None:
    embed(pack, texts, "--out", "o.npy")
    embed(pack, texts, "--out", "o.jsonl")
    rows = np.load("o.npy")
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False, False]
    lines = [json.loads(line) for line in Path("o.jsonl").read_text().splitlines()]
    assert [sorted(line) for line in lines] == [
        ["embedding", "id"],
        ["embedding", "index"],
        ["embedding", "id"],
    ]
    np.testing.assert_array_equal(
        rows[[0, 2, 3]], np.float32([line["embedding"] for line in lines])
    )


def test_nothing_is_wrong_nothing_is_listed(
    pack: Path, texts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(pack, "-t", "one", "--out", "o.npy", "--embedding-type", "int8") == 0
    found = read("o.npy.meta.json")
    assert (found["errors"], found["items"], found["embedding_type"]) == ([], 1, "int8")
    assert found["prompt"] == "D: "  # the pack's own default
    assert "lists them" not in capsys.readouterr().err


def test_stdout_has_it_where_it_is_asked_for(
    pack: Path, texts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(pack, texts) == 1
    assert list(Path().glob("*.meta.json")) == []
    assert embed(pack, texts, "--meta", "about.json") == 1
    assert [error["index"] for error in read("about.json")["errors"]] == [1]
    assert capsys.readouterr().out.count("\n") == 6  # two runs of three lines


@pytest.mark.skipif(os.name != "posix", reason="devices and links")
def test_what_is_not_a_file_has_nothing_beside_it(pack: Path, texts: str) -> None:
    Path("null.jsonl").symlink_to(os.devnull)
    Path("sub").mkdir()
    Path("link.jsonl").symlink_to("sub/real.jsonl")
    assert embed(pack, texts, "--out", "null.jsonl") == 1
    assert list(Path().glob("*.meta.json")) == []
    assert embed(pack, texts, "--out", "link.jsonl") == 1
    assert read("sub/real.jsonl.meta.json")["items"] == 4


def test_a_file_of_another_program_is_not_replaced(
    pack: Path, texts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Path("o.npy.meta.json")
    place.write_text('{"mine": true}')
    assert embed(pack, texts, "--out", "o.npy") == 2
    assert "a file that embed did not write; --meta FILE names" in capsys.readouterr().err
    assert place.read_text() == '{"mine": true}'
    assert embed(pack, texts, "--out", "o.npy", "--meta", "other.json") == 1
    place.unlink()
    for task in ("retrieval", "text-matching"):  # its own is replaced
        assert embed(pack, texts, "--out", "o.npy", "--task", task) == 1
        assert read("o.npy.meta.json")["task"] == task


def test_resume_does_not_replace_the_vectors_of_another_job(
    pack: Path, texts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(pack, texts, "--out", "o.npy", "--resume") == 1
    before = Path("o.npy").read_bytes()
    for options, name in (
        (["--task", "retrieval"], "--task"),
        (["--truncate-dim", "4"], "--truncate-dim"),
        (["--prompt", "so: "], "the prompt"),
    ):
        assert embed(pack, texts, "--out", "o.npy", "--resume", *options) == 2
        assert f"{name} is not what it was" in capsys.readouterr().err
        assert Path("o.npy").read_bytes() == before
    assert embed(pack, texts, "--out", "o.npy", "--resume") == 1
    assert embed(pack, texts, "--out", "o.npy", "--task", "retrieval") == 1  # that is asked for
    Path("o.npy.meta.json").write_text("{")
    assert embed(pack, texts, "--out", "o.npy", "--resume", "--meta", "other.json") == 1


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ("t.jsonl", "is the file that is read"),
        ("o.npy", "--out and --meta are both"),
        ("no/such.json", "does not exist"),
        ("", "is empty"),
    ],
)
def test_a_place_that_does_not_do_is_refused_at_once(
    pack: Path, texts: str, capsys: pytest.CaptureFixture[str], meta: str, problem: str
) -> None:
    assert embed(pack, texts, "--out", "o.npy", "--meta", meta) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
    assert {path.name for path in Path().iterdir()} == {texts, "pack"}


def test_other_vectors_are_never_under_an_old_description(tmp_path: Path) -> None:
    """Vectors and their description are two renames: between them there is none."""
    out = tmp_path / "o.jsonl"
    place = metadata_path(out)
    place.write_text("old")
    sink = DescribedSink(
        open_sink(out, "jsonl", embedding_type="float32", width=2),
        metadata := MetadataFile(place, {"embedge": "0", "task": "a"}),
    )
    sink.refuse(Bad(NO_PLACE, "folder\x7f", "cannot be read", 0))
    assert place.read_text() == "old"
    metadata.complete(Done(items=0, bad=1))
    assert not place.exists()
    sink.abandon()
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_row_is_listed_without_an_index(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    sink = DescribedSink(
        open_sink(out, "jsonl", embedding_type="float32", width=2),
        MetadataFile(tmp_path / "m.json", {"embedge": "0"}),
    )
    sink.refuse(Bad(NO_PLACE, "folder\x7f", "cannot be read", 0))
    sink.finish(Done(items=0, bad=1))
    text = (tmp_path / "m.json").read_text()
    assert "\x7f" not in text
    assert json.loads(text) == {
        "embedge": "0",
        "errors": [{"where": "folder\x7f", "reason": "cannot be read"}],
        "items": 0,
        "embedded": 0,
        "left_out": 1,
        "truncated": 0,
    }


def test_no_task_is_named_where_nothing_was_embedded(
    pack: Path, texts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.txt").write_text("")
    assert embed(pack, "empty.txt") == 0
    assert capsys.readouterr().err == ("embedge: the input holds no text; nothing was embedded\n")
