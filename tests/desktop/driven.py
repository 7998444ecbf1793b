"""The example's window on a screen of its own (Xvfb), driven by real key presses (xdotool)."""

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0  # seconds; the machine may be busy
NEEDED = ("Xvfb", "xdotool")
GRAB = """
import sys
from PySide6.QtWidgets import QApplication
application = QApplication([])
picture = application.primaryScreen().grabWindow(0, *map(int, sys.argv[2:]))
sys.exit(0 if picture.save(sys.argv[1]) else "no picture")
"""


def missing_programs() -> str:
    """A sentence on what has to be installed first; empty where nothing is missing."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if not missing:
        return ""
    return (
        f"{' and '.join(missing)} missing; install with: apt-get install xvfb xdotool libegl1 "
        "libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libgl1"
    )


@contextlib.contextmanager
def screen() -> Iterator[str]:
    """A display without a window manager, 1280 x 900; gives its name."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        # -noreset: else it begins again, and refuses all, each time that the last window closes.
        [
            *("Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x900x24"),
            *("-nolisten", "tcp", "-noreset"),
        ],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as stream:
            yield f":{stream.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


class Driven:
    """The running program.

    Args:
        display: where its window stands.
        data: the folder of its settings and indexes.
        arguments: of its command line.
        path: folder of programs that it finds before the system's.
        program: its command line begins with this.
    """

    def __init__(
        self,
        display: str,
        data: Path,
        *arguments: str | Path,
        path: Path | None = None,
        program: Sequence[str | Path] = (sys.executable, ROOT / "examples/desktop"),
    ):
        self._environment = {**os.environ, "DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
        if path is not None:
            self._environment["PATH"] = f"{path}{os.pathsep}{os.environ['PATH']}"
        self.process = subprocess.Popen(
            [*map(str, program), "--data", str(data), "--verbose", *map(str, arguments)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        self.lines: list[str] = []  # all that it printed
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.window = self._find()

    def __enter__(self) -> "Driven":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # a frozen file runs as two processes
        self.process.wait()
        self._reader.join()
        wrong = [line for line in self.lines if "Traceback" in line or "Error calling" in line]
        assert kind is not None or not wrong, self.lines  # Qt goes on after an exception

    def type(self, text: str) -> None:
        """Types into the window."""
        self.tool("type", "--delay", "40", text)

    def press(self, *keys: str) -> None:
        """Presses keys, as xdotool names them: "Return", "ctrl+q"."""
        self.tool("key", "--delay", "60", *keys)

    def wait_for(self, pattern: str, seconds: float = PATIENCE) -> str:
        """The next line that it prints which has the pattern; all before it are left."""
        end = time.monotonic() + seconds
        seen = []
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                seen.append(self._lines.get(timeout=left))
                if re.search(pattern, seen[-1]):
                    return seen[-1]
        raise AssertionError(f"no {pattern!r} among {seen}")

    def picture(self, place: Path, area: tuple[int, int, int, int] = (0, 0, 760, 560)) -> Path:
        """A picture of the screen, by default of the window."""
        command = [sys.executable, "-c", GRAB, str(place), *map(str, area)]
        subprocess.run(command, env=self._environment, check=True, capture_output=True)
        return place

    def cpu_seconds(self) -> float:
        """What it used of the CPU so far, all threads."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """MiB of memory."""
        found = re.search(r"VmRSS:\s+(\d+) kB", self._proc("status"))
        assert found is not None
        return int(found[1]) / 1024

    def tool(self, *arguments: str) -> str:
        """Runs xdotool; its output."""
        done = subprocess.run(
            ["xdotool", *arguments],
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def _find(self) -> str:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(subprocess.CalledProcessError):
                found = self.tool("search", "--onlyvisible", "--name", "^Desk Search$").split()
                if found:
                    self.tool("windowfocus", "--sync", found[0])
                    return found[0]
            time.sleep(0.1)
        raise AssertionError(f"no window: {self.lines}")

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))
                self._lines.put(self.lines[-1])
