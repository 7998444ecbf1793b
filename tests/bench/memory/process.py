"""One fresh process of `make bench-memory`: opens a pack, loads tasks, embeds one text with each.

python -m bench.memory.process PACK PREPARED TASK...   # PREPARED: a folder, or "-"; prints JSON
"""

import dataclasses
import json
import sys
import time

from bench.machine import smaps

TEXT = "Which planet is known as the Red Planet?"


def main() -> None:
    """Measures in the order in which a program would meet the costs."""
    pack, prepared, *tasks = sys.argv[1:]
    start = time.perf_counter()
    from embedge import Embedder

    imported = time.perf_counter()
    embedder = Embedder(pack, prepared=None if prepared == "-" else prepared)
    for task in tasks:
        embedder.load(task)
    loaded = time.perf_counter()
    after_load = smaps.read()
    before_first = time.perf_counter()
    embedder.encode([TEXT], task=tasks[0])
    first = time.perf_counter()
    for task in tasks[1:]:
        embedder.encode([TEXT], task=task)
    from bench.race.worker import versions  # it brings NumPy, which is part of what embedge costs

    answer = {
        "import": imported - start,
        "load": loaded - imported,
        "first": first - before_first,
        "after_load": dataclasses.asdict(after_load),
        "memory": dataclasses.asdict(smaps.read()),
        "precision": embedder.precision,
        "threads": embedder.threads,
        "versions": versions(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
