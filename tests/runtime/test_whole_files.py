"""Files that appear whole or not at all: whatever stands at their place, and however they end."""

import contextlib
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedge.files.whole import WholeFile, find_obstacle


def write(path: Path, data: bytes = b"new") -> None:
    with WholeFile(path) as file:
        file.stream.write(data)


def write_half(path: Path, error: type[BaseException]) -> None:
    with WholeFile(path) as file:
        file.stream.write(b"half")
        raise error


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_it_appears_at_the_end_and_keeps_what_was_there_until_then(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    file = WholeFile(path)
    file.stream.write(b"new")
    file.stream.flush()
    assert path.read_bytes() == b"old"
    file.finish()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_or_ctrl_c_leaves_nothing(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            write_half(path, error)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_cannot_be_guessed_and_is_never_one_that_is_there(tmp_path):
    path, victim = tmp_path / "f", tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "f.part").symlink_to(victim)
    with WholeFile(path) as first, WholeFile(path) as second:
        parts = list(tmp_path.glob(".f.*.part"))
        assert len(parts) == 2
        first.stream.write(b"1" * 10)
        second.stream.write(b"2" * 10)
    assert path.read_bytes() == b"1" * 10  # the one that ended last, and nothing of the other
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "f.part").is_symlink()


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path, mask):
    path, plain = tmp_path / "f", tmp_path / "plain"
    with umask(mask):
        write(path)
        plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_file_that_is_replaced_keeps_its_permissions_and_is_never_more_open(tmp_path):
    path = tmp_path / "f"
    for mode in (0o600, 0o664):
        path.touch()
        path.chmod(mode)
        with umask(0o022), WholeFile(path) as file:
            (part,) = [p for p in tmp_path.iterdir() if p != path]
            assert stat.S_IMODE(part.stat().st_mode) == mode
            file.stream.write(b"new")
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_kept(tmp_path, there):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(Path("folder") / "target")
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert list((tmp_path / "folder").iterdir()) == [target]


@pytest.mark.parametrize("seeks", [False, True])
def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path, seeks):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    with WholeFile(path, seeks=seeks) as file:
        file.stream.write(b"0123")
        if seeks:
            file.stream.seek(0)
            file.stream.write(b"ab")
    reader.join(10)
    assert got == [b"ab23" if seeks else b"0123"]
    assert stat.S_ISFIFO(path.lstat().st_mode)
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_behind_a_link_is_written_to_and_stays(tmp_path):
    link = tmp_path / "null"
    link.symlink_to(os.devnull)
    write(link)
    write(Path(os.devnull))
    assert link.is_symlink()
    assert Path(os.devnull).is_char_device()


def test_the_systems_names_for_a_stream_reach_the_stream(tmp_path):
    """`--out /dev/stdout >> log` adds to the log: a rename would leave the shell an old file."""
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    code = "from embedge.files.whole import WholeFile\n"
    code += "with WholeFile('/dev/stdout') as file: file.stream.write(b'new\\n')"
    with log.open("ab") as stream:
        subprocess.run([sys.executable, "-c", code], stdout=stream, check=True)
    assert log.read_bytes() == b"before\nnew\n"


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_full_disk_leaves_nothing_and_names_the_file(tmp_path, size):
    """Too little room is seen by `write`, or by `close` only: what is small waits in a buffer."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with largest_file(50), pytest.raises(OSError, match="File too large") as caught:
        write(path, b"x" * size)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_mounted_by_itself_is_filled_in_place(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"old and longer")

    def busy(self, target):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    write(path)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_name_has_room(tmp_path):
    path = tmp_path / ("語" * 85)  # 255 bytes, the most there are
    write(path)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("folder", "is a folder"),
        ("new/", "name of a folder"),
        ("missing/f", "does not exist"),
        ("f/g", "cannot be used: Not a directory"),
        ("to_missing", "does not exist"),
        ("loop", "cannot be used: Too many levels"),
        ("x" * 300, "cannot be used: File name too long"),
        ("f", None),
        ("new", None),
        ("pipe", None),
        ("/dev/null", None),
    ],
)
def test_obstacles_are_found_before_the_work(tmp_path, monkeypatch, name, reason):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("f").touch()
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    Path("to_missing").symlink_to("missing/f")
    before = sorted(Path().iterdir())
    found = find_obstacle(name)
    assert found is None if reason is None else reason in (found or "")
    assert sorted(Path().iterdir()) == before


def test_what_may_not_be_written_is_an_obstacle(tmp_path, monkeypatch):
    # Not by permissions: root may do everything.
    path = tmp_path / "f"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "may not make files" in (find_obstacle(path) or "")
    path.touch()
    assert "write-protected" in (find_obstacle(path) or "")


def test_a_current_folder_that_was_deleted_is_an_obstacle(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "the current folder was deleted" in (find_obstacle("f") or "")
    assert find_obstacle(tmp_path / "f") is None


def test_a_disk_is_an_obstacle(tmp_path, monkeypatch):
    real = Path.stat

    def disk(self, **options):
        found = list(real(self, **options))
        found[stat.ST_MODE] = stat.S_IFBLK | 0o600
        return os.stat_result(found)

    (tmp_path / "sda").touch()
    monkeypatch.setattr(Path, "stat", disk)
    assert "is a disk" in (find_obstacle(tmp_path / "sda") or "")
