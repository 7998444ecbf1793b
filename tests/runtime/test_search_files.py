"""Walking and reading: what is text is found in a settled order, what is none is told."""

import contextlib
import inspect
import os
import socket
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.errors import InputError
from embedge.files.folders import walk
from embedge.search import files
from embedge.search.files import MAX_FILE_BYTES, RefusedError, decode, read


def listed(root: Path) -> tuple[list[str], dict[str, str]]:
    refused: dict[str, str] = {}
    found = walk(root, refuse=lambda path, why: refused.update({path.name: why}))
    return [found.path.relative_to(root).as_posix() for found in found], refused


def test_a_walk_meets_plain_files_in_the_order_of_their_paths(tmp_path: Path) -> None:
    names = ["a/z.py", "a-b.txt", "a.txt", "a/b/c.md", "b.md", "B.md", "Ä.txt", "a/.hidden"]
    for name in [*names, ".git/x", "node_modules/x", "build/x", "a/__pycache__/x"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.md")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    found, refused = listed(tmp_path)
    assert found == sorted(set(names) - {"a/.hidden"}, key=os.fsencode)
    assert refused == {}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_sockets_are_told_and_never_waited_for(tmp_path: Path, monkeypatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        (tmp_path / "text").write_text("text")
        found, refused = listed(tmp_path)
    assert found == ["text"]
    assert refused == dict.fromkeys(["pipe", "socket"], "a pipe, socket or device, not a file")
    with pytest.raises(RefusedError, match="a pipe"):  # it became one after the walk
        read(tmp_path / "pipe")
    with pytest.raises(RefusedError, match="a pipe"):
        read(Path("/dev/zero"))


def test_a_link_that_took_a_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(RefusedError):
        read(tmp_path / "link")


def test_folders_may_nest_deeper_than_python_recurses(tmp_path: Path) -> None:
    names = ["/".join("d" * depth) + "/text" for depth in (1, 100, 300)]
    (tmp_path / names[-1]).parent.mkdir(parents=True)
    for name in names:
        (tmp_path / name).write_text("x")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found, refused = listed(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert (sorted(found), refused) == (sorted(names), {})


@pytest.mark.skipif(sys.platform != "linux", reason="other systems want Unicode names")
def test_a_name_need_not_be_unicode(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    Path(os.fsdecode(name)).write_text("x")
    (found,) = walk(tmp_path, refuse=lambda *_: None)
    assert os.fsencode(found.path) == name
    assert read(found.path).data == b"x"


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("closed", "file"):
        (tmp_path / name).chmod(0)
    try:
        assert listed(tmp_path) == (["file"], {"closed": "Permission denied"})
        with pytest.raises(RefusedError, match="Permission denied"):
            read(tmp_path / "file")
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_told_unless_it_is_the_root(
    tmp_path: Path, monkeypatch
) -> None:
    for name in ("a/1", "b/2", "c/3"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x")
    real = os.scandir
    closed = tmp_path / "b"

    def scandir(path: str):
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert listed(tmp_path) == (["a/1", "c/3"], {"b": "Permission denied"})
    closed = tmp_path
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        listed(tmp_path)


def test_a_file_that_changes_while_it_is_read_is_read_once_more(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("first")
    changes = iter(["second, longer"])
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if text := next(changes, None):
            path.write_text(text)
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    assert read(path).data == b"second, longer"
    changes = iter(["third", "and a fourth"])
    with pytest.raises(RefusedError, match="being written to"):
        read(path)
    changes = iter([])

    def replace(descriptor: int) -> os.stat_result:  # another file takes its place, like it
        status = real(descriptor)
        (tmp_path / "new").write_text("other")
        os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
        (tmp_path / "new").replace(path)
        return status

    monkeypatch.setattr(os, "fstat", replace)
    with pytest.raises(RefusedError, match="being written to"):
        read(path)


def test_large_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as stream:
        stream.truncate(2**40)  # sparse
    with pytest.raises(RefusedError, match="larger than 8 MiB"):
        read(path)
    with path.open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES)
    assert len(read(path).data) == MAX_FILE_BYTES


def test_a_stamp_is_trusted_only_when_the_clock_has_ticked(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    assert read(path).stamp is None  # it could be written again in the same tick
    later = time.time_ns() + 5_000_000_000
    monkeypatch.setattr(files.time, "time_ns", lambda: later)
    (found,) = walk(tmp_path, refuse=lambda *_: None)
    assert read(path).stamp == found.stamp
    os.utime(path, ns=(later + 10**12,) * 2)  # a clock that is ahead
    assert read(path).stamp is None


def test_a_restored_modification_time_does_not_hide_a_change(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    os.utime(path, (10**9, 10**9))
    (before,) = walk(tmp_path, refuse=lambda *_: None)
    time.sleep(0.02)  # more than a tick
    path.write_text("new")
    os.utime(path, (10**9, 10**9))
    (after,) = walk(tmp_path, refuse=lambda *_: None)
    assert after.stamp != before.stamp


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        ("naïve 字".encode(), "naïve 字"),
        ("naïve 字".encode("utf-8-sig"), "naïve 字"),
        ("naïve 字 🙂".encode("utf-16"), "naïve 字 🙂"),
        (b"\xfe\xff" + "naïve 字".encode("utf-16-be"), "naïve 字"),
        ("naïve 字 🙂".encode("utf-32"), "naïve 字 🙂"),
        (b"\0\0\xfe\xff" + "naïve 字".encode("utf-32-be"), "naïve 字"),
    ],
)
def test_encodings(data: bytes, text: str) -> None:
    assert decode(data) == text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x89PNG\0", "binary"),
        ("text".encode("utf-16-le"), "binary"),  # nothing says that it is UTF-16
        ("text".encode("utf-32-le"), "binary"),
        (b"caf\xe9", "neither"),
        (b"\xff\xfea", "damaged UTF-16"),  # half a character
        (b"\xff\xfe\x00\xd8a\x00", "damaged UTF-16"),  # half a pair of surrogates
        (b"\xed\xa0\x80", "neither"),
    ],
)
def test_what_is_no_text(data: bytes, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        decode(data)


@given(st.binary())
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    with contextlib.suppress(RefusedError):
        decode(data).encode()
