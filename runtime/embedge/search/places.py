"""Where things are: the folder that is searched, and the index of one that nobody named a file for.

Takes paths, gives a path. Looks into indexes that are there, and changes none.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from embedge.errors import IndexFileError, InputError
from embedge.files.caches import cache_folder, check_private, make_private_folder
from embedge.files.paths import absolute_path
from embedge.search.kept import covers
from embedge.search.meaning import Maker

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


def is_several(path: Paths) -> TypeGuard[Sequence[str | os.PathLike[str]]]:
    """Whether these are paths, in a list or another sequence, and not one path."""
    return isinstance(path, Sequence) and not isinstance(path, str | bytes)


def find_roots(path: Paths) -> list[Path]:
    """The files and folders that one path or several mean, as `find_root`; none below another.

    Raises:
        InputError: one does not exist, or cannot be reached; or there is none.
    """
    paths: list[Any] = list(path) if is_several(path) else [path]
    roots = list(dict.fromkeys(find_root(one) for one in paths))
    if not roots:
        raise InputError("no path is given; name a file or folder at least")
    return [root for root in roots if not any(other in root.parents for other in roots)]


def default_place(
    roots: Path | Sequence[Path], maker: Maker | None = None, *, new: bool = False
) -> Path:
    """Where the index of files and folders is kept if nobody says: among the user's caches.

    Each maker has an index of its own, so that going from one pack to another and back embeds
    nothing again. An index of a folder above is used where it holds what is looked for.

    Its folder is made. It holds what the texts hold, so neither that folder nor the index may be
    anybody else's.

    Args:
        roots: as `find_root` gives them.
        maker: `SearchIndex.maker_of(embedder)`.
        new: give these roots an index of their own, whatever there is.

    Raises:
        IndexFileError: there is no such place, or another user could read or write what is there.
    """
    cache = cache_folder()
    if cache is None:
        raise IndexFileError(f"this user has no home folder for the index; {_ELSEWHERE}")
    wanted = [roots] if isinstance(roots, Path) else sorted(roots)
    folder = cache / "search"
    place = folder / _name(wanted, maker)
    try:
        make_private_folder(cache)
        make_private_folder(folder)
        if not new and maker is not None and not os.path.lexists(place):
            place = _covering(folder, wanted, maker) or place
        if os.path.lexists(place):
            check_private(place, place.lstat())
    except OSError as error:
        raise IndexFileError(
            f"{error.filename or place} cannot be used for the index "
            f"({error.strerror or error}); {_ELSEWHERE}"
        ) from error
    return place


def _covering(folder: Path, roots: Sequence[Path], maker: Maker) -> Path | None:
    """An index that holds files of all the roots: of the roots themselves, or of a folder above."""
    above = [root for root in roots[:1] if len(roots) == 1]
    above += _all_above(roots)
    for root in above:
        # Names without a maker are those of an earlier version.
        for place in (folder / _name([root], maker), folder / _name([root], None)):
            if os.path.lexists(place) and covers(place, roots, maker):
                return place
    return None


def _all_above(roots: Sequence[Path]) -> list[Path]:
    """The folders that hold all of the roots, the nearest first."""
    first, *others = (root.parents for root in roots)
    return [folder for folder in first if all(folder in parents for parents in others)]


def _name(roots: Sequence[Path], maker: Maker | None) -> str:
    first = roots[0].name
    readable = re.sub(r"[^\w.-]+", "-", first, flags=re.ASCII).strip("-.")[:40] or "root"
    paths = _digest(b"\0".join(os.fsencode(root) for root in roots))
    made = "" if maker is None else "-" + _digest("\0".join(maker).encode())
    return f"{readable}-{paths}{made}.sqlite"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
