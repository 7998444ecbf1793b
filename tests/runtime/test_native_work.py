"""Work of ONNX Runtime at the interpreter's end, and in forked children."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from embedge.engine import native_work as module
from embedge.engine.native_work import native_work
from support.slow_graph import slow_graph
from support.tiny import IMAGE, write_pack

START = """
import os, sys, threading, time, warnings
import numpy as np
from embedge import Embedder
from embedge.engine.session import OnnxSession
IDS = np.full((1, 2), 2, np.int64), np.ones((1, 2), np.int64)
def slow(cancel=None):
    session.run(*IDS, cancel=cancel)
def load():
    OnnxSession(sys.argv[1], device="cpu", threads=1)
def in_daemon(work):
    started = threading.Event()
    def target():
        started.set()
        while True:
            work()
    threading.Thread(target=target, daemon=True).start()
    started.wait()
    time.sleep(0.1)
"""
SESSION = """
session = OnnxSession(sys.argv[1], device="cpu", threads=1)
"""


def run(code: str, *arguments: Path, session: bool = True) -> "subprocess.CompletedProcess[str]":
    code = START + (SESSION if session else "") + code
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slow") / "slow.onnx"
    slow_graph(path, turns=10**7)  # hours, if it were not stopped
    return path


@pytest.mark.parametrize(
    "work",
    ["slow()", "slow(threading.Event())", "load()"],
    ids=["run", "cancellable run", "load"],
)
def test_a_program_ends_while_a_daemon_thread_works(slow, work):
    done = run(f"in_daemon(lambda: {work})\nsys.exit(7)", slow, session=work != "load()")
    assert (done.returncode, done.stderr) == (7, "")


def test_a_program_ends_while_daemon_threads_embed_images(tmp_path):
    pack = write_pack(tmp_path / "pack", image=IMAGE)
    code = """
embedder = Embedder(sys.argv[1])
photos = [np.zeros((900, 900, 3), np.uint8)] * 50
in_daemon(lambda: embedder.encode_image(photos))
in_daemon(lambda: embedder.encode(["text"] * 500))
sys.exit(7)
"""
    done = run(code, pack, session=False)
    assert (done.returncode, done.stderr) == (7, "")


def test_a_thread_that_python_waits_for_embeds_all_its_images(tmp_path):
    pack = write_pack(tmp_path / "pack", image=IMAGE)
    code = """
embedder = Embedder(sys.argv[1])
embedder.load(tower="image")
def work():
    print(embedder.encode_image([np.zeros((1200, 1200, 3), np.uint8)] * 40).shape)
threading.Thread(target=work).start()
"""
    done = run(code, pack, session=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(40, 8)\n", "")


def test_the_host_may_embed_and_close_as_its_last_act(slow, tmp_path):
    """atexit calls what was registered first last: after our own wait for the daemon thread."""
    pack = write_pack(tmp_path / "pack")
    code = f"""
import atexit, sys
def last():
    print(embedder.encode("x", cancel=threading.Event()).shape)
    embedder.close()
atexit.register(last)
{START}{SESSION}
embedder = Embedder(sys.argv[2])
in_daemon(lambda: embedder.encode(["text"] * 100))
in_daemon(slow)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(slow), str(pack)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(8,)\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_cancel_is_heard_in_a_child_whose_parent_was_running(slow):
    code = """
from embedge.errors import CancelledError
warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads
in_daemon(lambda: slow(threading.Event()))
child = os.fork()
if child == 0:
    cancel = threading.Event()
    threading.Timer(0.1, cancel.set).start()
    try:
        OnnxSession(sys.argv[1], device="cpu", threads=1).run(*IDS, cancel=cancel)
    except CancelledError:
        os._exit(0)
    os._exit(1)
end = time.monotonic() + 20
while not (ended := os.waitpid(child, os.WNOHANG))[0]:
    if time.monotonic() > end:
        os.kill(child, 9)
    time.sleep(0.01)
sys.exit(os.waitstatus_to_exitcode(ended[1]))
"""
    done = run(code, slow)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def _ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the interpreter were ending in another thread."""
    monkeypatch.setattr(module, "_ender", -1)


@pytest.mark.usefixtures("_ending")
def test_nothing_begins_at_the_end():
    with pytest.raises(SystemExit), native_work():
        pytest.fail("it began")
    assert module._under_way == []


def test_what_fails_because_it_was_stopped_ends_its_thread(monkeypatch):
    def stopped() -> None:
        monkeypatch.setattr(module, "_ender", -1)
        raise RuntimeError("Exiting due to terminate flag being set to true.")

    with pytest.raises(SystemExit), native_work(SimpleNamespace(terminate=False)):
        stopped()
    assert module._under_way == []


def test_the_end_stops_what_runs_and_waits_only_so_long(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_AT_EXIT", 0.05)
    monkeypatch.setattr(module, "_ender", None)
    options = SimpleNamespace(terminate=False)
    with native_work(options), native_work():  # the second can't be stopped
        module._end()
    assert options.terminate


def test_without_a_further_thread_the_run_still_runs(monkeypatch):
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "_watched", False)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with native_work(SimpleNamespace(), threading.Event()):
        assert len(module._under_way) == 1
    assert not module._watched
