"""What this machine lends us: cores and memory, and how much of them a guest should take.

Takes readings of the operating system (affinity, cgroup v1 and v2, /proc/meminfo) and gives
`Choice`s. The choosing functions are pure; the readers are thin and answer None where a system
does not say. Knows nothing of models.
"""

import math
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from embedge.choice import Choice
from embedge.machine.priority import INHERITED
from embedge.options import whole_number, whole_number_of
from embedge.sizes import byte_count, size_text

THREADS_VARIABLE = "EMBEDGE_THREADS"
MEMORY_VARIABLE = "EMBEDGE_MEMORY_LIMIT"
# Up to here all cores are taken: a small machine that embeds does little else meanwhile.
SMALL_MACHINE_CORES = 4
# More threads bring little on texts of ordinary length, and each keeps its own buffers.
MOST_THREADS = 8
# Who asks for more threads gets them up to this many a core, or up to the first number on a small
# machine. Beyond it they only wait for one another, and take long to start: 1,000 threads on 2
# cores took 45 s to load a small graph, 100,000 never ended.
MOST_THREADS_ASKED, THREADS_PER_CORE = 16, 4
MEMORY_SHARE = 0.8  # of what is free; the rest stays for the host application
LEAST_MEMORY = 128 * 2**20  # bytes; below this nothing could be run at all
NOTHING_SET: Mapping[str, str] = MappingProxyType({})
CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_OF_PROCESS = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")


def choose_threads(
    argument: int | None,
    *,
    environment: Mapping[str, str],
    host: int,
    affinity: int | None = None,
    quota: float | None = None,
    background: bool = False,
    inherited: bool = INHERITED,
) -> Choice[int]:
    """How many threads one run may use.

    Args:
        argument: what the caller asked for; it wins.
        environment: where EMBEDGE_THREADS may stand; it comes second.
        host: cores of the machine.
        affinity: cores that this process may run on, if known.
        quota: cores' worth of time that the cgroup grants, if limited.
        background: whether somebody wants the cores for something else.
        inherited: whether a pool of threads can have low priority; else one thread does it all.
    """
    if argument is not None:
        number = whole_number(argument, "threads")
        return _at_most(number, host, "threads= was given", f"threads={number:,}")
    if text := environment.get(THREADS_VARIABLE, "").strip():
        number = whole_number_of(text, THREADS_VARIABLE)
        asked = f"{THREADS_VARIABLE}={number:,}"
        return _at_most(number, host, f"{THREADS_VARIABLE} is set", asked)
    limits = [(host, f"this machine has {host} cores")]
    if affinity is not None:
        limits.append((affinity, f"this process may run on {affinity} of {host} cores"))
    if quota is not None:
        limits.append((max(1, math.floor(quota)), f"the cgroup grants {quota:g} of {host} cores"))
    usable, reason = min(limits, key=lambda limit: limit[0])
    # A library is a guest: beyond a small machine, half is left to the host application.
    threads = min(MOST_THREADS, max(min(usable, SMALL_MACHINE_CORES), math.ceil(usable / 2)))
    if threads < usable:
        reason += f"; a guest takes {threads} of {usable}"
    if background and not inherited:
        return Choice(1, f"{reason}; in the background one, whose priority can be lowered")
    if background and threads > 1:
        threads //= 2
        reason += f"; in the background {threads}"
    return Choice(max(1, threads), reason)


def _at_most(number: int, host: int, reason: str, asked: str) -> Choice[int]:
    """So many threads, or as many as can be of any use."""
    most = max(MOST_THREADS_ASKED, THREADS_PER_CORE * host)
    if number <= most:
        return Choice(number, reason)
    return Choice(most, f"{asked} is more than {host} cores can use; {most} is the most")


def threads_here(argument: int | None = None, *, background: bool = False) -> Choice[int]:
    """`choose_threads` with what this process's environment and machine say."""
    return choose_threads(
        argument,
        environment=os.environ,
        host=host_cores(),
        affinity=read_affinity(),
        quota=read_cpu_quota(),
        background=background,
    )


