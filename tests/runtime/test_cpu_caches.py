"""What systems say of their caches, as files, numbers and records that stand for them."""

import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from embedge.machine import cpu_caches
from embedge.machine.cpu_caches import (
    MOST_PROCESSORS,
    Cache,
    CpuCaches,
    caches_of_sysctl,
    caches_of_sysfs,
    caches_of_windows,
    read_caches,
    share,
)

KIB, MIB = 2**10, 2**20
Index = tuple[str, str, str, str]  # level, type, size, shared_cpu_list


def write_sysfs(root: Path, cpus: Mapping[int, list[Index]]) -> Path:
    for cpu, indices in cpus.items():
        for number, values in enumerate(indices):
            folder = root / f"cpu{cpu}" / "cache" / f"index{number}"
            folder.mkdir(parents=True)
            for name, value in zip(
                ("level", "type", "size", "shared_cpu_list"), values, strict=True
            ):
                (folder / name).write_text(value + "\n")
    return root


def zen5(cpu: int) -> list[Index]:
    """Two processors of a guest."""
    return [
        ("1", "Data", "48K", str(cpu)),
        ("1", "Instruction", "32K", str(cpu)),
        ("2", "Unified", "1024K", str(cpu)),
        ("3", "Unified", "32768K", "0-1"),
    ]


def test_a_guest_of_two_processors(tmp_path: Path) -> None:
    found = caches_of_sysfs([0, 1], write_sysfs(tmp_path, {0: zen5(0), 1: zen5(1)}))
    core = (Cache(level=2, size=MIB, cores=1), Cache(level=3, size=32 * MIB, cores=2))
    assert found == CpuCaches(by_core=(core, core), processors=2)
    assert share(found, 1) == 17 * MIB
    assert share(found, 2) == 34 * MIB
    assert share(found, 16) == 34 * MIB  # two processors have no more


def test_two_processors_of_one_core_count_once(tmp_path: Path) -> None:
    """56 cores, 112 processors, one of which this process may use."""
    indices: list[Index] = [
        ("1", "Data", "48K", "3,59"),
        ("2", "Unified", "2048K", "3,59"),
        ("3", "Unified", "107520K", "0-111"),
    ]
    found = caches_of_sysfs([3], write_sysfs(tmp_path, {3: indices}))
    assert found is not None
    assert [cache.cores for cache in found.by_core[0]] == [1, 56]


def test_a_few_processors_stand_for_hundreds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    text = Path.read_text

    def counted(path: Path, *args: str, **options: str) -> str:
        read.append(path.parts[-4])
        return text(path, *args, **options)

    write_sysfs(tmp_path, {cpu: zen5(cpu) for cpu in range(0, 192, 24)})
    monkeypatch.setattr(Path, "read_text", counted)
    found = caches_of_sysfs(range(192), tmp_path)
    assert found is not None
    assert len(set(read)) == len(found.by_core) == MOST_PROCESSORS
    assert found.processors == 192


def test_unlike_cores_count_by_their_mean(tmp_path: Path) -> None:
    """arm64: two large cores, two small ones; no third level."""
    large: list[Index] = [("1", "Data", "64K", "0"), ("2", "Unified", "1M", "0")]
    small: list[Index] = [("1", "Data", "32K", "2"), ("2", "Unified", "512K", "2-3")]
    cpus = {0: large, 1: large, 2: small, 3: small}
    found = caches_of_sysfs([0, 1, 2, 3], write_sysfs(tmp_path, cpus))
    assert share(found, 4) == 2 * MIB + 512 * KIB


