"""A path that a caller passed, as an absolute `Path`, or a named error.

`~` and `~name` mean home folders. Python raises a RuntimeError where there is none, a TypeError or
ValueError for what cannot be a path, and takes an empty one for the current folder; here all of
these are one `OptionError`. Nothing is looked at on the disk. Knows no pack and no index.
"""

import os
from pathlib import Path

from embedge.errors import OptionError


def absolute_path(path: str | os.PathLike[str], name: str) -> Path:
    """The absolute path that a caller means; it may not exist.

    Args:
        path: as it was passed.
        name: what it was passed as, for messages: "path", "prepared", "--index" …

    Raises:
        OptionError: it is empty or not a path, or `~name` is a user without a home folder.
    """
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise OptionError(f"{name} is {type(path).__name__}; it must be a str or os.PathLike[str]")
    if not text:
        raise OptionError(f'{name} is empty; name a folder or file ("." is the current folder)')
    if "\0" in text:
        raise OptionError(f"{name} is {text!r}; a path cannot hold the character NUL")
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:  # no such user, or no home folder is known
        home = Path(text).parts[0]
        raise OptionError(
            f"{name} is {text!r}, and the home folder {home!r} is unknown on this system; write "
            f'the path out, or "./{home}" for a file or folder of that name'
        ) from None
    except OSError as error:  # the current folder was deleted
        raise OptionError(
            f"{name} is {text!r}, and the current folder cannot be found ({error.strerror}); "
            "change to a folder that exists, or give an absolute path"
        ) from None


def is_text(path: Path) -> bool:
    """Whether a path is plain text, so that libraries take it; POSIX's may be any bytes."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
