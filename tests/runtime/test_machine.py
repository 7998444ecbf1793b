import dataclasses
from pathlib import Path

import pytest

from embedge.choice import Choice
from embedge.errors import OptionError
from embedge.machine.resources import (
    LEAST_MEMORY,
    choose_memory_limit,
    choose_threads,
    host_cores,
    read_affinity,
    read_available_memory,
    read_cpu_quota,
    threads_here,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("cores", "threads"),
    [(1, 1), (2, 2), (4, 4), (5, 4), (7, 4), (9, 5), (12, 6), (16, 8), (96, 8)],
)
def test_a_guest_takes_all_of_a_small_machine_and_little_of_a_large_one(
    cores: int, threads: int
) -> None:
    choice = choose_threads(None, environment={}, host=cores)
    assert choice.value == threads
    assert f"{cores} cores" in choice.reason


def test_affinity_below_the_host_count_wins() -> None:
    choice = choose_threads(None, environment={}, host=64, affinity=2)
    assert choice == Choice(2, "this process may run on 2 of 64 cores")


def test_the_cgroup_quota_wins_where_it_is_least() -> None:
    choice = choose_threads(None, environment={}, host=64, affinity=32, quota=2.5)
    assert choice == Choice(2, "the cgroup grants 2.5 of 64 cores")
    assert choose_threads(None, environment={}, host=64, quota=0.25).value == 1
    assert choose_threads(None, environment={}, host=2, quota=10).value == 2


def test_the_argument_wins_over_the_environment_and_that_over_the_machine() -> None:
    environment = {"EMBEDGE_THREADS": "3"}
    assert choose_threads(7, environment=environment, host=2).value == 7
    assert choose_threads(None, environment=environment, host=64).value == 3
    assert choose_threads(None, environment={"EMBEDGE_THREADS": " "}, host=2).value == 2


def test_threads_here_reads_the_environment_and_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("embedge.machine.resources.host_cores", lambda: 64)
    monkeypatch.setattr("embedge.machine.resources.read_affinity", lambda: 32)
    monkeypatch.setattr("embedge.machine.resources.read_cpu_quota", lambda: 3.0)
    assert threads_here() == Choice(3, "the cgroup grants 3 of 64 cores")
    monkeypatch.setattr("embedge.machine.resources.read_cpu_quota", lambda: None)
    assert threads_here().value == 8
    monkeypatch.setenv("EMBEDGE_THREADS", "5")
    assert threads_here() == Choice(5, "EMBEDGE_THREADS is set")
    assert threads_here(6).value == 6


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "9" * 5000, str(2**63)])
def test_a_wrong_environment_is_named(text: str) -> None:
    with pytest.raises(OptionError, match="EMBEDGE_THREADS"):
        choose_threads(None, environment={"EMBEDGE_THREADS": text}, host=2)


def test_the_memory_limit_is_a_share_of_what_the_weights_leave() -> None:
    assert choose_memory_limit(None, available=10 * GIB).value == 8 * GIB
    assert choose_memory_limit(None, available=10 * GIB, reserved=5 * GIB).value == 4 * GIB
    assert choose_memory_limit(None, available=GIB, reserved=5 * GIB).value == LEAST_MEMORY
    assert choose_memory_limit(None, available=None).value is None
    assert choose_memory_limit(123, available=None) == Choice(123, "memory_limit= was given")
    assert choose_memory_limit("1GB", available=None) == Choice(10**9, "memory_limit= was given")


def test_the_environment_sets_the_memory_limit() -> None:
    environment = {"EMBEDGE_MEMORY_LIMIT": " 2GiB "}
    chosen = choose_memory_limit(None, environment=environment, available=10 * GIB)
    assert chosen == Choice(2 * GIB, "EMBEDGE_MEMORY_LIMIT is set")
    assert choose_memory_limit(5, environment=environment, available=None).value == 5
    with pytest.raises(OptionError, match="EMBEDGE_MEMORY_LIMIT is 'much'"):
        choose_memory_limit(None, environment={"EMBEDGE_MEMORY_LIMIT": "much"}, available=None)


