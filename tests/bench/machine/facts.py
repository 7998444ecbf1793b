"""What the figures were taken on: the processor, the flags that matter here, threads, the date."""

import datetime
import os
import platform
from pathlib import Path
from typing import Any

# Name in the report -> any of these in /proc/cpuinfo. They decide which kernels a contender has.
FLAGS = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni"),
    "avx512_bf16": ("avx512_bf16",),
    "amx": ("amx_int8", "amx_bf16"),
}


def machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Of this machine, what else it is doing included; what it does not say is left empty."""
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    return {
        **processor(text),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "system": platform.system(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def processor(cpuinfo: str) -> dict[str, Any]:
    """What /proc/cpuinfo says: name, family, model, and each of `FLAGS` as a bool."""
    pairs = (line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    told = {name.strip(): value.strip() for name, value in pairs}
    flags = set(told.get("flags", told.get("Features", "")).split())
    return {
        "cpu": told.get("model name") or platform.processor() or platform.machine(),
        "family": told.get("cpu family", ""),
        "model": told.get("model", ""),
    } | {name: any(flag in flags for flag in any_of) for name, any_of in FLAGS.items()}


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sentence(here: dict[str, Any], threads: int, versions: dict[str, str]) -> str:
    """All of it in one line of the report."""
    has = [name for name in FLAGS if here[name]]
    lacks = [name for name in FLAGS if not here[name]]
    parts = [
        f"{threads} threads of {here['usable_cores']} cores",
        f"{here['cpu']} (family {here['family'] or '?'}, model {here['model'] or '?'}; "
        f"with {', '.join(has) or 'none of the flags'}"
        + (f"; without {', '.join(lacks)})" if lacks else ")"),
        *([f"load {here['load']} before"] if here["load"] is not None else []),
        here["date"],
        f"Python {here['python']}",
        *(f"{name} {version}" for name, version in sorted(versions.items())),
    ]
    return ", ".join(parts)
