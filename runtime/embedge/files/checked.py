"""The memory of files that were hashed on this machine, so that each is hashed once.

A file is known again by what changes with it: device, inode, size, and the times of modification
and of change. The last cannot be set back, so that it also shows what `cp -p`, a repair tool or a
failing disk's driver wrote in place (on Windows that time does not exist). Bits that rot on the
disk show nowhere but in a hash. Takes paths and hashes; knows no pack. The memory is one JSON file
in this user's cache, and can be deleted at any time.
"""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from embedge.files.caches import cache_folder, check_private, make_private_folder
from embedge.files.regular import open_regular

REMEMBERED = "checked-files.json"
MOST_BYTES = 16 * 2**20  # of the memory; a few hundred each file
# Clocks of file systems tick in steps (FAT: 2 s). What was written within the last step could be
# written again without a sign, so it is not remembered yet.
SETTLED_AFTER = 2_000_000_000  # nanoseconds

_PREFIX, _SUFFIX = f"{REMEMBERED}-", ".part"
_OLD = 3600.0  # seconds; one that is written takes milliseconds

Identity = tuple[int, int, int, int, int]  # device, inode, size, modified, changed (nanoseconds)


def identify(status: os.stat_result) -> Identity:
    """What identifies the present state of a file."""
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_dev, status.st_ino, status.st_size, *times


class CheckedFiles:
    """What is remembered. Read once, and written once, by `keep`.

    Args:
        folder: where the memory stands; this user's cache by default. Where there is none, or
            somebody else could have written to it, nothing is remembered.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = cache_folder() if folder is None else folder
        self._known = self._read()
        self._learnt: dict[str, list[int | str]] = {}

    def knows(self, path: Path, identity: Identity, sha256: str) -> bool:
        """Whether a file in this state was hashed before, with this result."""
        return self._known.get(str(path)) == [*identity, sha256]

    def learn(self, path: Path, identity: Identity, sha256: str) -> None:
        """Remembers what a file in this state was hashed to."""
        *_, modified, changed = identity
        if max(modified, changed) < time.time_ns() - SETTLED_AFTER:
            self._learnt[str(path)] = [*identity, sha256]

    def keep(self) -> None:
        """Writes what was learnt, atomically; forgiven if that is impossible."""
        if not self._learnt or self._folder is None:
            return
        with contextlib.suppress(OSError):
            make_private_folder(self._folder)
            merged = {**self._read(), **self._learnt}
            kept = {path: state for path, state in merged.items() if os.path.lexists(path)}
            _sweep(self._folder)
            descriptor, part = tempfile.mkstemp(dir=self._folder, prefix=_PREFIX, suffix=_SUFFIX)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                    json.dump(kept, stream)
                Path(part).replace(self._folder / REMEMBERED)
            except BaseException:
                Path(part).unlink(missing_ok=True)
                raise

    def _read(self) -> Mapping[str, object]:
        """Nothing if the memory is missing, damaged, or could be somebody else's work."""
        if self._folder is None:
            return {}
        path = self._folder / REMEMBERED
        try:
            check_private(self._folder, self._folder.stat())
            with open_regular(path) as stream:
                check_private(path, os.fstat(stream.fileno()))
                data = stream.read(MOST_BYTES + 1)
            known = json.loads(data) if len(data) <= MOST_BYTES else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}


def _sweep(folder: Path) -> None:
    """Deletes what writers left that were killed."""
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < time.time() - _OLD:
                path.unlink()
