"""Committing a pack, stopped before every single step of it."""

import os
import shutil

import pytest

from embedge.errors import ExportError, ManifestError
from embedge.manifest import MANIFEST, read_manifest
from embedge.packs import open_pack, verify_files
from embedge_export import pack as packing


class Stop(BaseException):
    """A power cut."""


def test_stopped_before_any_step_of_the_commit_the_folder_is_whole_or_no_pack(
    tiny_pack, tmp_path, monkeypatch
):
    steps = 0
    replace, unlink = os.replace, os.unlink
    manifest = read_manifest(tiny_pack)
    for stop_at in range(100):
        folder = tmp_path / f"pack{stop_at}"
        shutil.copytree(tiny_pack, folder)  # an older pack stands there already
        part = folder / ".part"
        part.mkdir()
        for name in manifest.files:
            shutil.copy(tiny_pack / name, part / name)
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
                packing.commit(part, folder, manifest)
            except Stop:
                stopped = True
            else:
                stopped = False
        try:
            assert verify_files(open_pack(folder)) == []
        except ManifestError:
            assert stopped
        if not stopped:
            break
    assert stop_at > len(manifest.files)


def test_a_stage_is_empty_and_goes_away(tmp_path):
    folder = tmp_path / "deep" / "pack"
    (folder / ".part").mkdir(parents=True)
    (folder / ".part" / "left-over.data").write_bytes(b"x")
    with packing.stage(folder) as part:
        assert list(part.iterdir()) == []
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_named_error(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ExportError, match="cannot be written"),
        packing.stage(tmp_path / "file" / "pack"),
    ):
        pass


def test_an_incomplete_pack_is_not_built_upon(tiny_pack, tmp_path):
    folder = shutil.copytree(tiny_pack, tmp_path / "pack")
    assert packing.existing(folder) == read_manifest(tiny_pack)
    (folder / "shared.int8.data").write_bytes(b"short")
    assert packing.existing(folder) is None
    (folder / MANIFEST).write_text("{}")
    assert packing.existing(folder) is None
    assert packing.existing(tmp_path / "nowhere") is None
