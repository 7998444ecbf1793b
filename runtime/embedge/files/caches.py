"""Where this user's caches are, and whether anybody else could have written there.

What stands in a cache is believed later on, or holds what the user's files hold. So a folder is
used only if it belongs to this user and nobody else may write to it, and there is no such place as
a shared temporary folder. Takes paths, makes folders; knows nothing of what is kept in them.
"""

import errno
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

PRIVATE = 0o700  # of the folders made here
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotPrivateError(PermissionError):
    """Somebody else could have written what is there."""


def cache_folder(
    environment: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> Path | None:
    """Where this user's caches stand, by the rules of the platform. It may not exist.

    Variables that are empty, or no absolute path, do not count. Without any, the home folder is
    that of the user database.

    Returns:
        None if there is no home folder.
    """
    if (named := absolute_or_none(environment.get("XDG_CACHE_HOME"))) is not None:
        return named / "embedge"
    local = absolute_or_none(environment.get("LOCALAPPDATA"))
    if platform == "win32" and local is not None:
        return local / "embedge" / "Cache"
    home = home_folder(environment, platform)
    if home is None:
        return None
    return home / ("Library/Caches" if platform == "darwin" else ".cache") / "embedge"


def home_folder(environment: Mapping[str, str], platform: str) -> Path | None:
    """The user's home folder; None if there is none."""
    if platform == "win32":
        return absolute_or_none(environment.get("USERPROFILE"))
    return absolute_or_none(environment.get("HOME")) or absolute_or_none(_home_of_user())


def absolute_or_none(text: str | None) -> Path | None:
    """The path of a variable; None where it is empty, or no absolute path."""
    # POSIX's paths start with a slash; on Windows `is_absolute` asks for a drive.
    return Path(text) if text and (Path(text).is_absolute() or text.startswith("/")) else None


def make_private_folder(folder: Path) -> None:
    """Makes a folder, or makes sure that one that is there is this user's alone to write to.

    A folder of this user that others may write to is closed to them; a file that they put there
    belongs to them, so that `check_private` refuses it.

    Raises:
        OSError: it cannot be made, or belongs to somebody else.
    """
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):  # a link
        raise NotADirectoryError(errno.ENOTDIR, "it is a link, not a folder", str(folder))
    if not _is_own(status):
        check_private(folder, status)
    if others_write(status):
        folder.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)


def check_private(path: Path, status: os.stat_result) -> None:
    """Makes sure that nobody but this user can have written a file or folder.

    Raises:
        NotPrivateError: it belongs to somebody else, or others may write to it.
    """
    if not _is_own(status):
        reason = "it belongs to another user"
    elif others_write(status):
        reason = "other users may write to it"
    else:
        return
    raise NotPrivateError(errno.EPERM, reason, str(path))


def others_write(status: os.stat_result) -> bool:
    """Whether users other than the owner may write; on Windows that is not looked at."""
    return os.name == "posix" and bool(status.st_mode & _OTHERS_WRITE)


def _is_own(status: os.stat_result) -> bool:
    # What root wrote needs no less trust: root may do anything here.
    return not hasattr(os, "geteuid") or status.st_uid in (0, os.geteuid())


def _home_of_user() -> str | None:
    """The home folder in the user database; None where the user is not in it."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):
        return None
