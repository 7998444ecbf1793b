"""SIGTERM and SIGHUP end a command as Ctrl-C does: nothing half-written stays."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from embedge.cli.interrupt import Stopped, stops

# Embeds until it is stopped; says so once there is something to clean up.
CODE = """
import signal, sys
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background jobs
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
from support.fakes import FakeEmbedder
from embedge.cli import arguments, main

class Slow(FakeEmbedder):
    def encode(self, texts, *, cancel=None, **options):
        if cancel is not None:
            print("ready", flush=True)
            cancel.wait(30)
        return super().encode(texts, **options)

arguments.open_embedder = lambda options: Slow()
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("out", ["o.jsonl", "o.npy"])
def test_it_leaves_what_was_there_and_its_own_exit_code(tmp_path, name, out):
    (tmp_path / "t.txt").write_text("a\n")
    (tmp_path / out).write_text("before")
    arguments = ["embed", str(tmp_path / "t.txt"), "--out", str(tmp_path / out)]
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(Path(__file__).parents[1]), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert len(list(tmp_path.iterdir())) == 4  # with a part of each output
    number = getattr(signal, name)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors == f"embedge: {'interrupted' if name == 'SIGINT' else f'stopped ({name})'}\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == [out, "t.txt"]
    assert (tmp_path / out).read_text() == "before"


@pytest.fixture
def defaults():
    """The signals as a program starts with them."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_only_the_first_signal_interrupts_and_all_is_put_back(defaults):
    with stops():
        with pytest.raises(Stopped) as caught:
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # while the first one is cleaned up after
        signal.raise_signal(signal.SIGHUP)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_nohup_and_the_hosts_own_handlers_are_left_alone(defaults):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    seen = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    with stops():
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM]


def test_outside_the_main_thread_it_does_nothing(defaults):
    def work() -> None:
        with stops():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen: list[object] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
