import hashlib
import json
import os
import stat
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedge.errors import ManifestError, PackError, PackFileError
from embedge.files import checked as checked_files
from embedge.files.checked import REMEMBERED
from embedge.pack.files import (
    Pack,
    check_files,
    check_references,
    default_folder,
    open_pack,
    verify_files,
)
from embedge.pack.reading import read_manifest
from support.tiny import write_pack

MakePack = Callable[..., Path]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for every file that is hashed."""
    counted: list[int] = []
    digest = hashlib.file_digest

    def count(stream: Any, name: str) -> Any:
        counted.append(1)
        return digest(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", count)
    return counted


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of tests are new, and would not be remembered yet."""
    monkeypatch.setattr(checked_files, "SETTLED_AFTER", -(10**9))


def test_opening_reads_the_manifest_and_nothing_else(pack: Path, hashed: list[int]) -> None:
    opened = open_pack(str(pack))
    assert opened == Pack(pack, read_manifest(pack))
    assert opened.file("shared.bin") == pack / "shared.bin"
    assert hashed == []


def test_a_relative_path_becomes_absolute(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pack.parent)
    assert open_pack("pack").folder == pack


def test_no_path_opens_the_bundled_pack(package: Path) -> None:
    write_pack(package / "default")
    assert open_pack(None) == open_pack(package / "default")


def test_an_installation_without_a_pack_says_how_to_get_one(package: Path) -> None:
    (package / "default").mkdir()  # as an export that was killed leaves it
    for remedy in ("`make default`", "install a wheel", "embedge export SOURCE --out FOLDER"):
        with pytest.raises(PackError, match=remedy):
            open_pack(None)


def test_a_bundled_pack_inside_an_archive_is_refused(make_pack: MakePack, tmp_path: Path) -> None:
    pack = make_pack("default")
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        for path in pack.iterdir():
            archive.write(path, f"embedge/default/{path.name}")
    with (
        zipfile.ZipFile(tmp_path / "site.zip") as archive,
        pytest.raises(PackError, match=r"inside an archive .* install embedge unpacked"),
    ):
        default_folder(zipfile.Path(archive, "embedge/"))


def test_a_bundled_pack_in_plain_files_is_one_whatever_class_its_resources_have(
    make_pack: MakePack,
) -> None:
    class Resource:
        """As a compiled program has them: a path, but no Path."""

        def __init__(self, path: Path) -> None:
            self.path = path

        def __truediv__(self, name: str) -> "Resource":
            return Resource(self.path / name)

        def __str__(self) -> str:
            return str(self.path)

        def is_file(self) -> bool:
            return self.path.is_file()

    pack = make_pack("default")
    assert default_folder(Resource(pack.parent)) == pack


def test_a_bundled_pack_in_a_folder_that_nobody_may_write(
    package: Path, tmp_path: Path, hashed: list[int]
) -> None:
    pack = write_pack(package / "default")
    before = {path: path.stat().st_mtime_ns for path in [pack, *pack.iterdir()]}
    pack.chmod(0o555)
    try:
        opened = open_pack(None)
        for _ in range(2):
            check_files(opened, opened.manifest.files, cache=tmp_path / "cache")
    finally:
        pack.chmod(0o755)
    assert len(hashed) == len(opened.manifest.files)  # remembered, and not in the pack
    assert {path: path.stat().st_mtime_ns for path in [pack, *pack.iterdir()]} == before


def test_a_hub_id_says_how_to_export_it() -> None:
    with pytest.raises(PackError, match="embedge export owner/name-1` makes its pack"):
        open_pack("owner/name-1")


