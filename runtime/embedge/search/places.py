"""Where things are: the folder that is searched, and the index of one that nobody named a file for.

Takes a path, gives a path. Opens neither.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from embedge.errors import IndexFileError, InputError
from embedge.files.caches import cache_folder, check_private, make_private_folder
from embedge.files.paths import absolute_path

Paths: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_ELSEWHERE = "name a place for the index (--index FILE), or search without one (--no-index)"


def find_root(path: str | os.PathLike[str]) -> Path:
    """The file or folder that a path means: absolute, links resolved.

    Raises:
        InputError: it does not exist, or cannot be reached.
    """
    absolute = absolute_path(path, "path")
    try:
        root = Path(os.path.realpath(absolute))
        root.stat()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give a file or a folder of texts") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return root


def find_roots(path: Paths) -> list[Path]:
    """The files and folders that one path or several mean, as `find_root`; none below another.

    Raises:
        InputError: one does not exist, or cannot be reached; or there is none.
    """
    paths: list[Any] = [path]
    if isinstance(path, Sequence) and not isinstance(path, str | bytes):
        paths = list(path)
    roots = list(dict.fromkeys(find_root(one) for one in paths))
    if not roots:
        raise InputError("no path is given; name a file or folder at least")
    return [root for root in roots if not any(other in root.parents for other in roots)]


def default_place(root: Path) -> Path:
    """Where the index of a file or folder is kept if nobody says: among the user's caches.

    Its folder is made. It holds what the texts hold, so neither that folder nor the index may be
    anybody else's.

    Raises:
        IndexFileError: there is no such place, or another user could read or write what is there.
    """
    folder = cache_folder()
    if folder is None:
        raise IndexFileError(f"this user has no home folder for the index; {_ELSEWHERE}")
    readable = re.sub(r"[^\w.-]+", "-", root.name, flags=re.ASCII).strip("-.")[:40] or "root"
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    place = folder / "search" / f"{readable}-{digest}.sqlite"
    try:
        make_private_folder(folder)
        make_private_folder(place.parent)
        if os.path.lexists(place):
            check_private(place, place.lstat())
    except OSError as error:
        raise IndexFileError(
            f"{error.filename or place} cannot be used for the index "
            f"({error.strerror or error}); {_ELSEWHERE}"
        ) from error
    return place
