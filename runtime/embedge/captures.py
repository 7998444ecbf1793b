"""When a run of one short text is captured as a CUDA graph, and whether it may be.

Counts the runs of each task and padded length. One that comes again and again is captured, in the
background, if the memory limit has room for a second copy of the weights; its first vector is
compared with that of the ordinary run, to the last bit, and only then does it take over. Whatever
fails, the ordinary run goes on, and the reason is kept. Knows no text; runs nothing itself.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.choice import Choice
from embedge.engine.providers.provider import CapturedRuns
from embedge.fork_locks import ForkLock
from embedge.reasons import one_line

USES = 8  # of a task and a length, before its run is captured

Vectors = NDArray[np.float32]


class _Task:
    """The captured runs of one task."""

    def __init__(self) -> None:
        self.uses: Counter[int] = Counter()
        self.graphs: CapturedRuns | None = None
        self.asked: set[int] = set()  # lengths whose capture began
        self.ready: set[int] = set()  # captured, and not compared yet
        self.trusted: set[int] = set()  # captured and compared
        self.problem = ""  # why there are none, from then on


class Captures:
    """Captured runs of all tasks of an embedder. Safe between threads.

    Args:
        lengths: padded lengths of one text whose runs may be captured; none on a CPU.
        open_graphs: gives the captured runs of a task, none captured yet.
        take: takes so many bytes of the GPU's memory from the runs' for a task, for good; gives
            why there is no room, or None.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        open_graphs: Callable[[str], CapturedRuns],
        take: Callable[[str], str | None],
    ) -> None:
        self._lengths = tuple(lengths)
        self._open_graphs = open_graphs
        self._take = take
        self._lock = ForkLock()  # guards all below
        self._tasks: dict[str, _Task] = {}
        self._closed = False

    def run(
        self, task: str, inputs: Sequence[NDArray[Any]], plain: Callable[[], Vectors]
    ) -> Vectors:
        """Vectors of a run, captured or not.

        Args:
            task: of the network.
            inputs: what it takes.
            plain: the ordinary run.
        """
        shape = inputs[0].shape
        if len(inputs) != 2 or shape[0] != 1 or shape[1] not in self._lengths:
            return plain()
        length = shape[1]
        with self._lock:
            state = self._tasks.setdefault(task, _Task())
            graphs, trusted, ready = state.graphs, length in state.trusted, length in state.ready
            if not (trusted or ready or state.problem or self._closed):
                self._count(task, state, length)
        if graphs is None or not (trusted or ready):
            return plain()
        try:
            captured = graphs.run(*inputs)
        except Exception as error:  # ONNX Runtime's errors have no common base
            self._give_up(state, f"a captured run failed: {one_line(error)}")
            return plain()
        if captured is None:
            return plain()
        if trusted:
            return captured
        expected = plain()
        if np.array_equal(captured, expected):
            with self._lock:
                state.trusted.add(length)
        else:
            self._give_up(state, f"the captured run of {length} tokens gave other vectors")
        return expected

    def choice(self) -> Choice[str]:
        """The tasks and lengths whose runs are captured now, and why not others."""
        with self._lock:
            found = [
                f"{name}: {', '.join(map(str, sorted(state.trusted)))}"
                for name, state in self._tasks.items()
                if state.trusted
            ]
            problems = dict.fromkeys(s.problem for s in self._tasks.values() if s.problem)
        reason = "; ".join(problems) or f"one text of a length is captured after {USES} runs"
        return Choice("; ".join(found) or "none", reason)

    def close(self) -> None:
        """Lets go of all captured runs; with no run under way."""
        with self._lock:
            self._closed = True
            held = [state.graphs for state in self._tasks.values() if state.graphs is not None]
            self._tasks.clear()
        for graphs in held:
            graphs.close()

    def _count(self, task: str, state: _Task, length: int) -> None:
        """Notes a run, and begins to capture it once there were enough; with the lock held."""
        state.uses[length] += 1
        if state.uses[length] < USES or length in state.asked:
            return
        state.asked.add(length)
        if state.graphs is None:
            if problem := self._take(task):
                state.problem = problem
                return
            state.graphs = self._open_graphs(task)
        thread = threading.Thread(
            target=self._capture, args=(state, state.graphs, length), name="embedge-capture"
        )
        try:
            thread.start()
        except RuntimeError:  # no threads: the program ends, or a limit
            state.problem = "no thread could be started for it"

    def _capture(self, state: _Task, graphs: CapturedRuns, length: int) -> None:
        try:
            graphs.capture(length)
        except Exception as error:
            self._give_up(state, one_line(error))
            return
        with self._lock:
            state.ready.add(length)

    def _give_up(self, state: _Task, problem: str) -> None:
        with self._lock:
            state.problem = state.problem or problem
            state.ready.clear()
            state.trusted.clear()
