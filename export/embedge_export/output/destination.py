"""Whether a folder may be written to: asked before any work is done.

Takes the folder that a user named, and the model's own. Gives the path to write to; raises where
the name is surely a slip, such as the empty text of an unset variable, or the place belongs to
something else. What a pack's folder may hold already is `stage.py`'s question. Writes nothing.
"""

import os
import shutil
from pathlib import Path

from embedge.errors import ExportError
from embedge.files.paths import absolute_path
from embedge_export.source.places import is_text


def check_place(folder: str | os.PathLike[str], option: str) -> Path:
    """The folder to write to, with `~` taken for the home folder; it need not exist.

    Args:
        folder: as the user named it.
        option: what the user calls it, such as "--out".

    Raises:
        ExportError: it is empty, the root, the home folder or above it, or not a folder.
        OptionError: no system takes it for a name.
    """
    text = os.fspath(folder)
    if not text.strip():
        raise ExportError(
            f"{option} is empty (a variable that is not set?); name the folder to write to"
        )
    absolute_path(text, option)  # an unknown ~user, a zero byte
    path = Path(text).expanduser()
    try:
        _check_folder(path, option)
        resolved = path.resolve()
    except (OSError, RuntimeError) as error:  # too long, a loop of links
        reason = getattr(error, "strerror", None) or error
        raise ExportError(
            f"{option} {text!r} cannot be written ({reason}); name another folder"
        ) from None
    if not is_text(resolved):
        raise ExportError(
            f"{option} {text!r} is in a folder whose name is not UTF-8, which ONNX Runtime cannot "
            "open; name another folder"
        )
    if resolved.parent == resolved:
        raise ExportError(f"{option} {text!r} is the root of the file system; name a folder in it")
    try:
        home = Path.home()
    except RuntimeError:  # a user without one
        return path
    if contains(resolved, home):
        raise ExportError(
            f"{option} {text!r} is the home folder, or one that it is in; name a folder of its own"
        )
    return path


def check_apart(path: Path, source: Path, option: str, *, above: bool = True) -> None:
    """Makes sure that nothing is written into a model's own folder.

    Args:
        path: the folder to write to.
        source: the model's folder.
        option: what the user calls `path`.
        above: whether `path` may not contain the model's folder either.

    Raises:
        ExportError: they are one, or one is inside the other.
    """
    if contains(source, path):
        where = "is" if contains(path, source) else "is inside"
    elif above and contains(path, source):
        where = "contains"
    else:
        return
    raise ExportError(
        f"{option} {path} {where} the folder of the model itself, {source}; name a folder elsewhere"
    )


def check_space(path: Path, needed: int, what: str) -> None:
    """Makes sure that the disk has room, as far as it can be known.

    Args:
        path: the folder to write to; it need not exist.
        needed: bytes, at the least.
        what: what will be written, with its verb: "the pack takes".

    Raises:
        ExportError: it has less.
    """
    try:
        usage = shutil.disk_usage(_nearest(path))
    except OSError:
        return
    if usage.total and usage.free < needed:  # some network disks report no size at all
        raise ExportError(
            f"{path}: {what} at least {needed / 1e9:.2f} GB, and its disk has "
            f"{usage.free / 1e9:.2f} GB free; make room, or name a folder on another disk"
        )


def contains(outer: Path, inner: Path) -> bool:
    """Whether `inner` is `outer` or stands inside it; either may not exist yet.

    Folders are compared by what they are, not by name: links and upper and lower case count.
    """
    outer, inner = outer.resolve(), inner.resolve()
    return any(place == outer or _same(place, outer) for place in (inner, *inner.parents))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _check_folder(path: Path, option: str) -> None:
    """Refuses a file, and a link to nothing, at the path or above it."""
    if os.path.lexists(path) and path.is_dir():
        return
    for place in (path, *path.absolute().parents):
        if place.is_dir():
            return
        if place.is_symlink() and not place.exists():
            raise ExportError(
                f"{option} {path} cannot be written: {place} is a link to nothing; remove it, or "
                "name another folder"
            )
        if place.exists():
            raise ExportError(
                f"{option} {path} cannot be written: {place} is not a folder; name another one"
            )


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next((place for place in (path, *path.absolute().parents) if place.exists()), path)
