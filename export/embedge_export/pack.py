"""Writing a pack so that nothing half-written ever looks like one.

New files are made in a stage folder inside the pack, under their final names, flushed to disk,
and moved into place when all of them are good; the manifest, which alone makes a folder a pack,
goes last. Whenever this is killed, the folder holds the old pack, or the new one, or none.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from embedge.errors import ExportError, ManifestError
from embedge.manifest import MANIFEST, FileEntry, Manifest, dump_manifest, read_manifest

_STAGE = ".part"
_LOCK = ".lock"


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Path]:
    """An empty folder for new files, on the pack's own disk; removed in the end.

    Raises:
        ExportError: another export is writing this pack, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / _LOCK, timeout=0):
            part = folder / _STAGE
            shutil.rmtree(part, ignore_errors=True)  # of an export that was killed
            part.mkdir()
            try:
                yield part
            finally:
                shutil.rmtree(part, ignore_errors=True)
                (folder / _LOCK).unlink(missing_ok=True)
    except Timeout:
        raise ExportError(
            f"{folder}: another export is writing this pack; wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise ExportError(
            f"{folder}: the pack cannot be written ({error.strerror or error}); check the free "
            "space and the permissions, then run the export again"
        ) from error


def commit(part: Path, folder: Path, manifest: Manifest) -> None:
    """Moves the staged files into the pack and replaces its manifest."""
    text = dump_manifest(manifest)  # refuses what a reader would refuse, before anything moves
    new = sorted(part.iterdir())
    for path in new:
        _flush(path)
    written = part / f"{MANIFEST}.new"
    written.write_text(text, encoding="utf-8")
    _flush(written)
    if any((folder / path.name).exists() for path in new):
        # The old manifest would name files that are being replaced.
        (folder / MANIFEST).unlink(missing_ok=True)
        _flush(folder)
    for path in new:
        path.replace(folder / path.name)
    _flush(folder)
    written.replace(folder / MANIFEST)
    _flush(folder)
    _remove_strangers(folder, manifest)


def entries(part: Path) -> dict[str, FileEntry]:
    """Size and hash of every staged file, for the manifest."""
    result = {}
    for path in sorted(part.iterdir()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        result[path.name] = FileEntry(size=path.stat().st_size, sha256=digest)
    return result


def existing(folder: Path) -> Manifest | None:
    """The manifest of a pack that is there already, whose files all have their size."""
    try:
        manifest = read_manifest(folder)
        complete = all(
            (folder / name).stat().st_size == entry.size for name, entry in manifest.files.items()
        )
    except (ManifestError, OSError):
        return None
    return manifest if complete else None


def _remove_strangers(folder: Path, manifest: Manifest) -> None:
    """Removes graphs and data of an earlier export that the manifest no longer names."""
    for path in folder.iterdir():
        ours = path.suffix in (".onnx", ".data") and path.is_file()
        if ours and path.name not in manifest.files:
            path.unlink()


def _flush(path: Path) -> None:
    """Asks the disk to keep a file, or a folder's names, through a power cut."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no such call for folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
