"""Only regular files are read, never more than was asked for; the rest is refused at once."""

import os
import socket
import sys
from pathlib import Path

import pytest

from embedge.files.regular import check_regular, open_regular, read_regular

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices as POSIX's")


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    assert read_regular(path, most=1000) == b"x" * 1000
    with open_regular(path) as stream:
        assert stream.read(3) == b"xxx"
    check_regular(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as stream:
        stream.truncate(2**33 if sys.platform == "linux" else 2**20)  # sparse
    with pytest.raises(OSError, match="larger than 1,000 bytes"):
        read_regular(path, most=1000)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_regular(tmp_path / "file", most=10) == b""


@pytest.mark.parametrize("follow", [False, True])
def test_what_is_no_regular_file(tmp_path: Path, follow: bool) -> None:
    fifo, folder, unix = tmp_path / "fifo", tmp_path / "folder", tmp_path / "socket"
    os.mkfifo(fifo)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(unix))
        for path in (fifo, folder, unix, Path("/dev/zero"), tmp_path / "missing"):
            for act in (
                lambda path=path: read_regular(path, most=10, follow_links=follow),
                lambda path=path: open_regular(path, follow_links=follow),
                lambda path=path: check_regular(path, follow_links=follow),
            ):
                with pytest.raises(OSError, match=r"pipe|folder|No such file"):
                    act()


def test_links_only_where_they_are_followed_and_lead_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "endless").symlink_to("/dev/zero")
    assert read_regular(tmp_path / "link", most=10, follow_links=True) == b"content"
    with pytest.raises(OSError, match="is a link"):
        read_regular(tmp_path / "link", most=10)
    with pytest.raises(OSError, match="device"):
        read_regular(tmp_path / "endless", most=10, follow_links=True)


def test_a_file_whose_size_is_unknown() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system has no /proc")
    assert b"Name:" in read_regular(Path("/proc/self/status"), most=2**20)
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_regular(Path("/proc/self/status"), most=10)


def test_a_pipe_that_took_the_files_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at again once it is open, and opening it does not wait."""
    path, pipe = tmp_path / "file", tmp_path / "pipe"
    path.touch()
    os.mkfifo(pipe)
    opened = os.open
    monkeypatch.setattr(os, "open", lambda _, flags: opened(pipe, flags))
    with pytest.raises(OSError, match="pipe"):
        open_regular(path)
