"""Paths that callers pass: absolute, or a named error that says which argument it was."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedge import Embedder, EmbedgeError
from embedge.cli import main
from embedge.errors import InputError, OptionError, PackError
from embedge.files.paths import absolute_path
from embedge.pack.files import open_pack
from embedge.search import SearchIndex, find_root

NOBODY = "~no-such-user-of-embedge"


def test_home_folders_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert absolute_path("~/a", "path") == absolute_path(Path("a"), "path") == tmp_path / "a"
    assert absolute_path(str(tmp_path), "path") == tmp_path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (NOBODY, "home folder '~no-such-user-of-embedge' is unknown"),
        (f"{NOBODY}/pack", "home folder '~no-such-user-of-embedge' is unknown"),
        ("", "is empty"),
        ("a\0b", "NUL"),
        (b"bytes", "is bytes"),
        (5, "is int"),
        (None, "is NoneType"),
    ],
)
def test_what_is_no_path_is_refused_by_name(path: Any, reason: str) -> None:
    with pytest.raises(OptionError, match=rf"^--index is .*{reason}|^--index {reason}"):
        absolute_path(path, "--index")


def test_a_current_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(OptionError, match="current folder cannot be found"):
        absolute_path("pack", "path")


def test_every_door_gives_the_named_error(pack: Path) -> None:
    with pytest.raises(EmbedgeError, match=r"path is .*home folder"):
        open_pack(f"{NOBODY}/pack")
    with pytest.raises(OptionError, match=r"prepared is .*home folder"):
        Embedder(pack, prepared=f"{NOBODY}/prepared")
    with Embedder(pack) as embedder, pytest.raises(OptionError, match=r"path is .*home folder"):
        SearchIndex(f"{NOBODY}/index", embedder)
    with pytest.raises(InputError, match=r"path is .*home folder"):
        find_root(NOBODY)


@pytest.mark.parametrize("path", ["x" * 5000, "/" + "deep/" * 2000])
def test_paths_that_no_system_takes(path: str) -> None:
    with pytest.raises(EmbedgeError, match="manifest"):
        open_pack(path)


@pytest.mark.parametrize("command", ["info", "verify", "doctor"])
def test_the_command_line_says_it_in_a_sentence(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, f"{NOBODY}/pack"]) in (1, 2)  # doctor goes on, and reports a problem
    shown = capsys.readouterr()
    assert "home folder '~no-such-user-of-embedge' is unknown" in shown.out + shown.err
    assert "unexpected" not in shown.err


def test_a_home_that_is_unknown_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(path: str) -> str:
        return path

    monkeypatch.setattr(os.path, "expanduser", unknown)
    with pytest.raises(OptionError, match="home folder '~' is unknown"):
        absolute_path("~/pack", "path")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_folders_whose_name_is_not_utf8(
    make_pack: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsdecode(b"caf\xe9")
    folder = make_pack().rename(tmp_path / name)
    for text in (folder, str(folder)):
        with pytest.raises(PackError, match=r"is not UTF-8.*rename the folder"):
            Embedder(text)
    assert main(["info", str(folder)]) == 2
    assert "rename the folder" in capsys.readouterr().err
    with (
        Embedder(folder.rename(tmp_path / "pack"), prepared=folder) as embedder,
        pytest.raises(OptionError, match=r"not UTF-8.*name another folder"),
    ):
        embedder.encode("text")
