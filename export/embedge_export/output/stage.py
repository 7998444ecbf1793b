"""A place for files that are not whole yet, inside the folder that they are for.

One export at a time may write to a folder: a lock says so. New files are made in a stage, a folder
of its own with a name that nobody can have chosen and a marker in it, so that what a killed export
left behind is known from anything of the user's, and swept by the next one. The marker also lists
the files beside the stage that are an export's own: a pack that was being replaced has no manifest
that could say so. It knows nothing of models.
"""

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from embedge.errors import ExportError
from embedge.files.regular import read_regular
from embedge.pack.checks import safe_name
from embedge.pack.files import LOCK
from embedge.pack.manifest import MANIFEST
from embedge.pack.reading import FORMAT, MAX_MANIFEST_BYTES

PREFIX = ".embedge-export-"
MARKER = "embedge-export-stage.json"
# What file managers, git and file systems put into a folder that is empty for its owner.
_HARMLESS = (
    ".DS_Store",
    ".localized",
    ".directory",
    "Thumbs.db",
    "desktop.ini",
    ".gitignore",
    ".gitkeep",
    "lost+found",
)
# Names in a folder that are an export's own -> the sizes in bytes that such a file may have.
Owned = Mapping[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a folder holds, as far as an export has to know.

    Attributes:
        manifest: the pack's manifest as plain JSON, of any version; None if there is none.
        owned: the files that an export of ours wrote.
        stages: what killed exports left.
        others: names of everything else.
    """

    manifest: Mapping[str, Any] | None
    owned: Owned
    stages: tuple[Path, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where an export writes until all is good.

    Attributes:
        folder: where the files belong in the end.
        files: an empty folder for them, on the same disk.
        contents: what `folder` held when the lock was taken.
    """

    folder: Path
    files: Path
    contents: Contents

    def own(self, names: Owned) -> None:
        """Notes files in `folder` as an export's own, for the next one if this one is killed."""
        marked = {**self.contents.owned}
        for name, sizes in names.items():
            marked[name] = marked.get(name, frozenset()) | sizes
        _mark(self.files.parent, marked)


def survey(folder: Path) -> Contents:
    """Looks at what stands in a folder; it need not exist."""
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        return Contents(None, {}, (), ())
    stages = tuple(path for path in entries if _is_stage(path))
    manifest = _read_object(folder / MANIFEST)
    if manifest is not None and manifest.get("format") != FORMAT:
        manifest = None  # another program's
    owned: dict[str, frozenset[int]] = {}
    listed = (manifest or {}).get("files")
    sources = [_sizes(listed)] + [_sizes(_marked(path)) for path in stages]
    for name, sizes in (item for source in sources for item in source.items()):
        owned[name] = owned.get(name, frozenset()) | sizes
    known = {LOCK, *_HARMLESS, *owned, *(path.name for path in stages)}
    if manifest is not None:
        known.add(MANIFEST)
    others = (path.name for path in entries if path.name not in known)
    return Contents(
        manifest, owned, stages, tuple(name for name in others if not name.startswith("._"))
    )


def check_contents(folder: Path, option: str) -> Contents:
    """What a pack's folder holds; for a pack that is there already, or a folder that is empty.

    Raises:
        ExportError: it holds something, and no pack.
    """
    try:
        contents = survey(folder)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    if contents.manifest is None and not contents.owned and contents.others:
        shown = ", ".join(map(repr, contents.others[:3]))
        more = f" and {len(contents.others) - 3} more" if len(contents.others) > 3 else ""
        why = "" if MANIFEST not in contents.others else f"; its {MANIFEST} is not that of a pack"
        raise ExportError(
            f"{option} {folder} is not empty and holds no pack (there is {shown}{more}{why}). "
            "Nothing was written; name an empty or a new folder"
        )
    return contents


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """A stage in the folder, which is made if need be; removed in the end.

    What is made and turns out not to be needed is removed again, the folder itself included.

    Raises:
        ExportError: another export is writing here, or the folder cannot be written.
    """
    made: list[Path] = []
    try:
        try:
            made = _make(folder)
            lock = _lock(folder)
            with lock:
                contents = _sweep(folder)
                place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
                try:
                    _mark(place, contents.owned)
                    files = place / "files"
                    files.mkdir()
                    yield Stage(folder, files, contents)
                finally:
                    shutil.rmtree(place, ignore_errors=True)
                    with contextlib.suppress(OSError):
                        (folder / LOCK).unlink(missing_ok=True)
        except Timeout:
            raise ExportError(
                f"{folder}: another export is writing here; wait for it, or name another folder"
            ) from None
        except OSError as error:
            raise _cannot_write(folder, error) from error
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()  # only if it is empty


def remove(folder: Path, owned: Owned) -> None:
    """Removes files that are an export's own, as long as they are what was noted of them."""
    for name, sizes in owned.items():
        path = folder / name
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_size in sizes:
                path.unlink()


def _sweep(folder: Path) -> Contents:
    """Removes what killed exports left; to be called with the lock held.

    Besides their stages these are files of a pack that they were replacing, which no manifest
    lists: without one nothing can use them.
    """
    contents = survey(folder)
    if not contents.stages:
        return contents
    listed = _sizes((contents.manifest or {}).get("files"))
    remove(folder, {name: s for name, s in contents.owned.items() if name not in listed})
    for left in contents.stages:
        shutil.rmtree(left, ignore_errors=True)
    return survey(folder)


def _cannot_write(folder: Path, error: OSError) -> ExportError:
    return ExportError(
        f"{folder} cannot be written ({error.strerror or error}); check the free space and the "
        "permissions, then run the export again"
    )


def _make(folder: Path) -> list[Path]:
    """Makes the folder with those above it; gives those that were not there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _lock(folder: Path) -> FileLock:
    """The lock of a folder; older versions of the library empty the file that they lock."""
    path = folder / LOCK
    if os.path.lexists(path):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size:
            raise ExportError(
                f"{path} is not the lock of an export; move it away, or name another folder"
            )
    return FileLock(path, timeout=0)


def _is_stage(path: Path) -> bool:
    """A folder with our prefix and marker; or an empty one, of an export killed at its start."""
    if not path.name.startswith(PREFIX) or path.is_symlink() or not path.is_dir():
        return False
    return (path / MARKER).is_file() or not any(path.iterdir())


def _mark(place: Path, owned: Owned) -> None:
    text = json.dumps({"files": {name: sorted(sizes) for name, sizes in owned.items()}})
    new = place / f"{MARKER}.new"
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(place / MARKER)


def _marked(place: Path) -> Any:
    return (_read_object(place / MARKER) or {}).get("files")


def _sizes(files: Any) -> dict[str, frozenset[int]]:
    """Names and sizes as a manifest or a marker lists them; what makes no sense is left out."""
    sizes: dict[str, frozenset[int]] = {}
    for name, entry in files.items() if isinstance(files, dict) else ():
        found = [entry.get("size")] if isinstance(entry, dict) else entry
        if isinstance(found, list) and safe_name(name):
            sizes[name] = frozenset(size for size in found if isinstance(size, int))
    return sizes


def _read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object in a regular file of sane size; None for anything else."""
    try:
        value = json.loads(read_regular(path, most=MAX_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
