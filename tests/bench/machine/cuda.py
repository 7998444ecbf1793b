"""Whether this machine has a CUDA device at all, asked of NVIDIA's driver.

Standard library only, so that it can be asked before gigabytes are installed for nothing:

    python cuda.py       # exits with 2 and says so in a sentence where there is none
"""

import ctypes
import sys
from collections.abc import Callable
from typing import Any

LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
NO_DEVICE = 2  # exit code


def problem(load: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Why there is no CUDA device, in a sentence; None if there is one.

    Args:
        load: opens a shared library, OSError if there is none of that name.
    """
    for name in LIBRARIES:
        driver = _open(load, name)
        if driver is None:
            continue
        count = ctypes.c_int(0)
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
            return "this machine has NVIDIA's driver and no CUDA device that it can use"
        return None
    return "this machine has no CUDA device (NVIDIA's driver is not installed)"


def device_name(load: Callable[[str], Any] = ctypes.CDLL) -> str:
    """Of the first device, where `problem` found none."""
    driver = next(found for name in LIBRARIES if (found := _open(load, name)) is not None)
    device, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
    driver.cuInit(0)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, len(name), device)
    return name.value.decode(errors="replace")


def _open(load: Callable[[str], Any], name: str) -> Any:
    try:
        return load(name)
    except OSError:
        return None


def main() -> int:
    """Says what is missing, if anything is."""
    missing = problem()
    if missing is not None:
        print(f"bench-gpu: {missing}; run it on one that has", file=sys.stderr)
        return NO_DEVICE
    return 0


if __name__ == "__main__":
    sys.exit(main())