def test_a_folder_that_looks_like_a_hub_id_is_opened(
    make_pack: MakePack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pack("owner/name")
    monkeypatch.chdir(tmp_path)
    assert open_pack("owner/name").folder == tmp_path / "owner/name"
    with pytest.raises(ManifestError):
        open_pack("./owner")


def test_a_file_is_hashed_once_a_machine(pack: Path, hashed: list[int], tmp_path: Path) -> None:
    opened = open_pack(pack)
    for _ in range(3):
        check_files(opened, ["shared.bin", "tokenizer.json"], cache=tmp_path / "cache")
    assert len(hashed) == 2
    check_files(opened, ["shared.bin", "retrieval.fp32.onnx"], cache=tmp_path / "cache")
    assert len(hashed) == 3


def test_a_changed_file_is_hashed_again_and_found(
    pack: Path, hashed: list[int], tmp_path: Path
) -> None:
    opened = open_pack(pack)
    check_files(opened, ["shared.bin"], cache=tmp_path / "cache")
    content = bytearray((pack / "shared.bin").read_bytes())
    content[5] ^= 1  # same size
    (pack / "shared.bin").write_bytes(content)
    with pytest.raises(PackFileError, match=r"shared\.bin is not the file that the manifest"):
        check_files(opened, ["shared.bin"], cache=tmp_path / "cache")


def test_another_manifest_does_not_profit_from_what_was_remembered(
    pack: Path, tmp_path: Path
) -> None:
    opened = open_pack(pack)
    check_files(opened, ["shared.bin"], cache=tmp_path)
    entry = replace(opened.manifest.files["shared.bin"], sha256="0" * 64)
    files = {**opened.manifest.files, "shared.bin": entry}
    other = Pack(pack, replace(opened.manifest, files=files))
    with pytest.raises(PackFileError, match="0000"):
        check_files(other, ["shared.bin"], cache=tmp_path)


def rewrite_in_place(path: Path) -> None:
    """Other content of the same size, in the same inode, of the same time of modification."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock ticks in milliseconds
        with path.open("r+b") as stream:
            stream.write(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns"):
        assert getattr(after, name) == getattr(before, name)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no time of change")
def test_a_file_rewritten_in_place_is_found_although_its_time_is_put_back(
    pack: Path, tmp_path: Path
) -> None:
    opened = open_pack(pack)
    names = list(opened.manifest.files)
    check_files(opened, names, cache=tmp_path)
    assert verify_files(opened) == []
    rewrite_in_place(pack / "shared.bin")
    with pytest.raises(PackFileError, match=r"shared\.bin is not the file"):
        check_files(opened, names, cache=tmp_path)
    (problem,) = verify_files(opened)
    assert "shared.bin" in problem


def test_a_file_that_was_written_just_now_is_not_remembered_yet(
    pack: Path, hashed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be written again within one tick of the clock, without a sign."""
    monkeypatch.setattr(checked_files, "SETTLED_AFTER", 10**18)
    for _ in range(2):
        check_files(open_pack(pack), ["shared.bin"], cache=tmp_path)
    assert len(hashed) == 2


def test_what_was_checked_before_a_bad_file_is_remembered(
    pack: Path, hashed: list[int], tmp_path: Path
) -> None:
    (pack / "tokenizer.json").write_bytes(b"{}")
    for _ in range(2):
        with pytest.raises(PackFileError, match="tokenizer"):
            check_files(open_pack(pack), ["shared.bin", "tokenizer.json"], cache=tmp_path)
    assert len(hashed) == 1


def test_verify_trusts_no_memory(pack: Path, tmp_path: Path) -> None:
    opened = open_pack(pack)
    (pack / "shared.bin").write_bytes(b"\1" * opened.manifest.files["shared.bin"].size)
    memory = checked_files.CheckedFiles(tmp_path)
    identity = checked_files.identify((pack / "shared.bin").stat())
    memory.learn(pack / "shared.bin", identity, opened.manifest.files["shared.bin"].sha256)
    memory.keep()
    check_files(opened, ["shared.bin"], cache=tmp_path)  # a forgery by the user's own hand
    (problem,) = verify_files(opened)
    assert "shared.bin" in problem


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
@pytest.mark.parametrize("how", ["file", "folder", "owner", "link"])
def test_a_memory_that_others_could_have_written_is_not_used(
    pack: Path,
    hashed: list[int],
    tmp_path: Path,
    give_away: Callable[[Path], None],
    how: str,
) -> None:
    cache = tmp_path / "cache"
    check_files(open_pack(pack), ["shared.bin"], cache=cache)
    if how == "file":
        (cache / REMEMBERED).chmod(0o666)
    elif how == "folder":
        cache.chmod(0o777)
    elif how == "owner":
        give_away(cache / REMEMBERED)
    else:
        (cache / REMEMBERED).rename(tmp_path / "elsewhere")
        (cache / REMEMBERED).symlink_to(tmp_path / "elsewhere")
    check_files(open_pack(pack), ["shared.bin"], cache=cache)
    assert len(hashed) == 2
    if how != "owner":  # ours again, and closed to others
        assert stat.S_IMODE((cache / REMEMBERED).lstat().st_mode) == 0o600
        assert stat.S_IMODE(cache.stat().st_mode) & 0o022 == 0


def test_a_memory_without_end_is_not_read(pack: Path, hashed: list[int], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / REMEMBERED)
    check_files(open_pack(pack), ["shared.bin"], cache=tmp_path)
    with (tmp_path / REMEMBERED).open("wb") as stream:
        stream.truncate(2**36)  # sparse
    check_files(open_pack(pack), ["shared.bin"], cache=tmp_path)


def test_what_a_killed_writer_left_is_swept(pack: Path, tmp_path: Path) -> None:
    old, new, other = (
        tmp_path / name
        for name in (f"{REMEMBERED}-old.part", f"{REMEMBERED}-new.part", "other.part")
    )
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    check_files(open_pack(pack), ["shared.bin"], cache=tmp_path)
    assert [path.exists() for path in (old, new, other)] == [False, True, True]


def test_without_a_home_nothing_is_remembered(
    pack: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_files, "cache_folder", lambda: None)
    for _ in range(2):
        check_files(open_pack(pack), ["shared.bin"])
    assert len(hashed) == 2


def test_verify_lists_every_problem(pack: Path) -> None:
    opened = open_pack(pack)
    (pack / "tokenizer.json").unlink()
    (pack / "shared.bin").write_bytes(b"short")
    (pack / "link").symlink_to("manifest.json")
    problems = verify_files(opened)
    assert len(problems) == 3
    for told in ("tokenizer.json is missing", "shared.bin has 5 bytes", "link is a link"):
        assert sum(told in problem for problem in problems) == 1


@pytest.mark.parametrize("content", ["", "[]", "{broken", '{"a": 1}', "[" * 100_000, "\udcff"])
def test_a_damaged_memory_is_ignored_and_replaced(
    pack: Path, tmp_path: Path, hashed: list[int], content: str
) -> None:
    memory = tmp_path / "cache" / REMEMBERED
    memory.parent.mkdir()
    memory.write_bytes(content.encode("utf-8", "surrogateescape"))
    for _ in range(2):
        check_files(open_pack(pack), ["shared.bin"], cache=memory.parent)
    assert len(hashed) == 1
    assert list(json.loads(memory.read_text())) == [str(pack / "shared.bin")]
    assert list(memory.parent.iterdir()) == [memory]  # no .part stays behind


def test_a_memory_that_cannot_be_written_is_forgiven(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    check_files(open_pack(pack), ["shared.bin"], cache=tmp_path / "file")


def test_packs_that_are_gone_are_forgotten(make_pack: MakePack, tmp_path: Path) -> None:
    first, second = make_pack("first"), make_pack("second")
    check_files(open_pack(first), ["shared.bin"], cache=tmp_path)
    (first / "shared.bin").unlink()
    check_files(open_pack(second), ["shared.bin"], cache=tmp_path)
    assert list(json.loads((tmp_path / REMEMBERED).read_text())) == [str(second / "shared.bin")]


def test_a_file_that_changes_while_it_is_hashed_is_not_trusted(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.file_digest

    def meddle(stream: Any, name: str) -> Any:
        result = digest(stream, name)
        os.utime(pack / "shared.bin", ns=(1, 1))
        return result

    monkeypatch.setattr(hashlib, "file_digest", meddle)
    with pytest.raises(PackFileError, match="changed while"):
        check_files(open_pack(pack), ["shared.bin"], cache=tmp_path)


def test_the_default_memory_is_the_users_cache(pack: Path) -> None:
    check_files(open_pack(pack), ["shared.bin"])
    memory = Path(os.environ["XDG_CACHE_HOME"]) / "embedge" / REMEMBERED
    assert memory.is_file()
    assert stat.S_IMODE(memory.stat().st_mode) & 0o077 == 0


def test_graphs_take_their_weights_from_listed_files_only(make_pack: MakePack) -> None:
    for location in ("../shared.bin", "/etc/passwd", "unlisted.bin", "manifest.json"):
        opened = open_pack(make_pack(location=location))
        with pytest.raises(PackFileError, match="does not list"):
            check_references(opened, opened.manifest.graphs[0])
        assert len(verify_files(opened)) == 2  # both graphs
    opened = open_pack(make_pack())
    check_references(opened, opened.manifest.graphs[0])
