"""Where caches stand, and that nobody else can have written there."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from embedge.cli import main
from embedge.errors import IndexFileError
from embedge.files import caches
from embedge.files.caches import cache_folder, check_private, make_private_folder, others_write
from embedge.search import default_place

posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")


@pytest.mark.parametrize(
    ("environment", "platform", "folder"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "linux", "/x/embedge"),
        ({"HOME": "/h"}, "linux", "/h/.cache/embedge"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Caches/embedge"),
        ({"LOCALAPPDATA": "/l", "USERPROFILE": "/u"}, "win32", "/l/embedge/Cache"),
        ({"USERPROFILE": "/u"}, "win32", "/u/.cache/embedge"),
        # What is no absolute path would mean another folder from every current folder.
        ({"XDG_CACHE_HOME": "x", "HOME": "/h"}, "linux", "/h/.cache/embedge"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "linux", "/h/.cache/embedge"),
        ({"HOME": "relative"}, "linux", "/database/.cache/embedge"),
        ({"HOME": ""}, "linux", "/database/.cache/embedge"),
        ({}, "linux", "/database/.cache/embedge"),
        ({}, "darwin", "/database/Library/Caches/embedge"),
        ({"LOCALAPPDATA": "l", "USERPROFILE": "u"}, "win32", None),
        ({}, "win32", None),
    ],
)
def test_the_cache_folder_follows_the_platform(
    environment: dict[str, str],
    platform: str,
    folder: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caches, "_home_of_user", lambda: "/database")
    assert cache_folder(environment, platform) == (None if folder is None else Path(folder))


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_without_any_home_there_is_no_cache(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all no shared temporary folder."""
    monkeypatch.setattr(caches, "_home_of_user", lambda: home)
    assert cache_folder({"TMPDIR": "/tmp"}, "linux") is None


@posix
def test_the_home_of_the_user_database(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_dir="/of/database"))
    assert cache_folder({}, "linux") == Path("/of/database/.cache/embedge")

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert cache_folder({}, "linux") is None


@posix
def test_a_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        make_private_folder(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    make_private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@posix
def test_what_is_not_this_users_is_refused(
    tmp_path: Path, give_away: Callable[[Path], None]
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="link"):
        make_private_folder(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_private_folder(tmp_path / "file")
    for mode in (0o620, 0o602, 0o666):
        (tmp_path / "file").chmod(mode)
        assert others_write((tmp_path / "file").stat())
        with pytest.raises(PermissionError, match="other users may write"):
            check_private(tmp_path / "file", (tmp_path / "file").stat())
    (tmp_path / "file").chmod(0o644)
    check_private(tmp_path / "file", (tmp_path / "file").stat())
    (tmp_path / "folder").mkdir()
    give_away(tmp_path / "file")
    give_away(tmp_path / "folder")
    for refuse in (
        lambda: make_private_folder(tmp_path / "folder"),
        lambda: check_private(tmp_path / "file", (tmp_path / "file").stat()),
    ):
        with pytest.raises(PermissionError, match="another user"):
            refuse()


def test_an_index_is_kept_in_a_folder_of_this_user(tmp_path: Path) -> None:
    place = default_place(tmp_path)
    assert place.parent.is_dir()
    assert place.is_relative_to(os.environ["XDG_CACHE_HOME"])
    assert not others_write(place.parent.stat())
    assert not others_write(place.parent.parent.stat())


@posix
def test_a_planted_index_gets_no_passages(tmp_path: Path) -> None:
    place = default_place(tmp_path)
    place.touch()
    place.chmod(0o666)
    with pytest.raises(IndexFileError, match=r"other users may write to it.*--index FILE"):
        default_place(tmp_path)


@posix
def test_an_index_of_another_user(tmp_path: Path, give_away: Callable[[Path], None]) -> None:
    place = default_place(tmp_path)
    place.touch()
    give_away(place)
    with pytest.raises(IndexFileError, match="belongs to another user"):
        default_place(tmp_path)


def test_a_search_without_a_home_names_the_ways_out(
    pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a text")
    monkeypatch.setattr("embedge.search.places.cache_folder", lambda: None)
    command = ["search", "text", str(tmp_path / "texts"), "-p", str(pack)]
    assert main(command) == 2
    assert "no home folder" in (told := capsys.readouterr().err)
    assert "--index FILE" in told
    assert main([*command, "--no-index"]) == 0
