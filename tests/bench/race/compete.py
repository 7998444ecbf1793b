"""Contenders taking turns at the same work, so that whatever else a machine does hits all alike.

Takes contenders and pieces of work, gives a `Result` each. Knows nothing of how any of them runs
(worker.py) and of what is said about the figures (report.py).
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench import places
from bench.race.peers import Contender
from bench.race.work import Work, parse

WORKER = ("-m", "bench.race.worker")  # what Python is started with
# Whose vectors the others' are compared with: the first of them that takes part.
TRUTHS = ("torch fp32", "embedge fp32")


@dataclass
class Result:
    """What a contender showed."""

    load: float = float("nan")  # seconds, from process start-up's end to a session
    first: float = float("nan")  # seconds, for the first vector after that
    times: dict[str, list[float]] = field(default_factory=dict)  # work -> seconds of each run
    skipped: dict[str, str] = field(default_factory=dict)  # work -> why it has no times
    cosine: float = float("nan")  # lowest over all work, of its first vector to the truth's
    memory: dict[str, float] = field(default_factory=dict)  # MiB, see smaps.Memory
    versions: dict[str, str] = field(default_factory=dict)
    failure: str = ""  # it could not start, or died


class Worker:
    """A contender's process, which runs `program`.

    Raises:
        RuntimeError: it died; with its last words.
    """

    def __init__(
        self,
        contender: Contender,
        threads: int,
        vocabulary: int,
        program: Sequence[str] = WORKER,
    ) -> None:
        command = [contender.python, *program, contender.kind, contender.path, threads, vocabulary]
        self._words = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            env=places.environment(),
        )
        try:
            self.ready = self._answer()
        except RuntimeError:
            self.close()
            raise

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request, one answer, which may be {"error": ...}."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(self._last_words()) from None
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._words.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._words.seek(0)
        lines = self._words.read().strip().splitlines()
        return (lines[-1] if lines else f"exit code {code}")[:200]


class Race:
    """All contenders at once.

    Args:
        contenders: in the order of their turns.
        vocabulary: rows of the model's table.
        threads: of each.
        seconds: of each turn.
        longest: seconds that one run may take; work that would take longer is skipped.
        program: what each contender's Python runs.
    """

    def __init__(
        self,
        contenders: list[Contender],
        *,
        vocabulary: int,
        threads: int,
        seconds: float,
        longest: float,
        program: Sequence[str] = WORKER,
    ) -> None:
        self.results = {contender.name: Result() for contender in contenders}
        self._seconds, self._longest = seconds, longest
        self._workers: dict[str, Worker] = {}
        self._vectors: dict[str, dict[str, Any]] = {}  # work -> contender -> its first vector
        for contender in contenders:
            result = self.results[contender.name]
            try:
                worker = self._workers[contender.name] = Worker(
                    contender, threads, vocabulary, program
                )
            except RuntimeError as error:
                result.failure = str(error)
                continue
            result.load, result.first = worker.ready["load"], worker.ready["first"]
            result.versions = worker.ready["versions"]

    def run(self, work: Work, rounds: int) -> None:
        """Everyone takes `rounds` turns."""
        for turn in range(rounds):
            for name in list(self._workers):
                self._turn(name, work, first=turn == 0)
            print(f"  {work.name} round {turn + 1} of {rounds}", file=sys.stderr, flush=True)

    def finish(self) -> dict[str, Result]:
        """Reads everyone's memory, ends the processes, compares the vectors."""
        for name in list(self._workers):
            self.results[name].memory = self._ask(name, memory=True) or {}
            if name in self._workers:
                self._workers[name].close()
        for vectors in self._vectors.values():
            truth = next((vectors[name] for name in TRUTHS if name in vectors), None)
            for name, vector in vectors.items() if truth is not None else ():
                result = self.results[name]
                result.cosine = float(np.fmin(result.cosine, cosine(vector, truth)))
        return self.results

    def _turn(self, name: str, work: Work, *, first: bool) -> None:
        result = self.results[name]
        if work.name in result.skipped:
            return
        expected = expected_seconds(result.times, work)
        if expected > self._longest:
            result.skipped[work.name] = f"would take some {expected:,.0f} s"
            return
        answer = self._ask(name, work=work.name, seconds=self._seconds)
        if answer is None:
            return
        if "error" in answer:
            result.skipped[work.name] = answer["error"]
            result.times.pop(work.name, None)
            return
        times = answer["times"]
        # The first run of a shape pays for its buffers.
        result.times.setdefault(work.name, []).extend(
            times[1:] if first and len(times) > 1 else times
        )
        self._vectors.setdefault(work.name, {})[name] = np.array(answer["vector"])

    def _ask(self, name: str, **request: Any) -> dict[str, Any] | None:
        try:
            return self._workers[name].ask(**request)
        except RuntimeError as error:
            self.results[name].failure = str(error)
            self._workers.pop(name).close()
            return None


def expected_seconds(times: dict[str, list[float]], work: Work) -> float:
    """At the best rate that a contender showed so far; 0 without one, or if it did this work."""
    if not times or work.name in times:
        return 0.0
    return work.tokens * min(min(taken) / parse(name).tokens for name, taken in times.items())


def cosine(a: Any, b: Any) -> float:
    """Of two vectors."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
