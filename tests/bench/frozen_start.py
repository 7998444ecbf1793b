"""`make bench-frozen`: from the start of a frozen sidecar to its first vector, again and again.

Of each program, in turns: seconds by the clock until `pipe` has answered a request that was waiting
for it, CPU seconds of the whole process with the programs it starts, and its largest memory. Files
are in the system's cache after the first round, which is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine.facts import machine, sentence
from bench.race.report import markdown

SUFFIX = ".exe" if sys.platform == "win32" else ""
PROGRAMS = [f"dist/sidecar/sidecar{SUFFIX}", f"dist/one-file/sidecar{SUFFIX}"]
REQUEST = b'{"id": 1, "texts": ["how do I renew my passport?"]}\n'


@dataclass(frozen=True)
class Start:
    """What one start took."""

    first: float  # seconds by the clock until the first vector
    processor: float  # CPU seconds of all its threads and processes, its end included
    peak: int  # bytes of the largest process


def start(program: str) -> Start:
    """Runs `PROGRAM pipe`, asks for one vector, and lets it end."""
    began = time.perf_counter()
    command = [str(Path(program).resolve()), "pipe"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(REQUEST)
        process.stdin.flush()
        answers = map(json.loads, process.stdout)
        answer: dict[str, Any] = next((answer for answer in answers if answer.get("id") == 1), {})
        first = time.perf_counter() - began
        process.stdin.close()
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or "embeddings" not in answer:
        raise RuntimeError(f"{program}: exit code {process.returncode}, answer {answer}")
    return Start(first, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def measure(programs: Iterable[str], rounds: int) -> dict[str, list[Start]]:
    """So many starts of each program, in turns, after one that is not counted."""
    found: dict[str, list[Start]] = {program: [] for program in programs}
    for number in range(rounds + 1):
        for program, starts in found.items():
            taken = start(program)
            if number:
                starts.append(taken)
    return found


def table(found: dict[str, list[Start]]) -> str:
    """A row for each program."""
    rows = []
    for program, starts in found.items():
        first = sorted(one.first for one in starts)
        rows.append(
            [
                program,
                f"{statistics.median(first):.2f} ({first[0]:.2f} to {first[-1]:.2f})",
                f"{statistics.median(one.processor for one in starts):.2f}",
                f"{max(one.peak for one in starts) / 2**20:,.0f}",
            ]
        )
    head = ["", "first vector, s: median (least to most)", "CPU, s: median", "MiB at most"]
    return markdown(head, rows)


def main() -> None:
    """Measures, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", nargs="*", default=PROGRAMS, help="default: of make freeze")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    here = machine()
    found = measure(options.programs, options.rounds)
    print(sentence(here, here["usable_cores"], {}))
    print(table(found))


if __name__ == "__main__":
    main()
