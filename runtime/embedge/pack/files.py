"""Packs on disk: open a folder, check its files, remember what was checked.

Takes a local path, or none for the pack that the installation bundles, and gives a `Pack`; before
a file is used, `check_files` makes sure that it is the file that the manifest describes: a regular
file inside the folder, of that size and sha256.
Hashing gigabytes takes seconds, so a file that was hashed on this machine and has not changed
since (see `files.checked`) is trusted; `verify_files` always hashes. Files are checked, then opened
by their path: those who may write to the folder are trusted.
It runs nothing, and never touches the network.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from embedge.errors import PackError, PackFileError
from embedge.failures import COPY_AGAIN, file_remedy
from embedge.files.checked import CheckedFiles, Identity, identify
from embedge.files.paths import absolute_path, is_text
from embedge.files.regular import open_regular, read_regular
from embedge.pack.external_data import references
from embedge.pack.manifest import MANIFEST, FileEntry, Graph, Manifest
from embedge.pack.reading import read_manifest
from embedge.pack.shelf import advice, find_shelved, packs_folder

DEFAULT = "default"  # folder of the bundled pack, inside the package; `make default` makes it
LOCK = ".embedge-export.lock"  # what an export leaves beside the pack
MAX_GRAPH_BYTES = 2**31 - 1  # protobuf's limit for one message
_NAME = re.compile(r"\w[\w.-]{0,99}(/[\w.-]{1,99})?", re.ASCII)  # of a pack, or a hub id


@dataclass(frozen=True, slots=True)
class Pack:
    """A folder whose manifest was read and makes sense. Its files are not checked yet."""

    folder: Path  # absolute
    manifest: Manifest

    def file(self, name: str) -> Path:
        """Where a file of the manifest stands."""
        return self.folder / name


def open_pack(path: str | os.PathLike[str] | None) -> Pack:
    """Reads the manifest of a local pack, or of the bundled one where no path is given.

    Where there is no folder of that path, a name or a model's hub id means the pack of that name in
    the user's pack folder; see `pack.shelf`. Nothing is fetched.

    Raises:
        OptionError: the path is empty, or its home folder is unknown.
        PackError: there is no such folder, or no pack is bundled.
        ManifestError: the folder holds no pack that this version can read.
    """
    if path is None:
        folder = default_folder()
        return Pack(folder, read_manifest(folder))
    folder = absolute_path(path, "path")
    if _NAME.fullmatch(str(path)) and not os.path.lexists(folder):
        folder = _named(str(path))
    manifest = read_manifest(folder)
    if not is_text(folder):
        raise PackError(
            f"the name of {folder} is not UTF-8, and ONNX Runtime opens no file there; rename the "
            "folder, or move the pack to another one"
        )
    return Pack(folder, manifest)


def _named(name: str) -> Path:
    """The folder of a pack in the user's pack folder."""
    if (folder := find_shelved(name)) is not None:
        return folder
    place = packs_folder()
    where = "" if place is None else f", and no pack of that name in {place}"
    raise PackError(f"there is no folder {name!r}{where}; {advice(name)}")


def default_folder(package: Traversable | None = None) -> Path:
    """Where the pack stands that this installation bundles.

    Args:
        package: the installed package; `embedge` itself by default.

    Raises:
        PackError: nothing is bundled, or not as plain files, which ONNX Runtime needs.
    """
    folder = (package or resources.files("embedge")) / DEFAULT
    if not (folder / MANIFEST).is_file():
        raise PackError(
            f"no pack was given, and this installation bundles none: {folder} holds no "
            f"{MANIFEST}. In a source checkout `make default` makes it; elsewhere install a wheel "
            'of embedge (pip install "embedge[cpu]"), or name a pack that '
            "`embedge export SOURCE --out FOLDER` made"
        )
    # Resources that a compiler such as Nuitka gives are no Path, though they are plain files.
    plain = Path(str(folder))
    if not (plain / MANIFEST).is_file():
        raise PackError(
            f"the bundled pack stands inside an archive ({folder}), and ONNX Runtime loads plain "
            "files only; install embedge unpacked, as pip does, or name a pack in a folder"
        )
    return plain.absolute()


def remove_pack(folder: Path) -> tuple[int, list[str]]:
    """Removes a pack's files, the manifest first, so that no half pack is left to open.

    Args:
        folder: the pack's; removed too where nothing else stands in it.

    Returns:
        The bytes that were freed, and the names of what stays.

    Raises:
        ManifestError: its manifest cannot be read, so that its files are not known.
        PackError: a file cannot be removed.
    """
    manifest = read_manifest(folder)
    freed = 0
    try:
        for name in (MANIFEST, *manifest.files):
            path = folder / name
            if path.is_file() or path.is_symlink():
                freed += path.lstat().st_size
                path.unlink()
        left = sorted(path.name for path in folder.iterdir())
        if left == [LOCK]:
            (folder / LOCK).unlink()
            left = []
        if not left:
            folder.rmdir()
    except OSError as error:
        raise PackError(
            f"{error.filename or folder} cannot be removed: {error.strerror or error}; "
            f"{file_remedy(error)}"
        ) from error
    return freed, left


