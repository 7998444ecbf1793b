"""`embedge embed` for hours and for co-processes: what is taken, and what is answered when."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge.bulk import resuming
from embedge.bulk.metadata import metadata_path
from embedge.bulk.resuming import read_state
from embedge.cli import main
from embedge.errors import OptionError
from support.fakes import FakeEmbedder


def test_the_task_that_was_taken_is_said(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["embed", "-p", str(pack), "-t", "a"]
    assert main(common) == 0
    expected = "embedge: vectors of tests/tiny, task text-matching (the pack's default;"
    assert expected in capsys.readouterr().err
    assert main([*common, "--task", "retrieval"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["embed", "--help"]) == 0
    assert "`embedge info` shows" in " ".join(capsys.readouterr().out.split())


def test_each_line_is_answered_while_stdin_stays_open(pack: Path) -> None:
    command = [sys.executable, "-m", "embedge", "embed", "-p", str(pack), "--stream", "-q"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(3):
            process.stdin.write(f"text {number}\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(f'{{"index": {number}, ')
        process.stdin.close()
        assert process.wait(30) == 0


def test_stream_does_not_go_with_ranges_of_the_texts_themselves(
    pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["embed", "-p", str(pack), "-t", "a", "--stream", "--embedding-type", "int8"]
    assert main(common) == 2
    assert "--ranges" in capsys.readouterr().err


# ---------------------------------------------------------------------------- --resume

LINES = [f"word {'x' * (number % 9 + 1)}" for number in range(300)]


class Stopping(FakeEmbedder):
    """Stops in the call that holds a text of three words, once."""

    stops = True

    def encode(self, texts: Any, **options: Any) -> Any:
        if Stopping.stops and any(len(text.split()) == 3 for text in texts):
            Stopping.stops = False
            raise KeyboardInterrupt
        return super().encode(texts, **options)


@pytest.fixture
def embed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Path]]:
    """`embed("o.npy", …)` runs the command over 300 lines, of which the 200th stops it once."""
    monkeypatch.setattr("embedge.cli.arguments.open_embedder", lambda options: Stopping())
    lines = [*LINES[:200], "it stops here", *LINES[200:]]
    text = "\n".join(json.dumps({"text": line, "id": f"i{n}"}) for n, line in enumerate(lines))
    (tmp_path / "t.jsonl").write_text("{}\n" + text + "\nnot JSON\n", encoding="utf-8")
    Stopping.stops = True

    def run(name: str, *options: str) -> tuple[int, Path]:
        out = tmp_path / name
        return main(["embed", str(tmp_path / "t.jsonl"), "--out", str(out), *options]), out

    return run


@pytest.mark.parametrize("name", ["o.jsonl", "o.npy"])
@pytest.mark.parametrize("kind", ["float32", "ubinary"])
def test_a_run_that_was_stopped_goes_on(
    embed: Callable[..., tuple[int, Path]],
    capsys: pytest.CaptureFixture[str],
    name: str,
    kind: str,
) -> None:
    options = ["--embedding-type", kind]
    code, out = embed(name, *options)
    assert code == 130
    error = capsys.readouterr().err
    assert "192 texts are done and kept; the same command with --resume goes on there" in error
    assert error.endswith("embedge: interrupted\n")
    assert not out.exists()
    assert read_state(out) is not None
    assert len(list(out.parent.iterdir())) == 4  # the input, both parts, and how far they are
    assert embed(name, *options, "--resume") == (1, out)  # there are bad lines
    error = capsys.readouterr().err
    assert "going on after 192 that are done" in error
    assert "2 of 303 texts were left out" in error
    assert {path.name for path in out.parent.iterdir()} == {"t.jsonl", name, f"{name}.meta.json"}
    whole = embed(f"whole-{name}", *options)[1]
    assert out.read_bytes() == whole.read_bytes()
    assert metadata_path(out).read_bytes() == metadata_path(whole).read_bytes()
    errors = json.loads(metadata_path(out).read_text())["errors"]
    assert [error["index"] for error in errors] == [0, 302]


def test_without_resume_it_starts_again_and_says_so(
    embed: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    embed("o.npy")
    capsys.readouterr()
    code, out = embed("o.npy")
    assert code == 1
    assert "192 that an earlier run had done are dropped" in capsys.readouterr().err
    assert {path.name for path in out.parent.iterdir()} == {"t.jsonl", "o.npy", "o.npy.meta.json"}
    assert np.load(out).shape[0] == 303
    assert embed("o.npy", "--resume")[0] == 1
    assert "no earlier run has left anything" in capsys.readouterr().err


def test_another_job_does_not_go_on(
    embed: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = embed("o.npy")
    for options, name in (
        (["--task", "retrieval"], "--task"),
        (["--truncate-dim", "2"], "--truncate-dim"),
        (["--max-length", "5"], "--max-length"),
        (["--prompt", "so: "], "the prompt"),
        (["--meta", "elsewhere.json"], "--meta"),
        (["--on-overflow", "error"], "--on-overflow"),
    ):
        assert embed("o.npy", "--resume", *options)[0] == 2
        assert f"{name} is not what it was" in capsys.readouterr().err
    with (out.parent / "t.jsonl").open("a") as stream:
        stream.write('"one more"\n')
    assert embed("o.npy", "--resume")[0] == 2
    assert "an input is not what it was" in capsys.readouterr().err
    assert read_state(out) is not None  # nothing is lost by asking


def test_a_default_that_is_named_is_the_same_job(embed: Callable[..., tuple[int, Path]]) -> None:
    embed("o.npy")
    assert embed("o.npy", "--resume", "--task", "text-matching")[0] == 1


def test_what_was_left_out_is_kept_with_the_rows(
    embed: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = embed("o.npy")
    state = read_state(out)
    assert state is not None
    assert state.metadata is not None
    out.with_name(state.metadata).unlink()
    assert embed("o.npy", "--resume")[0] == 2
    assert "run it without --resume" in capsys.readouterr().err
    assert out.with_name(state.part).exists()  # nothing is lost by asking
    assert embed("o.npy")[0] == 1
    assert sorted(path.name for path in out.parent.iterdir()) == [
        *("o.npy", "o.npy.meta.json", "t.jsonl")
    ]


def test_damage_is_refused(
    embed: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = embed("o.npy")
    state = read_state(out)
    assert state is not None
    part = out.with_name(state.part)
    part.write_bytes(part.read_bytes()[:100])
    assert embed("o.npy", "--resume")[0] == 2
    assert "run it without --resume" in capsys.readouterr().err
    part.unlink()
    assert embed("o.npy", "--resume")[0] == 2
    assert "run it without --resume" in capsys.readouterr().err
    note = resuming.state_path(out)
    for text in ("", "[]", '{"part": "../x"}', note.read_text().replace(state.part, "../x")):
        note.write_text(text)
        with pytest.raises(OptionError, match="does not say how far"):
            read_state(out)
        assert embed("o.npy", "--resume")[0] == 2
    capsys.readouterr()
    assert embed("o.npy")[0] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked otherwise")
def test_a_job_that_still_writes_is_left_alone(
    embed: Callable[..., tuple[int, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    from embedge.files.whole import WholeFile

    _, out = embed("o.jsonl")
    state = read_state(out)
    assert state is not None
    other = WholeFile(out, part=out.with_name(state.part), size=state.size)
    assert embed("o.jsonl", "--resume")[0] == 2
    assert "is being written by another process" in capsys.readouterr().err
    assert embed("o.jsonl")[0] == 1  # has its own file
    other.abandon()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["t.txt", "--resume"], "add --out FILE"),
        (["-", "--resume", "--out", "o.npy"], "files alone"),
        (["-t", "a", "--resume", "--out", "o.npy"], "files alone"),
        (["t.txt", "--resume", "--out", "o.npy", "--embedding-type", "int8"], "--ranges"),
    ],
)
def test_what_cannot_go_on_says_so_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("a\n")
    assert main(["embed", *arguments]) == 2
    error = capsys.readouterr().err
    assert "--resume" in error
    assert problem in error


CODE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from support.fakes import FakeEmbedder
from embedge.bulk import resuming
from embedge.bulk.metadata import metadata_path
from embedge.cli import arguments, main

resuming.SECONDS = 0.0

class Slow(FakeEmbedder):
    def encode(self, texts, *, cancel=None, **options):
        if any("wait" in text for text in texts):
            print("ready", flush=True)
            cancel.wait(60)
        return super().encode(texts, **options)

arguments.open_embedder = lambda options: Slow()
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_signals_leave_what_is_done(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, out = tmp_path / "t.txt", tmp_path / "o.npy"
    text.write_text("\n".join([*LINES[:100], "wait", *LINES[100:]]) + "\n")
    arguments = ["embed", str(text), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(Path(__file__).parents[1]), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=30)
    assert ("64 texts are done and kept" in errors) == (name != "SIGKILL")
    state = read_state(out)
    assert state is not None
    assert state.done.items == 64
    monkeypatch.setattr("embedge.cli.arguments.open_embedder", lambda options: FakeEmbedder())
    assert main([*arguments, "--resume", "-q"]) == 0
    assert np.load(out).shape[0] == 301
    assert {path.name for path in tmp_path.iterdir()} == {"t.txt", "o.npy", "o.npy.meta.json"}
