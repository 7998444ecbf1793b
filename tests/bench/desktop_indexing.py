"""What a person notices while examples/desktop/ indexes: how long a search takes, and memory.

Takes a folder of texts; indexes it without a window, in a process of its own, and asks ten times a
second meanwhile. Prints JSON for `bench.desktop`.
"""

import json
import queue
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.machine.smaps import read
from desk_search.program import Program
from desk_search.state import Phase, State

PAUSE = 0.1  # seconds between two questions


class NoWatch:
    """In place of what says that files change."""

    def __init__(self, folders: Sequence[Path], changed: Callable[[], None]) -> None:
        self.missed: list[Path] = []

    def close(self) -> None:
        """Nothing to end."""


def main() -> None:
    """Prints seconds of the searches, and MiB before, at most, and after."""
    states: queue.SimpleQueue[State] = queue.SimpleQueue()
    seconds: list[float] = []
    peak = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        program = Program(Path(temporary), states.put, NoWatch)
        ask(program, states, "ready")
        before = read().resident
        program.add_folder(Path(sys.argv[1]))
        begin = time.perf_counter()
        while not is_done(program.state):
            seconds.append(ask(program, states, f"how to open a file, number {len(seconds)}"))
            peak = max(peak, read().resident)
            time.sleep(PAUSE)
        taken = time.perf_counter() - begin
        time.sleep(1)
        after, passages = read().resident, program.state.passages
        program.close()
    found = {"seconds": seconds, "taken": taken, "passages": passages}
    print(json.dumps({**found, "memory": [before, peak, after]}))


def ask(program: Program, states: "queue.SimpleQueue[State]", query: str) -> float:
    """Seconds until the answer is there."""
    begin = time.perf_counter()
    program.ask(query)
    while states.get(timeout=60).answered != query:
        pass
    return time.perf_counter() - begin


def is_done(state: State) -> bool:
    """Whether all is indexed."""
    return state.compared and state.phase is Phase.IDLE and state.passages > 0


if __name__ == "__main__":
    main()