def choose_memory_limit(
    argument: float | str | None,
    *,
    environment: Mapping[str, str] = NOTHING_SET,
    available: int | None,
    reserved: int = 0,
) -> Choice[int | None]:
    """How many bytes the runs of an embedder may take together, None where nothing is known.

    Args:
        argument: what the caller asked for, as `byte_count` takes it; it wins.
        environment: where EMBEDGE_MEMORY_LIMIT may stand; it comes second.
        available: bytes that can be had without pushing others out, if known.
        reserved: bytes that the weights will take when they are loaded.
    """
    if argument is not None:
        return Choice(byte_count(argument, "memory_limit"), "memory_limit= was given")
    if text := environment.get(MEMORY_VARIABLE, "").strip():
        return Choice(byte_count(text, MEMORY_VARIABLE), f"{MEMORY_VARIABLE} is set")
    if available is None:
        return Choice(None, "this system does not say how much memory is free")
    limit = int(MEMORY_SHARE * (available - reserved))
    split = f"of {size_text(available)} free, {size_text(reserved)} go to the weights"
    if limit < LEAST_MEMORY:
        return Choice(LEAST_MEMORY, f"{split}; the least that allows any work")
    return Choice(limit, f"{split}; {MEMORY_SHARE:.0%} of the rest")


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:  # noqa: PTH123
            for line in stream:
                if line.startswith(("model name", "Model")):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def host_cores() -> int:
    """Cores of the machine, of which this process may use fewer."""
    return os.cpu_count() or 1


def read_affinity() -> int | None:
    """Cores that this process may run on; None where the system has no such notion."""
    if not hasattr(os, "sched_getaffinity"):  # macOS, Windows
        return None
    return len(os.sched_getaffinity(0))


def read_cpu_quota(root: Path = CGROUP_ROOT, of_process: Path = CGROUP_OF_PROCESS) -> float | None:
    """Cores' worth of time that the cgroup grants; None where it is not limited."""
    quotas = []
    for folder in _cgroup_folders(root, of_process, "cpu"):
        words = _read(folder / "cpu.max").split()  # v2: "150000 100000" or "max 100000"
        if not words:  # v1: two files
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            words = [word for name in names for word in _read(folder / name).split()]
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min((quota for quota in quotas if quota > 0), default=None)


def read_available_memory(
    root: Path = CGROUP_ROOT, of_process: Path = CGROUP_OF_PROCESS, meminfo: Path = MEMINFO
) -> int | None:
    """Bytes free to this process: the system's MemAvailable, or less if the cgroup grants less."""
    found = []
    for line in _read(meminfo).splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "MemAvailable:" and words[1].isdecimal():
            found.append(int(words[1]) * 1024)
    for folder in _cgroup_folders(root, of_process, "memory"):
        for limit_name, usage_name in (
            ("memory.max", "memory.current"),  # v2
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),  # v1
        ):
            limit, usage = _read(folder / limit_name).strip(), _read(folder / usage_name).strip()
            # v1 writes "no limit" as a number near 2**63.
            if limit.isdecimal() and usage.isdecimal() and int(limit) < 2**60:
                found.append(max(0, int(limit) - int(usage) + _reclaimable(folder)))
    return min(found, default=None)


def _reclaimable(folder: Path) -> int:
    """Bytes of file cache that a cgroup counts as used, but gives up when asked."""
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file") and value.isdecimal():
            return int(value)
    return 0


def _cgroup_folders(root: Path, of_process: Path, controller: str) -> Iterator[Path]:
    """The folders whose limits bind this process: its own cgroup and all above it.

    In a container the path of the process may be the host's and not exist here; the limits then
    stand at the root of what the container sees, which is always visited.
    """
    for line in _read(of_process).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:  # v2
            base = root
        elif controller in controllers.split(","):  # v1
            base = root / controllers if (root / controllers).is_dir() else root / controller
        else:
            continue
        folder = base / path.strip("/")
        while folder != base:
            yield folder
            folder = folder.parent
        yield base


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
