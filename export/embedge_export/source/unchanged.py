"""Whether a model's files stay what they were while an export reads them.

An export reads settings first, hashes later, and takes weights from the disk for hours. A file that
changes meanwhile would give a pack whose provenance names other bytes than were used. Takes what
the system says of each file (size and times) before the first read, and compares. It knows
nothing of what the files hold.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedge.errors import SourceError
from embedge.files.regular import open_regular
from embedge_export.source.files import candidates, places


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file looked like: whatever changes its bytes changes this.

    The inode is no part of it: some network file systems give another one at every look, and a
    file that takes another's place has its own time of change.
    """

    size: int
    written: int  # nanoseconds
    changed: int  # nanoseconds; by the system alone, also when a name or a permission changes


def take_stamps(
    folder: Path, adapters: Mapping[str, Path], base: Path | None = None
) -> dict[str, Stamp]:
    """A stamp of every file that an export of the folder, with these adapters, may read."""
    stamps = {}
    names = candidates(folder, adapters, base)
    for name, path in places(names, folder, adapters, base).items():
        try:
            stamps[name] = _stamp(path.stat())
        except OSError:  # its reader says so, if it has one
            continue
    return stamps


def hash_files(paths: Mapping[str, Path], begin: Mapping[str, Stamp]) -> dict[str, str]:
    """sha256 by name.

    Args:
        paths: the files, by name.
        begin: their stamps from before anything was read.

    Raises:
        SourceError: one cannot be read, or is not what it was.
    """
    hashes = {}
    for name, path in paths.items():
        try:
            with open_regular(path, follow_links=True) as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
                status = os.fstat(file.fileno())
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
        if _stamp(status) != begin.get(name):
            raise _changed(path)
    return hashes


def check_unchanged(
    paths: Mapping[str, Path], stamps: Mapping[str, Stamp], hashes: Mapping[str, str]
) -> None:
    """Makes sure that the files are still those that were hashed.

    Raises:
        SourceError: one is gone or was written to.
    """
    for name, path in paths.items():
        old = stamps[name]
        try:
            new = _stamp(path.stat())
        except OSError:
            raise _changed(path) from None
        if new == old:
            continue
        # A link or a permission more is no other content; nothing but the hash can say so.
        quiet = (new.size, new.written) == (old.size, old.written)
        if not quiet or hash_files({name: path}, {name: new}) != {name: hashes[name]}:
            raise _changed(path)


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _changed(path: Path) -> SourceError:
    return SourceError(
        f"{path} changed while the model was read, and nothing was written; wait until nothing "
        "writes to the model any more, then run the export again"
    )
