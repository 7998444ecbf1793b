"""A server as a process: started, waited for, its memory watched, ended."""

import contextlib
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.server.contenders import Contender, usable_port, variables

START = 300.0  # seconds that a server may take to be ready
STOP = 90.0
EVERY = 0.2  # seconds between two looks at the memory
KIB_PER_MIB = 1024


@dataclass
class Running:
    """A server that takes requests."""

    contender: Contender
    port: int
    process: "subprocess.Popen[bytes]"
    seconds_to_ready: float
    idle: float = 0.0  # MiB resident, before it had anything to do
    peak: float = 0.0
    _done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Notes the largest resident memory, until the block ends."""
        while not self._done.wait(EVERY):
            self.peak = max(self.peak, self.memory())

    def memory(self) -> float:
        """MiB resident now, of the process and those that it started."""
        return sum(map(_resident, _family(self.process.pid)))

    def end(self) -> tuple[int, float]:
        """Sends SIGTERM; the exit code, and how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP)
        return code, time.monotonic() - began


@contextlib.contextmanager
def started(contender: Contender, *, threads: int, log: Path) -> Iterator[Running]:
    """A server that takes requests; ended with the block.

    Raises:
        RuntimeError: it did not start.
    """
    port = usable_port()
    began = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            contender.command(port),
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=variables(threads),
        )
    try:
        _wait(contender, port, process, began, log)
        running = Running(contender, port, process, time.monotonic() - began)
        running.idle = running.peak = running.memory()
        thread = threading.Thread(target=running.watch)
        thread.start()
        try:
            yield running
        finally:
            running._done.set()
            thread.join()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(
    contender: Contender, port: int, process: "subprocess.Popen[bytes]", began: float, log: Path
) -> None:
    while time.monotonic() - began < START:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{contender.ready}", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    last = log.read_text(errors="replace").splitlines()[-3:]
    raise RuntimeError(f"{contender.name} did not start: {' / '.join(last)}")


def _family(pid: int) -> list[int]:
    """A process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    with contextlib.suppress(OSError):
        return [
            pid,
            *(one for child in children.read_text().split() for one in _family(int(child))),
        ]
    return [pid]


def _resident(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / KIB_PER_MIB
    return 0.0
