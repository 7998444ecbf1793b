"""`embedge embed` for hours and for co-processes: what is taken, and what is answered when."""

import subprocess
import sys
from pathlib import Path

import pytest

from embedge.cli import main


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
