"""Children that are forked while a thread of their parent holds a lock."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedge.fork_locks import ForkLock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
FORK = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads
def child_ends(work, seconds=20):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    end = time.monotonic() + seconds
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, 9)
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])
"""


def run(code: str, *arguments: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", FORK + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_locks() -> None:
    lock = ForkLock()
    with lock:
        assert lock._lock.locked()
    assert not lock._lock.locked()


def test_a_child_forked_within_the_block_leaves_it() -> None:
    code = """
from embedge.fork_locks import ForkLock
lock = ForkLock()
def work():
    pass
with lock:
    child = os.fork()
if child == 0:
    with lock:
        os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_embeds_though_it_was_forked_while_its_parent_loaded(pack: Path) -> None:
    code = """
from embedge import Embedder, sessions
embedder = Embedder(sys.argv[1])
embedder.count_tokens("a")
real, opening, go_on = sessions.open_session, threading.Event(), threading.Event()
def slow(*arguments, **options):
    opening.set()
    go_on.wait()
    return real(*arguments, **options)
sessions.open_session = slow
thread = threading.Thread(target=lambda: embedder.encode("a"))
thread.start()
opening.wait()
def work():
    sessions.open_session = real
    embedder.encode("a")
    embedder.close()
code = child_ends(work)
go_on.set()
thread.join()
sys.exit(code)
"""
    done = run(code, pack)
    assert (done.returncode, done.stderr) == (0, "")
