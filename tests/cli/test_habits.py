"""What people expect of any command line: examples, suggestions, -q, -v, -V, --json, color."""

import argparse
import io
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedge
from embedge.cli import COMMANDS, build_parser, main, screen
from embedge.cli.parsing import EXAMPLES
from embedge.terminal import marked


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(found.choices)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_parse(name: str) -> None:
    epilog = commands()[name].epilog
    assert epilog is not None
    assert epilog.startswith(EXAMPLES)
    lines = epilog.removeprefix(EXAMPLES).splitlines()
    assert lines
    for line in lines:
        shown = line.split("|")[-1].split(">")[0].replace("$INDEX", "7")  # as a shell would
        words = shlex.split(shown)
        assert words[:2] == ["embedge", name]
        options = build_parser().parse_args(words[1:])
        assert options.command == name


def test_help_is_a_word_too(capsys: pytest.CaptureFixture[str]) -> None:
    for words, same in ((["help"], ["--help"]), (["help", "embed"], ["embed", "--help"])):
        assert main(words) == 0
        shown = capsys.readouterr().out
        assert main(same) == 0
        assert capsys.readouterr().out == shown
    assert main(["help", "serach"]) == 2
    assert "did you mean 'search'" in capsys.readouterr().err


def test_help_shows_examples_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "--help"]) == 0
    assert "\n  embedge embed notes.txt --out vectors.npy\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["serach", "x", "y"], "did you mean 'search'?"),
        (["embed", "--truncate-dims", "3"], "did you mean --truncate-dim?"),
        (["embed", "--precison=int8"], "did you mean --precision?"),
        (["embed", "--precision", "int9"], "did you mean 'int8'?"),
    ],
)
def test_did_you_mean(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.count("\n") == 1


def test_version_has_a_short_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-V"]) == 0
    assert capsys.readouterr().out == f"embedge {embedge.__version__}\n"


def test_texts_on_the_command_line(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "-p", str(pack), "-t", "one", "--text", "-two"]) == 2  # as of an option
    capsys.readouterr()
    assert main(["embed", "-p", str(pack), "-t", "one", "--text=-two"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["index"] for row in rows] == [0, 1]
    with embedge.Embedder(pack) as embedder:
        expected = embedder.encode(["one", "-two"])
    assert np.array_equal(np.float32([row["embedding"] for row in rows]), expected)
    assert main(["embed", "-p", str(pack), "-t", "one", "file.txt"]) == 2
    assert "--text and INPUT" in capsys.readouterr().err
    assert main(["embed", "-p", str(pack), "hello world"]) == 2
    assert "--text TEXT" in capsys.readouterr().err


def test_a_search_of_what_has_not_changed_shows_no_progress(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("a text\n", encoding="utf-8")
    search = ["search", "text", str(folder), "-p", str(pack), "--progress"]
    assert main(search) == 0
    assert "1 of 1 file" in capsys.readouterr().err
    assert main(search) == 0
    assert "%" not in capsys.readouterr().err


def test_quiet_and_verbose(pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "long.txt"
    text.write_text("a" * 5000 + "\n", encoding="utf-8")
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n", encoding="utf-8")
    common = ["embed", "-p", str(pack)]
    assert main([*common, str(text)]) == 0
    assert "was cut" in capsys.readouterr().err
    for words in ([*common, str(text), "-q"], ["-q", *common, str(text), "--no-progress"]):
        assert main(words) == 0
        assert capsys.readouterr().err == ""
    assert main([*common, str(bad), "-q"]) == 1
    assert "bad.jsonl:1" in capsys.readouterr().err  # an error, not a note
    for words in ([*common, "-t", "a", "-v"], ["-v", *common, "-t", "a"]):
        assert main(words) == 0
        assert "embedge: precision: fp32 (" in capsys.readouterr().err
    assert main([*common, "-t", "a"]) == 0
    assert "precision" not in capsys.readouterr().err
    assert main(["-q", "-v", "info", str(pack)]) == 2
    assert "not allowed with" in capsys.readouterr().err


def test_verify_as_json(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["verify", str(pack), "--json", "-q"])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["pack"] == str(pack)
    assert {"name", "verdict", "detail"} == set(report["checks"][0])
    assert report["failed"] == sum(check["verdict"] == "FAIL" for check in report["checks"])
    assert code == (1 if report["failed"] else 0)
    (pack / "tokenizer.json").write_bytes(b"x")
    assert main(["verify", str(pack), "--json", "-q"]) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == 1


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_color_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    screen.say("embedge: error: \x1b[1mno\x1b[0m", mark="error:")
    assert stream.getvalue() == "embedge: \x1b[31merror:\x1b[0m  [1mno [0m\n"
    assert main(["nosuch"]) == 2
    assert "\x1b[31merror:" in stream.getvalue()
    assert marked("a", "a", 31, io.StringIO()) == "a"
    for name, value in (("TERM", "dumb"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
        assert marked("a", "a", 31, Terminal()) == "a"
        monkeypatch.setenv("TERM", "xterm")
