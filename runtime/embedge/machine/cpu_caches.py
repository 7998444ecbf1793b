"""What this CPU's caches hold for a few threads: the second level and beyond, as the system says.

Takes sysfs (Linux), sysctl (macOS) or GetLogicalProcessorInformationEx (Windows), starts no process
and gives `Cache`s; None or nothing where the system does not say, as in some containers. `share` is
pure. Knows nothing of models, and nothing of the folders that `caches` names.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")
# Processors looked at, evenly spread over those that this process may use: hundreds are alike, and
# each takes about ten small files (0.1 ms).
MOST_PROCESSORS = 8
FIRST_LEVEL, LAST_LEVEL = 2, 4  # the first level holds nothing of a run
# What is outside is an error of a hypervisor or a table: the smallest second level of a CPU that
# runs networks has 128 KiB, the largest last level of 2026 has 1,152 MiB in pieces of 504 or less.
LEAST_BYTES, MOST_BYTES = 64 * 2**10, 2**30
MOST_SHARERS = 1024
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
# Windows' names for numbers.
_RELATION_CACHE, _UNIFIED, _DATA = 2, 0, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """One cache as one core sees it."""

    level: int
    size: int  # bytes
    cores: int  # that share it; two processors of one core (SMT) count once


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuCaches:
    """What was read."""

    by_core: tuple[tuple[Cache, ...], ...]  # of each that was looked at, from the second level on
    processors: int  # that this process may use; threads beyond them bring no further cache


def share(caches: CpuCaches | None, threads: int) -> int | None:
    """Bytes of all levels together that so many threads may count on; None: not known.

    Each thread gets what is its core's part where all cores are at work: the other cores of a
    large machine belong to other programs. Levels are added, since the caches of today's servers
    and of Apple's M series do not repeat each other's contents; where they do, the second level
    is small. Where cores differ, a thread may run on any of them, and their mean counts.
    """
    if caches is None:
        return None
    parts = [sum(cache.size / cache.cores for cache in core) for core in caches.by_core if core]
    if not parts:
        return None
    return int(min(threads, caches.processors) * sum(parts) / len(parts))


def read_caches() -> CpuCaches | None:
    """The caches of the cores that this process may run on; None where nothing is said."""
    try:
        if sys.platform == "darwin":
            return caches_of_sysctl(_sysctl)
        if sys.platform == "win32":
            return caches_of_windows(_windows_relations())
        return caches_of_sysfs(sorted(os.sched_getaffinity(0)))
    except (OSError, AttributeError, ValueError):  # nothing of this is worth an error
        return None


# Linux.


def caches_of_sysfs(processors: Sequence[int], root: Path = CPUS) -> CpuCaches | None:
    """Of these processors, or of a few of them: cpu*/cache/index*/{level,type,size,...}."""
    step = -(-len(processors) // MOST_PROCESSORS) or 1
    cores = (_core_of_sysfs(root / f"cpu{number}" / "cache") for number in processors[::step])
    return _known(cores, len(processors))


def _core_of_sysfs(folder: Path) -> Iterator[Cache]:
    siblings = 1  # processors of this core: those that share its first level
    for index in sorted(folder.glob("index[0-9]*")):
        level, kind = _number(_read(index / "level")), _read(index / "type")
        size = _bytes(_read(index / "size"))
        sharers = _listed(_read(index / "shared_cpu_list"))
        if kind not in ("Data", "Unified") or level is None:
            continue
        if level < FIRST_LEVEL:
            siblings = sharers or 1
        elif size is not None and sharers is not None:
            yield Cache(level=level, size=size, cores=max(1, round(sharers / siblings)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()[:4096]
    except OSError:
        return ""


def _number(text: str) -> int | None:
    """A number of a few digits."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None


def _bytes(text: str) -> int | None:
    """Of "1024K" or "32M"."""
    unit = text[-1:].upper() if text[-1:].isalpha() else ""
    number = _number(text.removesuffix(text[-1:]) if unit else text)
    return None if number is None or unit not in _UNITS else number * _UNITS[unit]


