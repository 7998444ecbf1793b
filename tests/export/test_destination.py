"""Which folders may be written to at all."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from embedge.errors import ExportError, OptionError
from embedge_export.output import destination
from embedge_export.output.destination import check_apart, check_place, check_space


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "people" / "me"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    return folder


@pytest.mark.parametrize("name", ["", " ", "\t \n"])
def test_an_empty_name_is_not_the_current_folder(name):
    with pytest.raises(ExportError, match=r"--out is empty \(a variable that is not set\?\)"):
        check_place(name, "--out")


@pytest.mark.parametrize("name", ["/", "//", "/tmp/..", "~", "~/", "~/../me", "~/.."])
def test_the_root_and_the_home_folder_are_nobody_s_pack(home, name):
    with pytest.raises(ExportError, match=r"is the (root|home)"):
        check_place(name, "--out")


def test_the_home_folder_by_another_name(home, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(home)
    monkeypatch.chdir(home)
    for name in ("", "/x/.."):
        with pytest.raises(ExportError, match="is the home folder"):
            check_place(f"{tmp_path / 'link'}{name}", "--out")
    with pytest.raises(ExportError, match="is the home folder"):
        check_place(".", "--out")


def test_inside_the_home_folder_is_fine(home):
    assert check_place("~/packs/v5", "--out") == home / "packs" / "v5"


@pytest.mark.parametrize(
    "name", ["file", "file/pack", "gone", "gone/pack", "loop", "a" * 300, "caf\udce9"]
)
def test_what_cannot_be_a_folder(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ExportError, match=r"cannot be written|is not UTF-8"):
        check_place(tmp_path / name, "--merged")


@pytest.mark.parametrize("name", ["x\0y", "~no-such-user-here/pack"])
def test_names_that_no_system_takes(name):
    with pytest.raises(OptionError, match="--out"):
        check_place(name, "--out")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_a_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ExportError, match="is not a folder"):
        check_place(tmp_path / "pipe", "--out")


def test_nothing_is_written_into_the_model(tmp_path):
    model = tmp_path / "models" / "own"
    model.mkdir(parents=True)
    (tmp_path / "link").symlink_to(model)
    for place, where in (
        (model, "is the folder"),
        (tmp_path / "link", "is the folder"),
        (model / "deep" / "pack", "is inside the folder"),
        (tmp_path / "link" / "pack", "is inside the folder"),
        (tmp_path / "models", "contains the folder"),
    ):
        with pytest.raises(ExportError, match=where):
            check_apart(place, model, "--out")
    check_apart(tmp_path / "models", model, "--merged", above=False)
    check_apart(tmp_path / "models" / "own.pack", model, "--out")
    check_apart(tmp_path / "packs", model, "--out")


def test_no_room_is_found_before_the_work(tmp_path, monkeypatch):
    sizes = SimpleNamespace(total=10**12, free=10**9)
    monkeypatch.setattr(destination.shutil, "disk_usage", lambda path: sizes)
    check_space(tmp_path / "new" / "pack", 10**9, "the pack takes")
    with pytest.raises(ExportError, match=r"the pack takes at least 2\.00 GB, .* 1\.00 GB free"):
        check_space(tmp_path / "new" / "pack", 2 * 10**9, "the pack takes")
    sizes.total = sizes.free = 0  # a disk that does not say
    check_space(tmp_path, 10**9, "the pack takes")


def test_room_is_asked_of_the_disk_that_the_folder_will_be_on(tmp_path, monkeypatch):
    asked = []

    def usage(path):
        asked.append(Path(path))
        raise OSError

    monkeypatch.setattr(destination.shutil, "disk_usage", usage)
    check_space(tmp_path / "new" / "pack", 1, "the pack takes")
    assert asked == [tmp_path]
