"""`make bench-callers`: the memory that a limit leaves to many threads which call one embedder.

Each reading is of a fresh process with the bundled pack: threads that call at the same time, each
with a few long texts, twice. Beside the peak over what the loaded networks hold, it tells how much
of the CPU time was the system's, which is where memory that is taken anew shows. Linux only.

python -m bench.memory.callers   # all readings, as a table; --reading LIMIT THREADS TASKS for one
"""

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench import places
from bench.machine import facts
from bench.race.report import markdown

TEXTS, TOKENS, CALLS = 4, 1000, 2  # of each thread
MIB = 2**20
COLUMNS = ("peak", "left", "after close", "tokens/s", "user s", "system s")


def resident(name: str = "VmRSS") -> float:
    """A reading of this process's memory, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def reading(limit: str, threads: int, tasks: int) -> dict[str, float]:
    """Embeds in this process, and says what it took beside the loaded networks."""
    from embedge import Embedder

    text = "rain " * (TOKENS - 2)
    embedder = Embedder(memory_limit=limit, token_budget=TEXTS * 2 * TOKENS)
    called = embedder.tasks[:tasks]
    for task in called:
        embedder.encode(["warm"], task=task)
    base, used, start = resident(), resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()

    def call(task: str) -> None:
        for _ in range(CALLS):
            embedder.encode([text] * TEXTS, task=task)

    callers = [
        threading.Thread(target=call, args=(called[number % tasks],)) for number in range(threads)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    seconds = time.perf_counter() - start
    now = resource.getrusage(resource.RUSAGE_SELF)
    peak, left = resident("VmHWM") - base, resident() - base
    embedder.close()
    answers = (
        *(peak, left, resident() - base),
        threads * CALLS * TEXTS * TOKENS / seconds,
        *(now.ru_utime - used.ru_utime, now.ru_stime - used.ru_stime),
    )
    return dict(zip(COLUMNS, answers, strict=True))


def main() -> None:
    """Measures one reading, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", default="150MB", help="memory_limit")
    parser.add_argument("--reading", nargs=3, metavar=("LIMIT", "THREADS", "TASKS"))
    options = parser.parse_args()
    if options.reading is not None:
        limit, threads, tasks = options.reading
        print(json.dumps(reading(limit, int(threads), int(tasks))))
        return
    rows = []
    for threads, tasks in ((1, 1), (16, 1), (16, 4)):
        arguments = (options.limit, str(threads), str(tasks))
        done = subprocess.run(
            [sys.executable, "-m", "bench.memory.callers", "--reading", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=places.environment(),
        )
        answer = json.loads(done.stdout)
        figures = [f"{answer[name]:,.1f}" for name in COLUMNS]
        rows.append([str(threads), str(tasks), *figures])
    here = facts.machine()
    print(f"{here['cpu']}, {here['usable_cores']} cores, load {here['load']}, {here['date']}\n")
    print(markdown(["threads", "tasks", *COLUMNS], rows))


if __name__ == "__main__":
    main()