def _listed(text: str) -> int | None:
    """How many there are in "0-3,8-11"; None where it says nothing, or nonsense."""
    count = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        low, high = _number(first), _number(last or first)
        if low is None or high is None or high < low:
            return None
        count += high - low + 1
    return count


# macOS.


def caches_of_sysctl(number: Callable[[str], int | None]) -> CpuCaches | None:
    """Of the performance cores, which do the work; `number` reads one of sysctl's names."""
    fast = "hw.perflevel0."  # Apple's own CPUs; Intel's have neither this nor clusters
    second = number(fast + "l2cachesize") or number("hw.l2cachesize")
    third = number(fast + "l3cachesize") or number("hw.l3cachesize")
    cores = number("hw.physicalcpu") or 1
    found = []
    if second:
        found.append(Cache(level=2, size=second, cores=number(fast + "cpusperl2") or 1))
    if third:
        found.append(Cache(level=3, size=third, cores=number(fast + "cpusperl3") or cores))
    return _known([found], cores)


def _sysctl(name: str) -> int | None:
    """A number; None where there is none of this name."""
    value, size = ctypes.c_int64(0), ctypes.c_size_t(8)  # 4 bytes or 8, the lower ones first
    read = ctypes.CDLL(None).sysctlbyname
    failed = read(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    return None if failed else value.value


# Windows.


def caches_of_windows(relations: bytes) -> CpuCaches | None:
    """Of records SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX that describe caches, one after another.

    Each names the processors of a cache as masks by group. Which of them this process may use is
    not asked: Windows gives it all of a group.
    """
    found: dict[tuple[int, int], list[tuple[int, int, int]]] = {}  # processor -> its caches
    start = 0
    while start + 8 <= len(relations):
        relation, size = struct.unpack_from("<II", relations, start)
        if size < 8 or start + size > len(relations):
            break
        if relation == _RELATION_CACHE and size >= 56:
            level, _, _, held, kind = struct.unpack_from("<BBHII", relations, start + 8)
            (groups,) = struct.unpack_from("<H", relations, start + 38)
            masks = [
                struct.unpack_from("<QH", relations, at)
                for at in range(start + 40, start + size - 15, 16)
            ][: max(1, groups)]
            processors = [
                (group, bit) for mask, group in masks for bit in range(64) if mask >> bit & 1
            ]
            if kind in (_UNIFIED, _DATA):
                for processor in processors:
                    found.setdefault(processor, []).append((level, held, len(processors)))
        start += size
    by_core = (_core_of_windows(found[processor]) for processor in sorted(found))
    return _known(by_core, len(found))


def _core_of_windows(reported: list[tuple[int, int, int]]) -> Iterator[Cache]:
    siblings = min((sharers for level, _, sharers in reported if level < FIRST_LEVEL), default=1)
    for level, size, sharers in reported:
        if level >= FIRST_LEVEL:
            yield Cache(level=level, size=size, cores=max(1, round(sharers / siblings)))


def _windows_relations() -> bytes:
    """What the system says of its caches."""
    if struct.calcsize("P") != 8:  # the masks of 32-bit programs have another size
        return b""
    ask = ctypes.CDLL("kernel32").GetLogicalProcessorInformationEx
    size = ctypes.c_uint32(0)
    ask(_RELATION_CACHE, None, ctypes.byref(size))
    if not 0 < size.value <= 2**24:
        return b""
    buffer = ctypes.create_string_buffer(size.value)
    if not ask(_RELATION_CACHE, buffer, ctypes.byref(size)):
        return b""
    return buffer.raw[: size.value]


# All of them.


def _known(cores: Iterable[Iterable[Cache]], processors: int) -> CpuCaches | None:
    """Without what cannot be so, and None where nothing is left."""
    kept = tuple(tuple(cache for cache in core if _possible(cache)) for core in cores)
    return CpuCaches(by_core=kept, processors=processors) if any(kept) else None


def _possible(cache: Cache) -> bool:
    return (
        FIRST_LEVEL <= cache.level <= LAST_LEVEL
        and LEAST_BYTES <= cache.size <= MOST_BYTES
        and 1 <= cache.cores <= MOST_SHARERS
    )