@pytest.mark.parametrize(
    "nonsense",
    [
        ("3", "Unified", "0K", "0-1"),
        ("3", "Unified", "", "0-1"),
        ("3", "Unified", "-1", "0-1"),
        ("3", "Unified", "K", "0-1"),
        ("3", "Unified", "4G", "0-1"),
        ("3", "Unified", "99999999999999999999", "0-1"),
        ("3", "Unified", "32768T", "0-1"),
        ("3", "Unified", "³M", "0-1"),
        ("3", "Unified", "1K", "0-1"),
        ("3", "Unified", "32768K", ""),
        ("3", "Unified", "32768K", "1-0"),
        ("3", "Unified", "32768K", "0-99999999"),
        ("3", "Unified", "32768K", "a-b"),
        ("0", "Unified", "32768K", "0-1"),
        ("99", "Unified", "32768K", "0-1"),
        ("three", "Unified", "32768K", "0-1"),
        ("3", "Instruction", "32768K", "0-1"),
        ("3", "", "32768K", "0-1"),
    ],
)
def test_nonsense_is_as_good_as_nothing(nonsense: Index, tmp_path: Path) -> None:
    assert caches_of_sysfs([0], write_sysfs(tmp_path / "alone", {0: [nonsense]})) is None
    beside = [*zen5(0)[:3], nonsense]
    assert share(caches_of_sysfs([0], write_sysfs(tmp_path / "beside", {0: beside})), 1) == MIB


def test_a_container_may_hide_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert caches_of_sysfs([0, 1], tmp_path) is None
    assert caches_of_sysfs([], tmp_path) is None
    assert share(None, 2) is None
    write_sysfs(tmp_path, {0: zen5(0)})  # of one processor of two they are known
    assert share(caches_of_sysfs([0, 1], tmp_path), 2) == 34 * MIB

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert caches_of_sysfs([0, 1], tmp_path) is None


def test_apple_and_intel_macs() -> None:
    m2 = {
        "hw.perflevel0.l2cachesize": 16 * MIB,
        "hw.perflevel0.cpusperl2": 4,
        "hw.l2cachesize": 4 * MIB,  # of the efficiency cores
        "hw.physicalcpu": 8,
    }
    assert share(caches_of_sysctl(m2.get), 4) == 16 * MIB
    intel = {"hw.l2cachesize": 256 * KIB, "hw.l3cachesize": 8 * MIB, "hw.physicalcpu": 4}
    assert share(caches_of_sysctl(intel.get), 4) == 9 * MIB
    assert share(caches_of_sysctl(intel.get), 2) == 4 * MIB + 512 * KIB
    assert caches_of_sysctl({}.get) is None
    assert caches_of_sysctl({"hw.l2cachesize": -1, "hw.l3cachesize": 2**62}.get) is None


def record(level: int, size: int, mask: int, *, kind: int = 0, relation: int = 2) -> bytes:
    """One of Windows' records."""
    cache = struct.pack("<BBHII18xH", level, 16, 64, size, kind, 1) + struct.pack("<QH6x", mask, 0)
    return struct.pack("<II", relation, 8 + len(cache)) + cache


def test_windows_records() -> None:
    """Four cores of two processors each, 8 MiB for all."""
    told = record(3, 8 * MIB, 0xFF) + record(2, 64 * MIB, 0xFF, relation=0)
    for core in range(4):
        mask = 3 << 2 * core
        told += record(1, 32 * KIB, mask, kind=2) + record(1, 32 * KIB, mask, kind=1)
        told += record(2, 512 * KIB, mask)
    found = caches_of_windows(told)
    assert found is not None
    assert (found.processors, len(found.by_core)) == (8, 8)
    assert share(found, 4) == 10 * MIB
    for end in range(len(told)):
        caches_of_windows(told[:end])  # cut anywhere, it is no error
    assert caches_of_windows(b"") is None
    assert caches_of_windows(struct.pack("<II", 2, 0)) is None


def test_what_a_system_refuses_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no")

    for name in ("caches_of_sysfs", "caches_of_sysctl", "_windows_relations"):
        monkeypatch.setattr(cpu_caches, name, refuse)
    for platform in ("linux", "darwin", "win32", "freebsd14"):
        monkeypatch.setattr(sys, "platform", platform)
        assert read_caches() is None


def test_this_machine_answers_or_does_not() -> None:
    held = share(read_caches(), 1)
    assert held is None or 2**15 < held < 2**31
