"""The memory of the GPU that CUDA takes first: how much there is, and how much is free.

Asks NVIDIA's driver through ctypes, so that nothing has to be installed for it. CUDA's own order
of devices is asked for the first one: it follows CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER and MIG.
NVML, which needs no context on the device, then says how much of it is free. Where there is no
NVML, as in some containers, CUDA is asked, which makes a context for the moment. Gives None where
the driver does not say. Sources: NVIDIA's CUDA driver API and NVML API references.
"""

import contextlib
import ctypes
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

CUDA_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
NVML_LIBRARIES = ("libnvidia-ml.so.1", "nvml.dll")
_UUID_BYTES = 16

Load = Callable[[str], Any]  # opens a shared library, OSError if there is none of that name


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Bytes of a GPU's memory, or of a slice of it (MIG)."""

    free: int
    total: int


class _NvmlMemory(ctypes.Structure):
    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


def read_gpu_memory(load: Load = ctypes.CDLL) -> GpuMemory | None:
    """Memory of the device that CUDA counts as 0 in this process; None where it is not known.

    Args:
        load: opens a shared library.
    """
    cuda = _library(load, CUDA_LIBRARIES)
    device = ctypes.c_int(0)
    if cuda is None or cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None
    uuid = _uuid(cuda, device)
    nvml = None if uuid is None else _library(load, NVML_LIBRARIES)
    if nvml is not None and uuid is not None and (found := _by_nvml(nvml, uuid)):
        return found
    return _by_cuda(cuda, device)


def _by_nvml(nvml: Any, uuid: str) -> GpuMemory | None:
    handle, memory = ctypes.c_void_p(), _NvmlMemory()
    with _opened(nvml) as works:
        # A slice's own id is found under the first name, and a whole device's under the second.
        if not works or not any(
            nvml.nvmlDeviceGetHandleByUUID(f"{kind}-{uuid}".encode(), ctypes.byref(handle)) == 0
            for kind in ("MIG", "GPU")
        ):
            return None
        if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) or not memory.total:
            return None
    return GpuMemory(free=memory.free, total=memory.total)


def _by_cuda(cuda: Any, device: ctypes.c_int) -> GpuMemory | None:
    context = ctypes.c_void_p()
    free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
    if cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    try:
        if cuda.cuCtxPushCurrent_v2(context):
            return None
        failed = cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    finally:
        cuda.cuDevicePrimaryCtxRelease_v2(device)
    if failed or not total.value:
        return None
    return GpuMemory(free=free.value, total=total.value)


def _uuid(cuda: Any, device: ctypes.c_int) -> str | None:
    """The device's id as NVML writes it, without its kind; of a slice, the slice's own."""
    raw = (ctypes.c_ubyte * _UUID_BYTES)()
    for name in ("cuDeviceGetUuid_v2", "cuDeviceGetUuid"):  # the first knows slices: CUDA 11.4
        function = getattr(cuda, name, None)
        if function is not None and function(ctypes.byref(raw), device) == 0:
            digits = bytes(raw).hex()
            cuts = (0, 8, 12, 16, 20, 32)
            return "-".join(digits[a:b] for a, b in itertools.pairwise(cuts))
    return None


@contextlib.contextmanager
def _opened(nvml: Any) -> Iterator[bool]:
    """NVML at work; whether it is."""
    works = nvml.nvmlInit_v2() == 0
    try:
        yield works
    finally:
        if works:
            nvml.nvmlShutdown()


def _library(load: Load, names: tuple[str, ...]) -> Any:
    for name in names:
        try:
            return load(name)
        except OSError:
            continue
    return None
