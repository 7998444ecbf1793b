"""`background=True`: fewer threads, and all of them of low priority where the system has it."""

import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from embedge import CancelledError, Embedder, OptionError
from embedge.choice import Choice
from embedge.cli import main
from embedge.machine import priority
from embedge.machine.priority import NICE, LowThreads, choose_priority
from embedge.machine.resources import choose_threads
from support.slow_graph import slow_graph

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="threads have a nice value on Linux")


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


# Choices.


@pytest.mark.parametrize(
    ("cores", "inherited", "threads"),
    [(1, True, 1), (2, True, 1), (4, True, 2), (64, True, 4), (2, False, 1), (64, False, 1)],
)
def test_half_of_the_threads_or_one(cores: int, inherited: bool, threads: int) -> None:
    choice = choose_threads(None, environment={}, host=cores, background=True, inherited=inherited)
    assert choice.value == threads
    assert "background" in choice.reason or cores == 1


def test_a_number_that_was_given_wins() -> None:
    assert choose_threads(3, environment={}, host=8, background=True).value == 3
    named = choose_threads(None, environment={"EMBEDGE_THREADS": "2"}, host=8, background=True)
    assert named == Choice(2, "EMBEDGE_THREADS is set")


@pytest.mark.parametrize(
    ("system", "background", "accelerator", "value", "reason"),
    [
        ("linux", False, False, "normal", "not given"),
        ("linux", True, False, "low", "nice 19"),
        ("linux", True, True, "normal", "not the CPU"),
        ("win32", True, False, "low", "the thread that runs"),
        ("darwin", True, False, "low", "the thread that runs"),
        ("freebsd14", True, False, "normal", "this system"),
    ],
)
def test_the_choice_says_what_becomes_of_it(
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    background: bool,
    accelerator: bool,
    value: str,
    reason: str,
) -> None:
    monkeypatch.setattr(priority.sys, "platform", system)
    choice = choose_priority(background, accelerator=accelerator)
    assert choice.value == value
    assert reason in choice.reason


def test_an_embedder_says_so_and_is_opened_again_as_it_was(pack: Path) -> None:
    import pickle

    with Embedder(pack, background=True) as embedder:
        assert embedder.choices["priority"].value == "low"
        assert embedder.options["background"] is True
        with pickle.loads(pickle.dumps(embedder)) as again:
            assert again.choices["priority"] == embedder.choices["priority"]
    with Embedder(pack) as embedder:
        assert embedder.choices["priority"] == Choice("normal", "background= was not given")
    with pytest.raises(OptionError, match="background"):
        Embedder(pack, background="yes")


