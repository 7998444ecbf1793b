"""A folder of prepared graphs: each a folder of files with a record of their hashes beside them.

What was written earlier is not believed: a graph is used if its record is for what is asked, and
every file has the size and hash that the record says; anything else there is made again. Takes a
key and a function that writes files into a folder, gives the folder that holds them. Whoever else
could write here would decide what vectors come out, so such a folder is refused.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from embedge.files.caches import check_private
from embedge.files.checked import CheckedFiles, identify
from embedge.files.locks import lock
from embedge.files.regular import open_regular, read_regular

RECORD = "hashes.json"
_LOCK = "in-use"
_MOST_RECORD = 2**20  # bytes
_PREFIX, _SUFFIX = "embedge-", ".part"
# Of folders that are being written; those of former versions start with "tmp".
_PART = re.compile(r"(?:tmp|embedge-)[a-z0-9_]{8}\.part")
# A writer that was killed leaves its files. Younger ones may be of one that only just started.
_OLD = 3600.0  # seconds


def find(folder: Path, key: str, name: str) -> Path | None:
    """The folder of a graph that is there, whole and unchanged; None if it is not.

    Args:
        folder: of all prepared graphs.
        key: what the graph is known by; a plain file name.
        name: a file that it must hold.
    """
    place = folder / key
    try:
        check_private(place, place.lstat())
        record = json.loads(read_regular(place / RECORD, most=_MOST_RECORD))
        if record["key"] != key or name not in record["files"]:
            return None
        memory = CheckedFiles()
        for file, (size, sha256) in record["files"].items():
            if Path(file).name != file:
                return None
            path = place / file
            with open_regular(path) as stream:
                check_private(path, status := os.fstat(stream.fileno()))
                identity = identify(status)
                if status.st_size != size:
                    return None
                if not memory.knows(path, identity, sha256):
                    if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                        return None
                    memory.learn(path, identity, sha256)
        memory.keep()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return place


def make(folder: Path, key: str, name: str, write: Callable[[Path], None]) -> Path:
    """Has a graph written, and keeps it whole or not at all.

    Args:
        folder: see `find`; made if need be.
        key: see `find`.
        name: see `find`.
        write: puts the files into the folder that it is given.

    Raises:
        NotPrivateError: others may write to the folder.
        OSError: nothing can be written there.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    check_private(folder, folder.stat())
    _sweep(folder)
    with _part(folder) as part:
        write(part)
        files = {path.name: _hash(path) for path in sorted(part.iterdir()) if path.name != _LOCK}
        record = part / RECORD
        record.write_text(json.dumps({"key": key, "files": files}), encoding="utf-8")
        for path in part.iterdir():
            path.chmod(0o644)  # whatever the umask is: see `find`
            _flush(path)
        part.chmod(0o755)
        place = folder / key
        for _ in range(2):
            try:
                part.rename(place)
                break
            except OSError:
                if find(folder, key, name) is not None:  # another process was quicker
                    break
                # What is there is damaged. Who has it mapped keeps its files.
                with contextlib.suppress(FileNotFoundError), _part(folder) as waste:
                    place.rename(waste / "damaged")
        else:
            raise OSError("other files stand in the way of " + str(place))
        (place / _LOCK).unlink(missing_ok=True)
    return place


@contextlib.contextmanager
def _part(folder: Path) -> Iterator[Path]:
    """A folder of ours alone, marked as in use, and gone at the end if it was not renamed."""
    part = Path(tempfile.mkdtemp(dir=folder, prefix=_PREFIX, suffix=_SUFFIX))
    try:
        with (part / _LOCK).open("wb") as stream:
            with contextlib.suppress(OSError):  # a file system without locks
                lock(stream.fileno())
            yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Deletes what killed writers left: of our names, old, and not in use."""
    for path in list(folder.iterdir()):
        if not _PART.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError):
            check_private(path, path.lstat())
            newest = max(item.lstat().st_mtime for item in (path, *path.iterdir()))
            if newest < time.time() - _OLD and not _in_use(path / _LOCK):
                shutil.rmtree(path, ignore_errors=True)


def _in_use(mark: Path) -> bool:
    """Whether the writer lives; False where it did not mark its folder, as former versions."""
    try:
        with open_regular(mark) as stream:
            lock(stream.fileno())
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _hash(path: Path) -> tuple[int, str]:
    with open_regular(path) as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return os.fstat(stream.fileno()).st_size, digest


def _flush(path: Path) -> None:
    """Asks the disk to keep a file: a name that is there must mean content that is there."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
