"""The GPU's memory as its driver says it: a fake driver answers."""

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from embedge.machine.gpu_memory import GpuMemory, read_gpu_memory

UUID = bytes(range(16))
TEXT = "00010203-0405-0607-0809-0a0b0c0d0e0f"
GIB = 2**30


class Driver:
    """NVIDIA's two libraries, for one process that sees one device."""

    def __init__(self, *, kind: str = "GPU", nvml: bool = True, slices: bool = True) -> None:
        self.kind = kind  # of the device that the process sees
        self.known = f"{kind}-{TEXT}".encode()
        self.context = self.shut = 0
        self.nvml_fails = ""
        self.cuda_fails = ""
        self.libraries: dict[str, Any] = {"libcuda.so.1": self.cuda(slices=slices)}
        if nvml:
            self.libraries["libnvidia-ml.so.1"] = self.nvml()

    def load(self, name: str) -> Any:
        if name not in self.libraries:
            raise OSError(f"{name}: cannot open shared object file")
        return self.libraries[name]

    def cuda(self, *, slices: bool) -> Any:
        def answer(name: str) -> int:
            return 100 if self.cuda_fails == name else 0

        def uuid(place: Any, device: Any) -> int:
            ctypes.memmove(place, UUID, 16)
            return answer("uuid")

        def retain(place: Any, device: Any) -> int:
            self.context += 1
            return answer("retain")

        def release(device: Any) -> int:
            self.context -= 1
            return 0

        def info(free: Any, total: Any) -> int:
            free._obj.value, total._obj.value = 3 * GIB, 8 * GIB
            return answer("info")

        names = {"cuDeviceGetUuid_v2": uuid} if slices else {}
        return SimpleNamespace(
            cuInit=lambda flags: answer("init"),
            cuDeviceGet=lambda place, number: answer("get"),
            cuDeviceGetUuid=uuid,
            cuDevicePrimaryCtxRetain=retain,
            cuDevicePrimaryCtxRelease_v2=release,
            cuCtxPushCurrent_v2=lambda context: answer("push"),
            cuCtxPopCurrent_v2=lambda place: 0,
            cuMemGetInfo_v2=info,
            **names,
        )

    def nvml(self) -> Any:
        def answer(name: str) -> int:
            return 999 if self.nvml_fails == name else 0

        def by_uuid(uuid: bytes, place: Any) -> int:
            return answer("handle") if uuid == self.known else 6

        def info(handle: Any, place: Any) -> int:
            memory = place._obj
            memory.total, memory.free, memory.used = 8 * GIB, 5 * GIB, 3 * GIB
            return answer("info")

        def shut() -> int:
            self.shut += 1
            return 0

        return SimpleNamespace(
            nvmlInit_v2=lambda: answer("init"),
            nvmlDeviceGetHandleByUUID=by_uuid,
            nvmlDeviceGetMemoryInfo=info,
            nvmlShutdown=shut,
        )


@pytest.mark.parametrize("kind", ["GPU", "MIG"])
def test_nvml_says_it_of_the_device_that_cuda_takes_first(kind: str) -> None:
    driver = Driver(kind=kind)
    assert read_gpu_memory(driver.load) == GpuMemory(free=5 * GIB, total=8 * GIB)
    assert driver.shut == 1
    assert driver.context == 0


def test_a_driver_that_knows_no_slices_is_asked_by_the_older_name() -> None:
    driver = Driver(slices=False)
    assert read_gpu_memory(driver.load) == GpuMemory(free=5 * GIB, total=8 * GIB)


@pytest.mark.parametrize("fails", ["init", "handle", "info"])
def test_cuda_says_it_where_nvml_does_not(fails: str) -> None:
    driver = Driver()
    driver.nvml_fails = fails
    assert read_gpu_memory(driver.load) == GpuMemory(free=3 * GIB, total=8 * GIB)
    assert driver.shut == (fails != "init")
    assert driver.context == 0  # the context is let go


def test_a_container_without_nvml_and_a_device_without_an_id() -> None:
    assert read_gpu_memory(Driver(nvml=False).load) == GpuMemory(free=3 * GIB, total=8 * GIB)
    driver = Driver()
    driver.cuda_fails = "uuid"
    assert read_gpu_memory(driver.load) == GpuMemory(free=3 * GIB, total=8 * GIB)


@pytest.mark.parametrize("fails", ["init", "get", "retain", "push", "info"])
def test_what_nobody_says_is_not_known(fails: str) -> None:
    driver = Driver(nvml=False)
    driver.cuda_fails = fails
    assert read_gpu_memory(driver.load) is None
    assert driver.context == (fails == "retain")


def test_without_a_driver_it_is_not_known() -> None:
    def none(name: str) -> Any:
        raise OSError(name)

    assert read_gpu_memory(none) is None