def check_files(pack: Pack, names: Iterable[str], *, cache: Path | None = None) -> None:
    """Makes sure that files are what the manifest says; hashes only what is not remembered.

    Args:
        pack: the pack.
        names: files of its manifest.
        cache: folder of the memory; this user's cache by default.

    Raises:
        PackFileError: the first file that is not as it should be.
    """
    memory = CheckedFiles(cache)
    try:
        for name in names:
            entry = pack.manifest.files[name]
            path = pack.file(name)
            identity = _inspect(path, entry)
            if not memory.knows(path, identity, entry.sha256):
                _check_hash(path, entry, identity)
                memory.learn(path, identity, entry.sha256)
    finally:
        memory.keep()


def check_references(pack: Pack, graph: Graph) -> None:
    """Makes sure that a graph takes its weights from the files that the manifest lists for it.

    Raises:
        PackFileError: it refers to another file, inside the pack or outside, or past a file's end;
            or its bytes could be read in more than one way.
    """
    path = pack.file(graph.file)
    try:
        referred = references(read_regular(path, most=MAX_GRAPH_BYTES))
    except OSError as error:
        raise PackFileError(
            f"{path} cannot be read: {error.strerror or error}; {file_remedy(error)}"
        ) from error
    except ValueError as error:
        raise PackFileError(
            f"{path} is not an ONNX graph that can be checked: {error}; {COPY_AGAIN}"
        ) from error
    for file, offset, length in referred:
        if file not in graph.data:
            raise PackFileError(
                f"{path} takes weights from {file!r}, which the manifest does not list for it; "
                "do not use this pack, export it again"
            )
        size = pack.manifest.files[file].size
        if offset + length > size:
            raise PackFileError(
                f"{path} takes weights from bytes {offset:,} to {offset + length:,} of {file}, "
                f"which has {size:,}; {COPY_AGAIN}"
            )


def verify_files(pack: Pack) -> list[str]:
    """Checks and hashes every file of the pack, trusting nothing remembered.

    Returns:
        One sentence for every problem; empty if the pack is whole.
    """
    problems = []
    for name, entry in pack.manifest.files.items():
        try:
            _check_hash(pack.file(name), entry, _inspect(pack.file(name), entry))
        except PackFileError as error:
            problems.append(str(error))
    for graph in pack.manifest.graphs if not problems else ():
        try:
            check_references(pack, graph)
        except PackFileError as error:
            problems.append(str(error))
    known = {MANIFEST, *pack.manifest.files}
    problems += [
        f"{path} is a link; a pack holds real files only"
        for path in sorted(pack.folder.iterdir())
        if path.name not in known and path.is_symlink()
    ]
    return problems


def _inspect(path: Path, entry: FileEntry) -> Identity:
    """Checks all but the hash; gives what identifies the file's present state."""
    try:
        status = path.lstat()
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        what = "is missing" if missing else "cannot be read"
        raise PackFileError(
            f"{path} {what} ({error.strerror or error}); {file_remedy(error)}"
        ) from None
    if stat.S_ISLNK(status.st_mode):
        raise PackFileError(f"{path} is a link; copy the pack with its real files")
    if not stat.S_ISREG(status.st_mode):
        raise PackFileError(f"{path} is not a regular file; {COPY_AGAIN}")
    if status.st_size != entry.size:
        raise PackFileError(
            f"{path} has {status.st_size} bytes, the manifest says {entry.size}; {COPY_AGAIN}"
        )
    return identify(status)


def _check_hash(path: Path, entry: FileEntry, identity: Identity) -> None:
    """Hashes the very file that was inspected."""
    try:
        with open_regular(path) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            status = os.fstat(stream.fileno())
    except OSError as error:
        raise PackFileError(
            f"{path} cannot be read: {error.strerror or error}; {file_remedy(error)}"
        ) from error
    # The time of change may differ: a backup's hard link sets it. It is then hashed again.
    if identify(status)[:-1] != identity[:-1]:
        raise PackFileError(f"{path} changed while it was checked; wait until it is written")
    if found != entry.sha256:
        raise PackFileError(
            f"{path} is not the file that the manifest describes: its sha256 is {found}, "
            f"not {entry.sha256}; {COPY_AGAIN}"
        )
