"""Completion scripts: each shell that is installed loads its own and completes from it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from embedge.cli import COMMANDS, build_parser, main
from embedge.cli.completions import SHELLS, script

TRY_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_embedge
printf '%s\\n' "${COMPREPLY[@]}"
"""


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture
def written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Path]:
    paths = {}
    for shell in SHELLS:
        assert main(["completion", shell]) == 0
        paths[shell] = tmp_path / shell
        paths[shell].write_text(capsys.readouterr().out, encoding="utf-8")
    return paths


def test_scripts_know_all_commands_and_options() -> None:
    parser = build_parser()
    for shell in SHELLS:
        text = script(shell, parser)
        for name in COMMANDS:
            assert name in text
        for option in ("--memory-limit", "--quiet", "--cors-origin"):
            assert (option if shell != "fish" else f"-l {option[2:]}") in text


CASES = [
    (["embedge", "se"], {"search", "serve"}),
    (["embedge", "embed", "--truncate"], {"--truncate-dim"}),
    (["embedge", "embed", "--precision", "in"], {"int8", "int4"}),
    (["embedge", "-q", "export", "--layout", ""], {"pack", "hub"}),
    (["embedge", "completion", ""], set(SHELLS)),
]


@needs("bash")
@pytest.mark.parametrize(("words", "expected"), CASES)
def test_bash(written: dict[str, Path], words: list[str], expected: set[str]) -> None:
    command = ["bash", "--norc", "-c", TRY_BASH, "bash", str(written["bash"]), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == expected


@needs("fish")
@pytest.mark.parametrize(("words", "expected"), CASES)
def test_fish(written: dict[str, Path], words: list[str], expected: set[str]) -> None:
    code = f"source {written['fish']}; complete -C '{' '.join(words)}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True
    )
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == expected


@needs("zsh")
def test_zsh_reads_its_script(written: dict[str, Path]) -> None:
    subprocess.run(["zsh", "-n", str(written["zsh"])], check=True)


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bsh"]) == 2
    assert "did you mean 'bash'?" in capsys.readouterr().err