def test_the_command_line_has_it(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", str(pack), "--background"])
    assert "priority" in (shown := capsys.readouterr().out)
    assert "(--background: threads of nice 19)" in shown or sys.platform != "linux"


# Runs.


@LINUX
def test_a_function_runs_at_low_priority_and_the_caller_stays_as_it_is() -> None:
    before = nice()
    inner: list[int] = []

    def work() -> int:
        thread = threading.Thread(target=lambda: inner.append(nice()))
        thread.start()
        thread.join()
        return nice()

    assert LowThreads().call(work) == NICE
    assert inner == [NICE]  # what a thread starts has its priority
    assert nice() == before


def test_what_a_function_raises_is_raised_to_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        LowThreads().call(lambda: 1 // 0)
    with pytest.raises(SystemExit):
        LowThreads().call(sys.exit)


def low_threads() -> int:
    return sum(thread.name == "embedge-low" for thread in threading.enumerate())


def wait_for(count: int) -> None:
    end = time.monotonic() + 30
    while low_threads() != count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_thread_stays_for_the_next_call_and_ends_with_its_owner() -> None:
    wait_for(0)
    threads = LowThreads()
    assert threads.call(threading.get_ident) == threads.call(threading.get_ident)
    assert low_threads() == 1
    # Calls side by side have one each.
    both = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        idents = list(pool.map(threads.call, [partial(meet, both)] * 2))
    assert len(set(idents)) == 2
    threads.close()
    wait_for(0)
    assert threads.call(lambda: 1) == 1  # once more, after all
    del threads
    wait_for(0)


def meet(barrier: threading.Barrier) -> int:
    barrier.wait(30)
    return threading.get_ident()


def test_a_thread_that_waits_holds_nothing_of_what_it_did() -> None:
    class Held:
        pass

    threads, held = LowThreads(), Held()
    gone = weakref.ref(held)
    threads.call(partial(id, held))
    with pytest.raises(ValueError, match="no"):
        threads.call(partial(fail, held))
    del held
    assert gone() is None


def fail(held: object) -> None:
    raise ValueError("no")


def test_where_no_thread_can_be_started_the_work_is_done_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert LowThreads().call(threading.get_ident) == threading.get_ident()


def test_where_the_system_forbids_it_the_work_is_done_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse, raising=False)
    assert LowThreads().call(lambda: 1) == 1


def test_vectors_are_the_same(pack: Path) -> None:
    texts = ["a", "bc def", "", "x " * 20]
    with Embedder(pack) as plain, Embedder(pack, background=True) as embedder:
        np.testing.assert_array_equal(embedder.encode(texts), plain.encode(texts))


def test_cancel_stops_a_run_in_the_background(pack: Path, tmp_path: Path) -> None:
    from embedge.engine.background import BackgroundSession
    from embedge.engine.session import OnnxSession

    slow_graph(tmp_path / "slow.onnx", turns=10**7)  # hours, if it were not stopped
    threads = LowThreads()
    opened = threads.call(lambda: OnnxSession(tmp_path / "slow.onnx", device="cpu", threads=2))
    session = BackgroundSession(opened, threads)
    cancel = threading.Event()
    threading.Timer(0.1, cancel.set).start()
    with pytest.raises(CancelledError):
        session.run(np.ones((1, 2), np.int64), np.ones((1, 2), np.int64), cancel=cancel)


@LINUX
def test_all_threads_of_the_network_are_of_low_priority(pack: Path) -> None:
    """In a fresh process: the threads that loading starts, and the one that was there."""
    code = f"""
import os
from pathlib import Path
from embedge import Embedder
def nice():
    found = {{}}
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found[int(task.name)] = int(fields[16])
    return found
embedder = Embedder({str(pack)!r}, threads=3, background=True)
before = nice()
embedder.load()
after = nice()
print(after[os.getpid()], *(after[thread] for thread in after.keys() - before.keys()))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own, *others = map(int, run.stdout.split())
    assert own == os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert others.count(NICE) >= 2  # three threads of a run: the caller's, and two of the pool
    assert set(others) == {NICE}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_use_it(pack: Path) -> None:
    code = f"""
import os, sys
from embedge import Embedder
embedder = Embedder({str(pack)!r}, background=True, threads=1)
expected = embedder.encode("a").tolist()
if os.fork() == 0:
    os._exit(0 if embedder.encode("a").tolist() == expected else 1)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    run = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.run(run, check=False, timeout=60).returncode == 0


def test_a_program_may_end_while_a_daemon_thread_runs_in_the_background(tmp_path: Path) -> None:
    slow_graph(tmp_path / "slow.onnx", turns=10**7)
    code = f"""
import threading, time
from pathlib import Path
import numpy as np
from embedge.engine.background import BackgroundSession
from embedge.engine.session import OnnxSession
from embedge.machine.priority import LowThreads
graph = Path({str(tmp_path / "slow.onnx")!r})
session = BackgroundSession(OnnxSession(graph, device="cpu", threads=1), LowThreads())
ids = np.ones((1, 2), np.int64)
threading.Thread(target=session.run, args=(ids, ids), daemon=True).start()
time.sleep(0.3)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
