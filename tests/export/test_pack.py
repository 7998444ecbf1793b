"""Committing a pack, stopped before every single step of it; and what it must not touch."""

import os
import shutil

import pytest

from embedge.errors import ExportError, ManifestError
from embedge.pack.files import open_pack, verify_files
from embedge.pack.manifest import MANIFEST
from embedge.pack.reading import read_manifest
from embedge_export.output import pack as packing
from embedge_export.output.stage import PREFIX, Stage, stage, survey


class Stop(BaseException):
    """A power cut."""


def unguarded(folder):
    """A stage that nobody cleans up, as of an export that is killed."""
    files = folder / f"{PREFIX}0123" / "files"
    files.mkdir(parents=True)
    place = Stage(folder, files, survey(folder))
    place.own({})
    return place


def test_stopped_before_any_step_of_the_commit_the_folder_is_whole_or_no_pack(
    tiny_pack, tmp_path, monkeypatch
):
    steps = 0
    replace, unlink = os.replace, os.unlink
    manifest = read_manifest(tiny_pack)
    for stop_at in range(100):
        folder = tmp_path / f"pack{stop_at}"
        shutil.copytree(tiny_pack, folder)  # an older pack stands there already
        (folder / "notes.onnx").write_text("the user's")
        place = unguarded(folder)
        for name in manifest.files:
            shutil.copy(tiny_pack / name, place.files / name)
        steps = 0

        def counted(do, stop_at=stop_at):
            def step(*arguments, **options):
                nonlocal steps
                if steps == stop_at:
                    raise Stop
                steps += 1
                return do(*arguments, **options)

            return step

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", counted(replace))
            patch.setattr(os, "unlink", counted(unlink))
            try:
                packing.commit(place, manifest)
            except Stop:
                stopped = True
            else:
                stopped = False
        try:
            assert verify_files(open_pack(folder)) == []
            whole = {MANIFEST, *manifest.files}
        except ManifestError:
            assert stopped
            whole = set()
        # The next export sweeps what is left: half a pack is of no use. The user's file stays.
        with stage(folder):
            pass
        assert {path.name for path in folder.iterdir()} == {"notes.onnx", *whole}
        if not stopped:
            break
    assert stop_at > len(manifest.files)


def test_only_files_that_the_old_manifest_lists_are_replaced_or_removed(tiny_pack, tmp_path):
    folder = shutil.copytree(tiny_pack, tmp_path / "pack")
    for name in ("customers.data", "other.onnx", "shared.int9.data"):
        (folder / name).write_text("the user's")
    manifest = read_manifest(tiny_pack)
    (folder / "samples.npy").unlink()
    (folder / "samples.npy").mkdir()  # listed, and yet not a file
    with stage(folder) as place:
        shutil.copy(tiny_pack / "tokenizer.json", place.files / "customers.data")
        with pytest.raises(ExportError, match=r"customers\.data is in the way"):
            packing.commit(place, manifest)
        (place.files / "customers.data").unlink()
        shutil.copy(tiny_pack / "samples.npy", place.files)
        with pytest.raises(ExportError, match=r"samples\.npy is in the way"):
            packing.commit(place, manifest)
    assert (folder / "customers.data").read_text() == "the user's"
    assert read_manifest(folder) == manifest


def test_a_listed_file_that_is_another_one_now_is_not_removed(tiny_pack, tmp_path):
    folder = shutil.copytree(tiny_pack, tmp_path / "pack")
    manifest = read_manifest(folder)
    other, link = "retrieval.int8.onnx", "clustering.int8.onnx"
    (folder / other).write_text("the user's")
    shutil.move(folder / link, tmp_path / "kept")
    (folder / link).symlink_to(tmp_path / "kept")
    with stage(folder) as place:
        packing.remove_dropped(place, manifest)
        assert read_manifest(folder) == manifest
        packing.remove(folder, place.contents.owned)
    assert sorted(path.name for path in folder.iterdir()) == [link, MANIFEST, other]
    assert (tmp_path / "kept").exists()


def test_what_is_damaged_is_found_whatever_its_size(tiny_pack, tmp_path):
    folder = shutil.copytree(tiny_pack, tmp_path / "pack")
    manifest = packing.read_existing(folder)
    assert manifest == read_manifest(tiny_pack)
    assert packing.find_damaged(folder, manifest, manifest.files) == set()
    (folder / "shared.int8.data").write_bytes(b"short")
    flipped = bytearray((folder / "shared.fp16.data").read_bytes())
    flipped[100] ^= 1
    (folder / "shared.fp16.data").write_bytes(flipped)
    (folder / "samples.npy").unlink()
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(tiny_pack / "tokenizer.json")  # as the runtime sees it
    assert packing.find_damaged(folder, manifest, manifest.files) == {
        "shared.int8.data",
        "shared.fp16.data",
        "samples.npy",
        "tokenizer.json",
    }
    (folder / MANIFEST).write_text("{}")
    assert packing.read_existing(folder) is None
    assert packing.read_existing(tmp_path / "nowhere") is None
