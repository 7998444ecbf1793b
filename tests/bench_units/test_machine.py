"""Readings of the operating system."""

import ctypes
import sys

import pytest

from bench.machine import cuda, facts, smaps

ROLLUP = """\
55d0c0a00000-7ffd5a1f0000 ---p 00000000 00:00 0                          [rollup]
Rss:              409600 kB
Pss:              204800 kB
Pss_Anon:         102400 kB
Shared_Clean:      10240 kB
Shared_Dirty:       2048 kB
Private_Clean:    294912 kB
Private_Dirty:    102400 kB
Anonymous:        104448 kB
"""
STATUS = "Name:\tpython\nVmHWM:\t  512000 kB\nVmRSS:\t  409600 kB\nThreads:\t4\n"
CPUINFO = """\
processor\t: 0
model name\t: A Processor @ 2.0 GHz
cpu family\t: 6
model\t\t: 143
flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16 amx_tile amx_int8
"""


def test_pages_of_files_are_told_apart_from_memory():
    memory = smaps.parse(ROLLUP, STATUS)
    assert memory == smaps.Memory(
        peak=500.0,
        resident=400.0,
        anonymous=102.0,
        file=298.0,
        private=388.0,  # 288 MiB of it are clean pages of files
        shared=12.0,
        proportional=200.0,
    )


def test_a_reading_without_a_line_is_refused():
    with pytest.raises(KeyError):
        smaps.parse(ROLLUP.replace("Anonymous:", "Nothing:"), STATUS)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_this_process():
    memory = smaps.read()
    assert memory.peak >= memory.anonymous > 1
    assert memory.resident == pytest.approx(memory.anonymous + memory.file)


def test_processor_flags():
    found = facts.processor(CPUINFO)
    assert found["cpu"] == "A Processor @ 2.0 GHz"
    assert {name: found[name] for name in facts.FLAGS} == {
        "avx2": True,
        "avx512": True,
        "vnni": True,
        "avx512_bf16": True,
        "amx": True,
    }
    older = facts.processor(CPUINFO.replace("avx512_vnni avx512_bf16 amx_tile amx_int8", ""))
    assert not any(older[name] for name in ("vnni", "avx512_bf16", "amx"))
    assert facts.processor("flags : avx_vnni")["vnni"]  # without AVX-512


def test_a_machine_in_a_sentence(tmp_path):
    (tmp_path / "cpuinfo").write_text(CPUINFO.replace("amx_tile amx_int8", ""))
    here = facts.machine(tmp_path / "cpuinfo") | {"usable_cores": 4, "load": 0.25}
    here["date"] = "2026-11-24"
    told = facts.sentence(here, 2, {"torch": "2.13.0", "onnxruntime": "1.31.1"})
    assert told.startswith(
        "2 threads of 4 cores, A Processor @ 2.0 GHz (family 6, model 143; with avx2, avx512, "
        "vnni, avx512_bf16; without amx), load 0.25 before, 2026-11-24, Python "
    )
    assert told.endswith(", onnxruntime 1.31.1, torch 2.13.0")


class Driver:
    """NVIDIA's driver with so many devices, or none that it can use."""

    def __init__(self, devices: int, error: int = 0) -> None:
        self._devices, self._error = devices, error

    def cuInit(self, flags):  # noqa: N802
        return self._error

    def cuDeviceGetCount(self, pointer):  # noqa: N802
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = self._devices
        return 0


def test_a_cuda_device_is_asked_of_the_driver():
    def nothing(name):
        raise OSError(name)

    assert "NVIDIA's driver is not installed" in str(cuda.problem(nothing))
    assert cuda.problem(lambda name: Driver(1)) is None
    for driver in (Driver(0), Driver(1, error=100)):
        found = cuda.problem(dict.fromkeys(cuda.LIBRARIES, driver).__getitem__)
        assert "no CUDA device that it can use" in str(found)
