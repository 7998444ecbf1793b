"""What memory a process and all that it started hold together, now and at most.

Takes the number of a process. The proportional set (PSS) of `smaps_rollup` is added up: a page that
several of them map, such as a library's or a weight file's, is shared out among them, so that the
sum counts it once. Linux only, standard library only.
"""

import re
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

PROC = Path("/proc")
SECONDS = 0.1  # between two readings
KIB_PER_MIB = 1024
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
_PARENT = re.compile(r"^PPid:\s+(\d+)$", re.MULTILINE)


def descendants(root: int, parents: Mapping[int, int]) -> list[int]:
    """A process and those below it, each once.

    >>> descendants(2, {2: 1, 3: 2, 4: 3, 5: 1})
    [2, 3, 4]

    Args:
        root: its number.
        parents: by the number of each process, that of its parent.
    """
    children = defaultdict(list)
    for process, parent in parents.items():
        children[parent].append(process)
    found = [root]
    for process in found:  # it grows meanwhile
        found += children[process]
    return found


def parents(proc: Path = PROC) -> dict[int, int]:
    """By the number of each process of this machine, that of its parent."""
    found = {}
    for folder in proc.glob("[0-9]*"):
        if match := _PARENT.search(_read(folder / "status")):
            found[int(folder.name)] = int(match[1])
    return found


def proportional(root: int, proc: Path = PROC) -> float:
    """MiB of a process and all below it; what has ended meanwhile counts nothing."""
    sizes = (
        _PSS.search(_read(proc / str(process) / "smaps_rollup"))
        for process in descendants(root, parents(proc))
    )
    return sum(int(size[1]) for size in sizes if size) / KIB_PER_MIB


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended, or is another user's
        return ""


class Watch:
    """Reads the memory of a process and all below it again and again, in a thread.

    A context manager.

    Attributes:
        peak: the largest reading, MiB.
    """

    def __init__(self, root: int, seconds: float = SECONDS) -> None:
        self.peak = 0.0
        self._root, self._seconds = root, seconds
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            last = self._end.is_set()  # before the reading: one begins after the end at least
            self.peak = max(self.peak, proportional(self._root))
            if last:
                return
            self._end.wait(self._seconds)
