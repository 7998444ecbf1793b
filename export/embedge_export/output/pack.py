"""Writing a pack so that nothing half-written ever looks like one, and nothing else is touched.

New files are made in a stage (stage.py) under their final names, flushed to disk, and moved into
place when all of them are good; the manifest, which alone makes a folder a pack, goes last.
Whenever this is killed, the folder holds the old pack, or the new one, or none. A file is replaced
or removed only if the manifest of the pack that stood there listed it.
"""

import hashlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from embedge.errors import ExportError, ManifestError
from embedge.files.regular import open_regular
from embedge.pack.manifest import MANIFEST, FileEntry, Manifest
from embedge.pack.reading import dump_manifest, read_manifest
from embedge_export.output.stage import Stage, remove


def commit(stage: Stage, manifest: Manifest) -> None:
    """Moves the staged files into the pack and replaces its manifest.

    Raises:
        ExportError: a file stands in the way that no pack's manifest listed.
    """
    text = dump_manifest(manifest)  # refuses what a reader would refuse, before anything moves
    folder, new = stage.folder, sorted(stage.files.iterdir())
    refuse_strangers(stage, [path.name for path in new])
    for path in new:
        _flush(path)
    written = stage.files.parent / f"{MANIFEST}.new"
    written.write_text(text, encoding="utf-8")
    _flush(written)
    stage.own({path.name: frozenset([path.stat().st_size]) for path in new})
    if any((folder / path.name).exists() for path in new):
        # The old manifest would name files that are being replaced.
        (folder / MANIFEST).unlink(missing_ok=True)
        _flush(folder)
    for path in new:
        path.replace(folder / path.name)
    _flush(folder)
    written.replace(folder / MANIFEST)
    _flush(folder)
    remove_dropped(stage, manifest)


def refuse_strangers(stage: Stage, names: Iterable[str]) -> None:
    """Makes sure that files can be written under these names without replacing anything foreign.

    Raises:
        ExportError: one is there and is not a file that a pack's manifest listed.
    """
    for name in names:
        path = stage.folder / name
        if os.path.lexists(path) and (name not in stage.contents.owned or path.is_dir()):
            raise ExportError(
                f"{path} is in the way: the pack needs the name, and the file is not one of the "
                "pack that stands there. Move it away, or name another folder"
            )


def remove_dropped(stage: Stage, manifest: Manifest) -> None:
    """Removes what an earlier export wrote and the manifest no longer names."""
    owned = stage.contents.owned
    remove(stage.folder, {name: owned[name] for name in owned if name not in manifest.files})


def entries(files: Path) -> dict[str, FileEntry]:
    """Size and hash of every staged file, for the manifest."""
    result = {}
    for path in sorted(files.iterdir()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        result[path.name] = FileEntry(size=path.stat().st_size, sha256=digest)
    return result


def read_existing(folder: Path) -> Manifest | None:
    """The manifest of a pack that is there already; what its files are is not looked at."""
    try:
        return read_manifest(folder)
    except (ManifestError, OSError):
        return None


def find_damaged(folder: Path, manifest: Manifest, names: Collection[str]) -> frozenset[str]:
    """Which of these files of a pack are not what its manifest says; every one is hashed."""
    return frozenset(name for name in names if not _is_whole(folder / name, manifest.files[name]))


def _is_whole(path: Path, entry: FileEntry) -> bool:
    try:
        with open_regular(path) as file:  # the runtime refuses links too
            if os.fstat(file.fileno()).st_size != entry.size:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
    except OSError:
        return False


def _flush(path: Path) -> None:
    """Asks the disk to keep a file, or a folder's names, through a power cut."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such call for folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
