"""What memory a process holds, as Linux tells it: pages of its own, and pages of files.

A weight file that is mapped into memory counts in the resident set, but its clean pages are the
page cache's: the system takes them back when it needs them, even where this process alone maps
them (then they are "private" to the kernel's table). So both are told apart here. Standard library
only: workers read it in environments of their own.
"""

import re
from dataclasses import dataclass
from pathlib import Path

KIB_PER_MIB = 1024
_LINE = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """One reading, in MiB."""

    peak: float  # the largest resident set so far
    resident: float
    anonymous: float  # of the resident set: memory of no file, which only swapping could free
    file: float  # of the resident set: pages of files, clean ones given back when needed
    private: float  # mapped by this process alone, file pages included
    shared: float  # mapped by others too
    proportional: float  # private, and of the shared a share


def parse(rollup: str, status: str) -> Memory:
    """Reads /proc/PID/smaps_rollup and /proc/PID/status.

    Raises:
        KeyError: a line is missing, as on kernels before 4.14.
    """
    sizes = {name: int(size) / KIB_PER_MIB for name, size in _LINE.findall(rollup)}
    told = {name: int(size) / KIB_PER_MIB for name, size in _LINE.findall(status)}
    return Memory(
        peak=told["VmHWM"],
        resident=sizes["Rss"],
        anonymous=sizes["Anonymous"],
        file=sizes["Rss"] - sizes["Anonymous"],
        private=sizes["Private_Clean"] + sizes["Private_Dirty"],
        shared=sizes["Shared_Clean"] + sizes["Shared_Dirty"],
        proportional=sizes["Pss"],
    )


def read() -> Memory:
    """Of this process, now."""
    process = Path("/proc/self")
    return parse((process / "smaps_rollup").read_text(), (process / "status").read_text())
