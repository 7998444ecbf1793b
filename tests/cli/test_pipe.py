"""`embedge pipe` as the process that another program starts."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from embedge import Embedder
from embedge.cli import main
from embedge.cli.commands import pipe

PATIENCE = 60.0  # seconds


@pytest.fixture
def process(pack: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "embedge", "pipe", "-p", str(pack)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        yield started
        started.kill()


def stream(of: IO[str] | None) -> IO[str]:
    assert of is not None
    return of


def test_a_program_asks_and_ends(process: subprocess.Popen[str], pack: Path) -> None:
    ready = json.loads(stream(process.stdout).readline())["ready"]
    assert ready["dimension"] == 8
    print('{"id": 1, "texts": ["one", "two"]}', file=process.stdin, flush=True)
    answer = json.loads(stream(process.stdout).readline())
    with Embedder(pack) as embedder:
        expected = embedder.encode(["one", "two"])
    assert np.array_equal(np.array(answer["embeddings"], np.float32), expected)
    # What is asked before the end is answered.
    rest, errors = process.communicate('{"id": 2, "texts": "three"}\n', PATIENCE)
    assert json.loads(rest)["id"] == 2
    assert (process.returncode, errors) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_while_it_waits_for_a_line(
    process: subprocess.Popen[str], number: int, code: int
) -> None:
    stream(process.stdout).readline()
    process.send_signal(number)
    assert process.wait(PATIENCE) == code
    assert "Traceback" not in stream(process.stderr).read()


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe says something else there")
def test_it_ends_when_nobody_reads(process: subprocess.Popen[str]) -> None:
    stream(process.stdout).readline()
    stream(process.stdout).close()
    print('{"id": 1, "texts": ["one"]}', file=process.stdin, flush=True)
    assert process.wait(PATIENCE) == 141


def test_lines_that_are_too_long_are_refused_and_the_next_is_read(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pipe, "MOST_LINE", 2**20)
    long = json.dumps({"id": 1, "texts": ["x" * 2**20]})
    lines = f'{long}\n\n{{"id": 2, "texts": ["y"]}}'
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert main(["pipe", "-p", str(pack)]) == 0
    ready, refused, answer = map(json.loads, capsys.readouterr().out.splitlines())
    assert "ready" in ready
    assert "longer than 1 MiB" in refused["error"]["message"]
    assert answer["id"] == 2


def test_what_fails_at_the_start_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pipe", "-p", str(tmp_path)]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("embedge: error: ")
