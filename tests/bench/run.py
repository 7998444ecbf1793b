"""`make bench`: embedge and its peers on the same weights, threads and texts, interleaved.

Every contender is a process of its own (worker.py). For each shape they take turns, several
rounds of them, so that whatever else the machine does hits all alike; the best and the median of
each are told. Figures of different machines do not compare; ratios within one run do.
"""

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from peers import Contender, prepare

NAMES = ["embedge int8", "embedge fp32", "Optimum int8", "Optimum fp32", "torch fp32", "torch bf16"]
SHAPES = "1x16,1x32,1x128,1x512,4x128,16x64,1x2048"
WORKER = Path(__file__).with_name("worker.py")


@dataclass
class Result:
    """What a contender showed."""

    load: float = float("nan")  # seconds, from process start-up's end to a session
    first: float = float("nan")  # seconds, for the first vector after that
    times: dict[str, list[float]] = field(default_factory=dict)  # shape -> seconds of each run
    cosine: float = float("nan")  # of one vector, to the reference contender's
    memory: dict[str, float] = field(default_factory=dict)  # MiB
    versions: dict[str, str] = field(default_factory=dict)
    failure: str = ""


class Worker:
    """A contender's process."""

    def __init__(self, contender: Contender, threads: int, vocabulary: int) -> None:
        command = [contender.python, WORKER, contender.kind, contender.path, threads, vocabulary]
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.ready = self._answer()

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request, one answer; RuntimeError with its last words if it died."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, words = self._process.communicate()
            last = words.strip().splitlines()[-1:] or [f"exit code {self._process.returncode}"]
            raise RuntimeError(last[0][:200])
        answer: dict[str, Any] = json.loads(line)
        return answer


def compete(
    contenders: list[Contender],
    shapes: list[str],
    *,
    vocabulary: int,
    threads: int,
    rounds: int,
    seconds: float,
) -> dict[str, Result]:
    """Runs them all; one that fails is told so in its result and left out of later rounds."""
    results = {contender.name: Result() for contender in contenders}
    workers: dict[str, Worker] = {}
    vectors: dict[str, np.ndarray[Any, Any]] = {}

    def attempt(name: str, **request: Any) -> dict[str, Any] | None:
        try:
            return workers[name].ask(**request)
        except RuntimeError as error:
            results[name].failure = str(error)
            workers.pop(name).close()
            return None

    for contender in contenders:
        try:
            worker = workers[contender.name] = Worker(contender, threads, vocabulary)
        except RuntimeError as error:
            results[contender.name].failure = str(error)
            continue
        result = results[contender.name]
        result.load, result.first = worker.ready["load"], worker.ready["first"]
        result.versions = worker.ready["versions"]
    for shape in shapes:
        rows, length = map(int, shape.split("x"))
        for turn in range(rounds):
            for name in list(workers):
                answer = attempt(name, rows=rows, length=length, seconds=seconds)
                if answer is not None:
                    # The first run of a shape pays for its buffers.
                    times = (
                        answer["times"]
                        if turn or len(answer["times"]) == 1
                        else answer["times"][1:]
                    )
                    results[name].times.setdefault(shape, []).extend(times)
                    vectors[name] = np.array(answer["vector"])
            print(f"  {shape} round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    for name in list(workers):
        results[name].memory = attempt(name, memory=True) or {}
        if name in workers:
            workers[name].close()
    truth = vectors.get("torch fp32", vectors.get("embedge fp32"))
    for name, vector in vectors.items():
        if truth is not None:
            lengths = np.linalg.norm(vector) * np.linalg.norm(truth)
            results[name].cosine = float(vector @ truth / lengths)
    return results


def table(results: dict[str, Result], shapes: list[str]) -> str:
    """Markdown: tokens a second, best of all runs (median in brackets)."""
    head = ["", "load s", "first s", "peak MiB", "private MiB", "cosine", *shapes]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, result in results.items():
        cells = [name]
        if result.failure:
            lines.append(f"| {name} | failed: {result.failure} |" + " |" * (len(head) - 2))
            continue
        cells += [f"{result.load:.1f}", f"{result.first:.2f}"]
        cells += [f"{result.memory.get(key, float('nan')):,.0f}" for key in ("peak", "private")]
        cells.append(f"{result.cosine:.4f}")
        for shape in shapes:
            rows, length = map(int, shape.split("x"))
            rates = [rows * length / seconds for seconds in result.times[shape]]
            cells.append(f"{max(rates):,.0f} ({statistics.median(rates):,.0f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    facts = dict(
        (part.strip() for part in line.split(":", 1)) for line in info.splitlines() if ":" in line
    )
    flags = facts.get("flags", "").split()
    return {
        "cpu": facts.get("model name", platform.processor()),
        "family": facts.get("cpu family", ""),
        "model": facts.get("model", ""),
        "cores": info.count("processor\t") or None,
        "vnni": any("vnni" in flag for flag in flags),
        "avx512": "avx512f" in flags,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def main() -> None:
    """Prepares, measures, writes results.md and results.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a model folder (default: seeded, full size)")
    parser.add_argument("--shapes", default=SHAPES, help=f"texts x tokens (default: {SHAPES})")
    parser.add_argument("--peers", default=",".join(NAMES), help="of " + ", ".join(NAMES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where things are kept")
    options = parser.parse_args()
    here, shapes, wanted = machine(), options.shapes.split(","), options.peers.split(",")
    if unknown := set(wanted) - set(NAMES):
        parser.error(f"no such contender: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    contenders, vocabulary = prepare(options.out, options.model, wanted, vnni=here["vnni"])
    results = compete(
        contenders,
        shapes,
        vocabulary=vocabulary,
        threads=options.threads,
        rounds=options.rounds,
        seconds=options.seconds,
    )
    versions = {key: value for r in results.values() for key, value in r.versions.items()}
    title = (
        f"Tokens a second, best (median), {options.threads} threads, {here['cpu']} "
        f"({'with' if here['vnni'] else 'without'} VNNI), {here['date']}; "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    )
    text = f"{title}\n\n{table(results, shapes)}\n"
    (options.out / "results.md").write_text(text)
    record = {"machine": here, "threads": options.threads} | {
        name: vars(result) for name, result in results.items()
    }
    (options.out / "results.json").write_text(json.dumps(record, indent=1))
    print(text)


if __name__ == "__main__":
    main()