@pytest.mark.parametrize("host", [1, 2, 4, 64])
@pytest.mark.parametrize("asked", [1000, 100_000, 2**31, 2**62])
def test_more_threads_than_cores_can_use_are_not_started(host: int, asked: int) -> None:
    most = max(16, 4 * host)
    given = choose_threads(asked, environment={}, host=host)
    assert given.value == most
    assert f"threads={asked:,} is more than {host} cores can use" in given.reason
    named = choose_threads(None, environment={"EMBEDGE_THREADS": str(asked)}, host=host)
    assert named.value == most
    assert "EMBEDGE_THREADS=" in named.reason
    assert choose_threads(most, environment={}, host=host) == Choice(most, "threads= was given")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_cgroup_v2_takes_the_least_of_the_group_and_all_above_it(tmp_path: Path) -> None:
    root, process, meminfo = tmp_path / "cgroup", tmp_path / "self", tmp_path / "meminfo"
    write(process, "0::/app/worker\n")
    write(meminfo, "MemTotal:       16000000 kB\nMemAvailable:    8388608 kB\n")
    write(root / "app/worker/cpu.max", "max 100000\n")
    write(root / "app/cpu.max", "150000 100000\n")
    write(root / "app/worker/memory.max", "max\n")
    assert read_cpu_quota(root, process) == 1.5
    assert read_available_memory(root, process, meminfo) == 8 * GIB
    write(root / "app/memory.max", f"{4 * GIB}\n")
    write(root / "app/memory.current", f"{3 * GIB}\n")
    write(root / "app/memory.stat", f"anon 1\ninactive_file {2 * GIB}\n")  # cache gives way
    assert read_available_memory(root, process, meminfo) == 3 * GIB


def test_cgroup_v1_of_a_container_whose_own_path_is_not_visible(tmp_path: Path) -> None:
    root, process, meminfo = tmp_path / "cgroup", tmp_path / "self", tmp_path / "none"
    write(process, "4:memory:/docker/abc\n3:cpuset:/\n2:cpu,cpuacct:/docker/abc\n")
    write(root / "cpu,cpuacct/cpu.cfs_quota_us", "200000\n")
    write(root / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    write(root / "memory/memory.limit_in_bytes", f"{2 * GIB}\n")
    write(root / "memory/memory.usage_in_bytes", f"{GIB}\n")
    write(root / "memory/memory.stat", f"cache 5\ntotal_inactive_file {GIB // 2}\n")
    assert read_cpu_quota(root, process) == 2
    assert read_available_memory(root, process, meminfo) == 3 * GIB // 2


def test_cgroups_without_limits_limit_nothing(tmp_path: Path) -> None:
    root, process, meminfo = tmp_path / "cgroup", tmp_path / "self", tmp_path / "none"
    write(process, "4:memory:/\n2:cpu:/\n0::/\n")
    write(root / "cpu/cpu.cfs_quota_us", "-1\n")
    write(root / "cpu/cpu.cfs_period_us", "100000\n")
    write(root / "memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(root / "memory/memory.usage_in_bytes", "5\n")
    assert read_cpu_quota(root, process) is None
    assert read_available_memory(root, process, meminfo) is None


def test_a_system_without_cgroups_and_affinity_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing"
    assert read_cpu_quota(missing, missing) is None
    assert read_available_memory(missing, missing, missing) is None
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert read_affinity() is None
    assert host_cores() == 1


def test_this_machine_can_be_read() -> None:
    assert host_cores() >= (read_affinity() or 1) >= 1
    memory = read_available_memory()
    assert memory is None or memory > 0


def test_a_choice_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Choice(1, "because").value = 2  # type: ignore[misc]
