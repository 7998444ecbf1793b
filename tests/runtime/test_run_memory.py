"""The memory that all runs of one embedder share: who begins, who waits, who gives it back."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import embedge.run_memory
from embedge import CancelledError, Embedder
from embedge.machine import heap
from embedge.run_memory import RunMemory

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Network:
    """Counts how often its pool was freed."""

    def __init__(self) -> None:
        self.freed = 0

    def free(self) -> None:
        self.freed += 1


class Runs:
    """Runs of networks in threads of their own, each of which goes on until it is let end."""

    def __init__(self, memory: RunMemory) -> None:
        self.memory = memory
        self.begun: list[str] = []
        self.kept: dict[str, bool] = {}
        self.failed: dict[str, Exception] = {}
        self._ends: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}

    def ask(self, name: str, network: Network, needed: float, **options: Any) -> None:
        """Asks for the memory of a run, and waits until it stands in the line or runs."""
        end = self._ends[name] = threading.Event()

        def run() -> None:
            try:
                with self.memory.hold(network, needed, **options) as keep:
                    self.kept[name] = keep
                    self.begun.append(name)
                    assert end.wait(10)
            except CancelledError as error:
                self.failed[name] = error

        before = len(self.memory._running) + len(self.memory._waiting)
        thread = self._threads[name] = threading.Thread(target=run, daemon=True)
        thread.start()
        until(lambda: len(self.memory._running) + len(self.memory._waiting) > before)

    def end(self, name: str) -> None:
        self._ends[name].set()
        self._threads[name].join(10)
        assert not self._threads[name].is_alive()

    def are(self, *names: str) -> None:
        """These began, and nobody else."""
        until(lambda: len(self.begun) >= len(names))
        time.sleep(0.02)
        assert sorted(self.begun) == list(names)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come to it"
        time.sleep(0.001)


def test_runs_begin_while_they_fit_and_then_in_the_order_of_asking() -> None:
    runs, network = Runs(RunMemory(100)), Network()
    runs.ask("a", network, 60)
    runs.ask("b", network, 40)
    runs.ask("c", network, 70)
    runs.ask("d", network, 10)  # would fit once b ends; c was first
    runs.are("a", "b")
    runs.end("b")
    runs.are("a", "b")
    runs.end("a")
    runs.are("a", "b", "c", "d")
    runs.end("c")
    runs.end("d")


def test_a_run_beyond_the_limit_runs_alone() -> None:
    runs, network = Runs(RunMemory(100)), Network()
    runs.ask("a", network, 1)
    runs.ask("b", network, 500)
    runs.are("a")
    runs.end("a")
    runs.are("a", "b")
    runs.ask("c", network, 1)
    runs.are("a", "b")
    runs.end("b")
    runs.are("a", "b", "c")
    runs.end("c")


def test_without_a_limit_nobody_waits() -> None:
    runs, network = Runs(RunMemory(None)), Network()
    for name in "abc":
        runs.ask(name, network, 1e15)
    runs.are("a", "b", "c")
    for name in "abc":
        runs.end(name)


def test_who_waits_can_be_cancelled_and_those_behind_go_on() -> None:
    runs, network, cancel = Runs(RunMemory(100)), Network(), threading.Event()
    runs.ask("a", network, 60)
    runs.ask("b", network, 60, cancel=cancel)
    runs.ask("c", network, 40)
    runs.are("a")
    cancel.set()
    runs.are("a", "c")
    assert "waited for the memory" in str(runs.failed["b"])
    runs.end("a")
    runs.end("c")


def test_a_run_that_fails_gives_its_memory_back() -> None:
    memory, network = RunMemory(100), Network()
    with pytest.raises(ZeroDivisionError), memory.hold(network, 100):
        raise ZeroDivisionError
    with memory.hold(network, 100):
        pass


def test_a_pool_is_kept_where_a_run_of_the_same_network_follows() -> None:
    runs, one, other = Runs(RunMemory(100)), Network(), Network()
    runs.ask("a", one, 80)
    runs.ask("b", one, 80)
    runs.ask("c", one, 80)
    assert not runs.kept["a"]  # nobody waited when it began
    runs.end("a")
    runs.are("a", "b")
    assert runs.kept["b"]  # c waits
    runs.ask("d", other, 80)
    runs.end("b")
    runs.are("a", "b", "c")
    assert not runs.kept["c"]  # d, which waits, needs the memory
    runs.end("c")
    runs.are("a", "b", "c", "d")
    runs.end("d")
    assert (one.freed, other.freed) == (0, 0)


def test_a_pool_that_nobody_uses_is_freed_for_a_run_of_another_network() -> None:
    memory, one, other = RunMemory(100), Network(), Network()
    with memory.hold(one, 80, more=True) as keep:
        assert keep
    with memory.hold(other, 20) as keep:  # fits beside it
        assert (keep, one.freed) == (False, 0)
    with memory.hold(other, 21, more=True):
        assert one.freed == 1
    with memory.hold(one, 79):
        assert (one.freed, other.freed) == (1, 0)
    with memory.hold(one, 80):
        assert (one.freed, other.freed) == (1, 1)


def test_a_pool_that_is_left_over_can_be_freed() -> None:
    memory, network = RunMemory(100), Network()
    memory.free(network)
    assert network.freed == 0
    with memory.hold(network, 80, more=True):
        memory.free(network)
        assert network.freed == 0  # it runs
    memory.free(network)
    memory.free(network)
    assert network.freed == 1


def test_freed_memory_goes_back_where_a_run_waits_and_not_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    returned: list[int] = []
    monkeypatch.setattr(embedge.run_memory, "give_back", lambda: returned.append(1))
    runs, one, other = Runs(RunMemory(100)), Network(), Network()
    runs.ask("a", one, 80)
    runs.end("a")
    assert returned == []
    runs.ask("b", one, 80)
    runs.ask("c", other, 80)
    runs.end("b")
    assert returned == [1]
    runs.are("a", "b", "c")
    runs.end("c")
    assert returned == [1]


def test_many_threads_stay_below_the_limit_and_all_come_to_their_turn() -> None:
    memory, networks = RunMemory(100), [Network(), Network()]
    lock, held, most, done = threading.Lock(), 0.0, 0.0, 0

    def work(number: int) -> None:
        nonlocal held, most, done
        for turn in range(20):
            needed = 10 + 7 * ((number + turn) % 13)
            with memory.hold(networks[number % 2], needed, more=turn < 19):
                with lock:
                    held += needed
                    most = max(most, held)
                time.sleep(0.0002)
                with lock:
                    held -= needed
        with lock:
            done += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert done == 12
    assert most <= 100
    assert (memory._running, list(memory._waiting)) == ([], [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_while_others_ran_finds_all_memory_free() -> None:
    code = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")
from embedge.run_memory import RunMemory
class Network:
    def free(self): pass
memory, network = RunMemory(100), Network()
running, end = threading.Event(), threading.Event()
def run():
    with memory.hold(network, 100):
        running.set()
        end.wait()
thread = threading.Thread(target=run)
thread.start()
running.wait()
child = os.fork()
if child == 0:
    with memory.hold(network, 100, cancel=threading.Event()):
        os._exit(0)
ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
end.set()
thread.join()
sys.exit(ended)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


# ------------------------------------------------------------------ the C library


def test_what_is_freed_goes_back_to_the_system_where_the_c_library_can() -> None:
    if not heap.give_back():
        pytest.skip("this C library has no call for it")
    assert heap.give_back()


def test_systems_without_such_a_call_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: object) -> object:
        raise TypeError("Windows has no library without a name")

    heap._function.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", refuse)
    assert not heap.give_back()
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())  # musl
    heap._function.cache_clear()
    assert not heap.give_back()
    heap._function.cache_clear()


@LINUX
@pytest.mark.parametrize("end", ["embedder.close()", "del embedder"])
def test_the_end_of_an_embedder_gives_memory_back(pack: Path, end: str) -> None:
    """Blocks of a size that the C library keeps; every second one is in use, as in a program."""
    code = f"""
import re, sys
from pathlib import Path
from typing import Any
from embedge import Embedder
from embedge.machine.heap import give_back
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
embedder = Embedder({str(pack)!r})
embedder.encode("a")
before = resident()
blocks = [bytearray(64 * 1024) for _ in range(2000)]  # 125 MiB, each below what is mapped alone
kept = blocks[::500]
del blocks
held = resident() - before
{end}
print(held, resident() - before, give_back())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    held, after, known = done.stdout.split()
    if known == "False":
        pytest.skip("this C library has no call for it")
    assert float(held) > 50, "this C library gave it back by itself: the test shows nothing"
    assert float(after) < 15


def test_an_embedder_that_nobody_holds_goes_at_once(pack: Path) -> None:
    """Not when Python looks for circles of references, which may be minutes later."""
    embedder = Embedder(pack)
    embedder.encode("a")
    sessions = weakref.ref(embedder._encoder._runner._sessions)
    gc.disable()
    try:
        del embedder
        assert sessions() is None
    finally:
        gc.enable()
