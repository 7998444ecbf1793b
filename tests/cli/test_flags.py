"""Messages on the command line use its flags; Python's names stay in Python."""

import argparse
from pathlib import Path

import pytest

from embedge import Embedder, TextTooLongError, TruncationWarning
from embedge.cli import build_parser, commands, main
from embedge.cli.arguments import _ENGINE
from embedge.cli.flags import flags_of, in_flags

COMMANDS = Path(commands.__path__[0])
FLAGS = {
    "max_length": "--max-length",
    "on_overflow": "--on-overflow",
    "memory_limit": "--memory-limit",
    "task": "--task",
    "device": "--device",
    "offline": "--offline",
}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("raise max_length= (up to 8), split it", "raise --max-length (up to 8), split it"),
        ('or pass on_overflow="truncate"', "or pass --on-overflow truncate"),
        ("leave it out, or pass device='cpu'", "leave it out, or pass --device cpu"),
        ("pass max_length=8, please.", "pass --max-length 8, please."),
        ("max_length is 9; it must be", "--max-length is 9; it must be"),
        ("max_length 9 is too small", "--max-length 9 is too small"),
        ("allow more with memory_limit=. Nothing", "allow more with --memory-limit. Nothing"),
        ("task 'x' is not in this pack", "task 'x' is not in this pack"),
        ("pass task='retrieval' to", "pass --task retrieval to"),
        ("/home/me/max_length/x does not exist", "/home/me/max_length/x does not exist"),
        ("max_length.txt does not exist", "max_length.txt does not exist"),
        ("my_max_length and max_lengths", "my_max_length and max_lengths"),
        ("normalize=False stays", "normalize=False stays"),
        ("is used with offline=True (or HF_HUB", "is used with --offline (or HF_HUB"),
        ("pass --base FOLDER (base=)", "pass --base FOLDER"),
        ("Pass --pooling (pooling=), such as", "Pass --pooling, such as"),
        ("pass --replace (replace=True) to put", "pass --replace to put"),
    ],
)
def test_names_become_flags(message: str, shown: str) -> None:
    assert in_flags(message, FLAGS) == shown


def test_flags_are_those_of_the_parser() -> None:
    (commands,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    flags = flags_of(commands.choices["embed"])
    assert flags["truncate_dim"] == "--truncate-dim"
    assert "inputs" not in flags


def test_every_command_that_opens_an_embedder_takes_all_that_says_how_it_runs() -> None:
    (parsers,) = (
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    opening = {
        name
        for name in parsers.choices
        if "open_embedder(" in (COMMANDS / f"{name}.py").read_text(encoding="utf-8")
    }
    assert opening >= {"bench", "classify", "embed", "search", "verify"}
    for name in (*opening, "doctor", "serve"):
        assert set(_ENGINE) <= set(flags_of(parsers.choices[name])), name
        assert "EMBEDGE_THREADS" in parsers.choices[name].format_help()


def test_errors_of_the_runtime_are_said_in_flags(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "t.txt"
    text.write_text("a text", encoding="utf-8")
    common = ["embed", "-p", str(pack), str(text)]
    assert main([*common, "--max-length", "99999"]) == 2
    assert "error: --max-length is 99999; it must be" in capsys.readouterr().err
    assert main([*common, "--prompt-name", "nosuch"]) == 2
    error = capsys.readouterr().err
    assert "--prompt-name 'nosuch' is not in this pack" in error
    assert "pass the text itself as --prompt)" in error
    assert main([*common, "--memory-limit", "1B"]) == 1
    error = capsys.readouterr().err
    assert "allow more with --memory-limit\n" in error
    assert "memory_limit" not in error


def test_errors_of_the_exporter_are_said_in_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, model = tmp_path / "my-adapter", tmp_path / "model"
    adapter.mkdir()
    model.mkdir()
    (adapter / "adapter_config.json").write_text("{}", encoding="utf-8")
    for command, flag in (
        (["export", str(adapter), "--out", str(tmp_path / "p")], "pass --base with the folder"),
        (["export", str(model), "--out", str(tmp_path / "p"), "--base", "x"], "--base is for"),
    ):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert flag in error
        assert "(base=" not in error


def test_a_prompt_of_ones_own(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "t.txt"
    text.write_text("a", encoding="utf-8")
    shown = []
    for prompt in ("b", ""):
        assert main(["embed", "-p", str(pack), str(text), "--prompt", prompt]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] != shown[1]
    both = ["--prompt", "b", "--prompt-name", "query"]
    assert main(["embed", "-p", str(pack), str(text), *both]) == 2
    assert "--prompt and --prompt-name are both given" in capsys.readouterr().err


def test_max_length_is_raised_only_where_it_can_be(pack: Path) -> None:
    with Embedder(pack) as embedder:
        most = embedder.max_length
        long = "a" * (most + 5)
        with pytest.raises(TextTooLongError, match=rf"raise max_length= \(up to {most}\), or pass"):
            embedder.encode(long, max_length=9, on_overflow="error")
        with pytest.raises(TextTooLongError) as caught:
            embedder.encode(long, on_overflow="error")
        assert "raise" not in str(caught.value)
        with pytest.warns(TruncationWarning) as warned:
            embedder.encode(long)
        assert "raise" not in str(warned[0].message)
    with Embedder(pack) as embedder, pytest.warns(TruncationWarning, match="raise max_length="):
        embedder.encode(long, max_length=9)
