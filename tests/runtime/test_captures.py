"""Captured runs: when they are made, when they are taken, and what happens where they fail."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge.captures import USES, Captures
from embedge.engine.providers.cuda import Cuda
from embedge.engine.providers.cuda_graphs import LENGTHS, ON_GPU, _Exclusion
from embedge.errors import DeviceError, MemoryLimitError
from embedge.run_memory import RunMemory
from support.tiny import write_graph

Inputs = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def inputs(length: int, rows: int = 1) -> Inputs:
    return np.ones((rows, length), np.int64), np.ones((rows, length), np.int64)


class Fake:
    """Captured runs that add up their ids, as `Plain` does."""

    def __init__(self) -> None:
        self.captured: list[int] = []
        self.replayed = 0
        self.closed = False
        self.wrong = 0.0
        self.capture_fails: Exception | None = None
        self.run_fails: Exception | None = None

    def capture(self, length: int) -> None:
        if self.capture_fails:
            raise self.capture_fails
        self.captured.append(length)

    def run(self, ids: Any, mask: Any) -> Any:
        if ids.shape[1] not in self.captured:
            return None
        if self.run_fails:
            raise self.run_fails
        self.replayed += 1
        return np.array([[ids.sum() + self.wrong]], np.float32)

    def close(self) -> None:
        self.closed = True


class Plain:
    """The ordinary run of the same."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, given: Inputs) -> Callable[[], Any]:
        def run() -> Any:
            self.runs += 1
            return np.array([[given[0].sum()]], np.float32)

        return run


class Bench:
    """Captures of fakes, and what was asked of them."""

    def __init__(self, *, room: str | None = None, lengths: tuple[int, ...] = LENGTHS) -> None:
        self.fake, self.plain, self.opened = Fake(), Plain(), 0
        self.asked: list[str] = []

        def take(task: str) -> str | None:
            self.asked.append(task)
            return room

        def open_graphs(task: str) -> Fake:
            self.opened += 1
            return self.fake

        self.captures = Captures(lengths, open_graphs=open_graphs, take=take)

    def run(self, length: int, times: int = 1, rows: int = 1) -> None:
        given = inputs(length, rows)
        for _ in range(times):
            vectors = self.captures.run("retrieval", given, self.plain(given))
            assert vectors.tolist() == [[length * rows]]

    def settle(self) -> None:
        for thread in threading.enumerate():
            if thread.name == "embedge-capture":
                thread.join(10)


def test_a_run_that_comes_often_is_captured_compared_and_then_taken() -> None:
    bench = Bench()
    bench.run(32, USES - 1)
    assert bench.opened == 0
    assert bench.captures.choice().value == "none"
    assert f"after {USES} runs" in bench.captures.choice().reason
    bench.run(32)
    bench.settle()
    assert (bench.opened, bench.fake.captured, bench.fake.replayed) == (1, [32], 0)
    bench.run(32)  # both, to compare
    assert (bench.plain.runs, bench.fake.replayed) == (USES + 1, 1)
    bench.run(32, 5)
    assert (bench.plain.runs, bench.fake.replayed) == (USES + 1, 6)
    assert bench.captures.choice().value == "retrieval: 32"
    bench.run(128, USES)
    bench.settle()
    bench.run(128, 2)
    assert bench.captures.choice().value == "retrieval: 32, 128"
    assert bench.opened == 1
    bench.captures.close()
    assert bench.fake.closed
    bench.run(32, 2 * USES)
    assert bench.opened == 1


def test_other_shapes_and_a_cpu_are_never_captured() -> None:
    bench = Bench()
    bench.run(33, 2 * USES)
    bench.run(32, 2 * USES, rows=2)
    assert bench.asked == []
    bench = Bench(lengths=())
    bench.run(32, 2 * USES)
    assert bench.asked == []


def test_without_room_for_the_weights_the_reason_is_kept() -> None:
    bench = Bench(room="no room")
    bench.run(32, 3 * USES)
    assert (bench.asked, bench.opened) == (["retrieval"], 0)
    assert bench.captures.choice().reason == "no room"


@pytest.mark.parametrize("fault", ["capture", "run", "vectors"])
def test_what_fails_leaves_the_ordinary_run_and_its_reason(fault: str) -> None:
    bench = Bench()
    if fault == "capture":
        bench.fake.capture_fails = DeviceError("the graph holds an If")
    elif fault == "vectors":
        bench.fake.wrong = 1e-3
    bench.run(32, USES)
    bench.settle()
    if fault == "run":
        bench.run(32, 3)
        bench.fake.run_fails = RuntimeError("an illegal\naddress")
    bench.run(32, 3 * USES)
    chosen = bench.captures.choice()
    assert chosen.value == "none"
    reasons = {
        "capture": "the graph holds an If",
        "run": "a captured run failed: an illegal address",
        "vectors": "the captured run of 32 tokens gave other vectors",
    }
    assert chosen.reason == reasons[fault]
    assert bench.opened == 1


def test_an_error_of_the_ordinary_run_is_its_own() -> None:
    bench = Bench()

    def full() -> Any:
        raise MemoryLimitError("full")

    with pytest.raises(MemoryLimitError, match="full"):
        bench.captures.run("retrieval", inputs(32), full)


def test_threads_capture_once() -> None:
    bench = Bench()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: bench.run(32), range(200)))
    bench.settle()
    assert (bench.opened, bench.fake.captured) == (1, [32])


def test_who_is_alone_waits_for_others_and_others_for_it() -> None:
    exclusion, seen = _Exclusion(), list[str]()
    inside, go_on = threading.Event(), threading.Event()

    def alone() -> None:
        with exclusion.alone():
            seen.append("alone")
            inside.set()
            go_on.wait(10)

    def together() -> None:
        with exclusion.together():
            seen.append("together")

    with exclusion.together(), exclusion.together():
        first = threading.Thread(target=alone)
        first.start()
        time.sleep(0.02)
        assert seen == []
    assert inside.wait(10)
    second = threading.Thread(target=together)
    second.start()
    time.sleep(0.02)
    assert seen == ["alone"]
    go_on.set()
    first.join(10)
    second.join(10)
    assert seen == ["alone", "together"]


def test_memory_set_apart_is_no_longer_the_runs() -> None:
    memory = RunMemory(100)
    assert not memory.set_apart(51)
    assert memory.set_apart(50)
    assert not memory.set_apart(26)
    assert memory.set_apart(25)
    assert RunMemory(None).set_apart(1e18)


def test_where_cuda_is_not_there_a_capture_says_why(tmp_path: Path) -> None:
    write_graph(tmp_path, "g.onnx", constant=[0.0] * 8)
    graphs = Cuda().captured(tmp_path / "g.onnx", threads=1, memory=2**30)
    with pytest.raises(DeviceError, match="no CUDA graph of it"):
        graphs.capture(32)
    assert graphs.run(*inputs(32)) is None
    graphs.close()
    with ON_GPU.alone():  # nobody is left at work
        pass
