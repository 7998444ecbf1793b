"""The stage: what is an export's own, what is the user's, and that one export writes at a time."""

import json
import os

import pytest
from filelock import FileLock

from embedge.errors import ExportError
from embedge.pack.manifest import MANIFEST
from embedge.pack.reading import FORMAT
from embedge_export.output.stage import LOCK, MARKER, PREFIX, check_contents, stage, survey


def left_over(folder, files=None):
    """What an export that was killed leaves."""
    place = folder / f"{PREFIX}abc"
    (place / "files").mkdir(parents=True)
    (place / "files" / "half.data").write_bytes(b"x")
    (place / MARKER).write_text(json.dumps({"files": files or {}}))
    (folder / LOCK).touch()
    return place


def manifest(folder, **fields):
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, **fields}))


def test_a_stage_is_empty_and_goes_away_with_what_was_made_for_it(tmp_path):
    folder = tmp_path / "deep" / "pack"
    with stage(folder) as place:
        assert list(place.files.iterdir()) == []
        assert place.files.is_relative_to(folder)
        assert place.contents.others == ()
    assert list(tmp_path.iterdir()) == []
    folder.mkdir(parents=True)
    with stage(folder):
        pass
    assert list(folder.iterdir()) == []  # it was there before


@pytest.mark.parametrize("name", [".part", "part", "retrieval.part", f"{PREFIX}mine", ".lock"])
def test_a_folder_of_the_user_is_never_swept(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("years of work")
    with stage(tmp_path) as place:
        assert place.contents.others == (name,)
    assert (tmp_path / name / "thesis.txt").read_text() == "years of work"


def test_what_a_killed_export_left_is_swept(tmp_path):
    left_over(tmp_path)
    (tmp_path / f"{PREFIX}xyz").mkdir()  # killed before it could mark it
    assert check_contents(tmp_path, "--out").others == ()
    with stage(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_another_export_is_writing_is_not_swept(tmp_path):
    place = left_over(tmp_path)
    with (
        FileLock(tmp_path / LOCK),
        pytest.raises(ExportError, match="another export"),
        stage(tmp_path),
    ):
        pass
    assert (place / "files" / "half.data").exists()


def test_files_of_a_pack_whose_replacing_was_cut_short(tmp_path):
    sizes = {"old.data": [3], "new.data": [2, 4], "changed.data": [9], "../up.data": [2]}
    left_over(tmp_path, sizes)
    for name in ("old.data", "new.data", "changed.data", "other.data"):
        (tmp_path / name).write_bytes(b"abc" if name == "old.data" else b"abcd")
    assert check_contents(tmp_path, "--out").others == ("other.data",)
    with stage(tmp_path) as place:
        assert place.contents.owned == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["changed.data", "other.data"]


def test_a_link_to_a_stage_is_not_followed(tmp_path):
    elsewhere = left_over(tmp_path / "elsewhere")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f"{PREFIX}abc").symlink_to(elsewhere)
    with stage(folder):
        pass
    assert (elsewhere / "files" / "half.data").exists()


@pytest.mark.parametrize("kind", ["text", "link", "folder"])
def test_a_lock_that_is_not_ours_is_not_touched(tmp_path, kind):
    lock, precious = tmp_path / LOCK, tmp_path / "precious"
    precious.write_text("years of work")
    if kind == "text":
        lock.write_text("years of work")
    elif kind == "link":
        lock.symlink_to(precious)
    else:
        lock.mkdir()
    with pytest.raises(ExportError, match=r"\.lock is not the lock of an export"), stage(tmp_path):
        pass
    assert os.path.lexists(lock)
    assert precious.read_text() == "years of work"


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    for name in ("a.csv", "b.csv", "c.csv", "d.csv"):
        (tmp_path / name).touch()
    with pytest.raises(ExportError, match=r"not empty .*'a\.csv', 'b\.csv', 'c\.csv' and 1 more"):
        check_contents(tmp_path, "--out")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"name": "My web application"}', '{"format": "other"}', "[" * 10_000]
)
def test_a_manifest_of_another_kind_makes_no_pack(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ExportError, match=r"its manifest\.json is not that of a pack"):
        check_contents(tmp_path, "--out")


def test_a_manifest_that_is_a_link_makes_no_pack(tmp_path):
    manifest(tmp_path / "pack")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / MANIFEST).symlink_to(tmp_path / "pack" / MANIFEST)
    with pytest.raises(ExportError, match="holds no pack"):
        check_contents(tmp_path / "folder", "--out")


def test_a_pack_s_folder_may_hold_other_things_too(tmp_path):
    manifest(tmp_path, files={"x.onnx": {"size": 3}}, format_version=99)
    (tmp_path / "notes.txt").touch()
    contents = check_contents(tmp_path, "--out")
    assert contents.others == ("notes.txt",)
    assert contents.owned == {"x.onnx": {3}}


@pytest.mark.parametrize("files", [None, [], {"../x": {"size": 1}}, {"/etc/x": {"size": 1}}, "x"])
def test_nothing_outside_the_folder_is_ever_owned(tmp_path, files):
    manifest(tmp_path, files=files)
    assert survey(tmp_path).owned == {}


def test_what_file_managers_and_git_leave_counts_as_empty(tmp_path):
    for name in (".DS_Store", "Thumbs.db", ".gitkeep", "._pack"):
        (tmp_path / name).touch()
    assert check_contents(tmp_path, "--out").others == ()
    with stage(tmp_path):
        pass
    assert len(list(tmp_path.iterdir())) == 4
