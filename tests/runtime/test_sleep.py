"""A laptop sleeps, or a process is stopped and goes on: nothing is cut short for it.

Linux's monotonic clock stands still while the computer sleeps and goes on while a process is
stopped; that of Windows goes on in both. So a stopped process stands for both here.
"""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from embedge.search import timed

PATIENCE = 60.0  # seconds
ASLEEP = 1.5  # seconds
STOPS = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no SIGSTOP")


def stream(of: IO[str] | None) -> IO[str]:
    assert of is not None
    return of


def sleep(process: subprocess.Popen[str]) -> None:
    """Stops a process for a while."""
    process.send_signal(signal.SIGSTOP)
    time.sleep(ASLEEP)
    process.send_signal(signal.SIGCONT)


# The time that a document may take.


class Clock:
    """Seconds that jump when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real = time.monotonic
        monkeypatch.setattr(timed.time, "monotonic", lambda: real() + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_document_is_read_to_its_end_though_the_computer_slept(clock: Clock) -> None:
    looks = []

    def check() -> None:
        looks.append(1)
        if len(looks) == 2:
            clock.ahead = 8 * 3600.0

    read = threading.Event()
    assert timed.run_within(5.0, lambda: finish(read, 0.3), check)
    assert read.is_set()


def test_and_it_still_may_not_take_for_ever(clock: Clock) -> None:
    def check() -> None:
        clock.ahead += 0.2  # a poll that takes as long as any on a busy machine

    stop = threading.Event()
    begin = time.perf_counter()
    assert not timed.run_within(1.0, lambda: until(stop.is_set), check)
    assert time.perf_counter() - begin < 10


def finish(done: threading.Event, seconds: float) -> None:
    time.sleep(seconds)
    done.set()


def until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.01)


# Processes.


@STOPS
def test_a_request_of_pipe_is_answered_after_a_sleep(pack: Path) -> None:
    command = [sys.executable, "-m", "embedge", "pipe", "-p", str(pack)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        stream(process.stdout).readline()
        print('{"id": 1, "texts": ["one"]}', file=process.stdin, flush=True)
        sleep(process)
        assert json.loads(stream(process.stdout).readline())["id"] == 1
        print('{"id": 2, "texts": ["two"]}', file=process.stdin, flush=True)
        assert json.loads(stream(process.stdout).readline())["id"] == 2
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0


@STOPS
def test_a_request_of_serve_is_answered_after_a_sleep(pack: Path) -> None:
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "embedge", "serve", str(pack), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            url = json.loads(stream(process.stdout).readline())["url"]
            port = int(url.rsplit(":", 1)[1].strip("/"))
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            with contextlib.closing(connection) as kept:
                wait_until_ready(kept)
                for number in range(2):
                    kept.request("POST", "/v1/embeddings", json.dumps({"input": f"text {number}"}))
                    if number == 0:
                        sleep(process)
                    response = kept.getresponse()
                    assert response.status == 200
                    assert len(json.load(response)["data"]) == 1
        finally:
            process.terminate()
            process.wait(PATIENCE)


def wait_until_ready(server: http.client.HTTPConnection) -> None:
    end = time.monotonic() + PATIENCE
    status = 0
    while status != 200:
        assert time.monotonic() < end
        server.request("GET", "/health")
        response = server.getresponse()
        response.read()
        status = response.status


@STOPS
def test_an_index_is_whole_after_a_sleep_in_the_middle_of_its_update(
    pack: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(80):
        text = "\n\n".join(f"{number} {part} " * 100 for part in range(5))
        (folder / f"{number}.txt").write_text(text)
    code = f"""
import warnings
warnings.simplefilter("ignore")
from embedge import Embedder, SearchIndex
place = {str(tmp_path / "index.sqlite")!r}
with Embedder({str(pack)!r}) as embedder, SearchIndex(place, embedder) as index:
    print("begun", flush=True)
    print(index.update({str(folder)!r}).added, index.count())
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert stream(process.stdout).readline() == "begun\n"
        time.sleep(0.1)
        sleep(process)
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert out.startswith("80 (80, ")
