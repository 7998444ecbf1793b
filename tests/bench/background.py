"""`make bench-background`: a person's query beside a job that embeds texts, in one process.

Three ways take turns: no job, a job of an ordinary `Embedder`, and one of `background=True`. Of
each: milliseconds of a query of another embedder, and the job's texts a second. The job embeds
texts of one length again and again; a query comes every tenth of a second.
"""

import argparse
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.machine import facts
from bench.race.report import markdown
from bench.race.worker import versions
from embedge import CancelledError, Embedder

QUERY = "where do I renew my passport before the summer?"
PAUSE = 0.1  # seconds between two queries
WAYS = {"none": None, "ordinary": False, "background=True": True}


@dataclass
class Seen:
    """Of one way: seconds of the queries, and the job's texts and seconds."""

    queries: list[float] = field(default_factory=list)
    texts: int = 0
    seconds: float = 0.0


class Job:
    """Embeds texts in a thread of its own until it is left."""

    def __init__(self, embedder: Embedder | None, texts: list[str], seen: Seen) -> None:
        self._embedder, self._texts, self._seen = embedder, texts, seen
        self._cancel = threading.Event()
        self._done = 0
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> None:
        self._began = time.perf_counter()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._cancel.set()
        self._seen.seconds += time.perf_counter() - self._began
        self._thread.join()
        self._seen.texts += self._done

    def _work(self) -> None:
        if self._embedder is None:
            return
        total = 0
        while not self._cancel.is_set():
            try:
                self._embedder.encode(self._texts, progress=self._count(total), cancel=self._cancel)
            except CancelledError:
                return
            total += len(self._texts)

    def _count(self, before: int) -> Callable[[int, int], None]:
        def progress(done: int, _: int) -> None:
            self._done = before + done

        return progress


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", type=Path, nargs="?", help="folder of a pack")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a way in a round")
    parser.add_argument("--words", type=int, default=150, help="of a text of the job")
    options = parser.parse_args()
    dice = np.random.default_rng(0)
    texts = [" ".join(dice.choice(QUERY.split(), options.words)) for _ in range(256)]
    seen = {name: Seen() for name in WAYS}
    with Embedder(options.pack) as asked:
        asked.encode_query(QUERY)
        print(facts.sentence(facts.machine(), asked.threads, versions()) + ".\n")
        jobs = {
            name: None if low is None else Embedder(options.pack, background=low)
            for name, low in WAYS.items()
        }
        for job in jobs.values():
            if job is not None:
                job.load()
        for _ in range(options.rounds):
            for name, job in jobs.items():
                with Job(job, texts, seen[name]):
                    end = time.perf_counter() + options.seconds
                    while time.perf_counter() < end:
                        time.sleep(PAUSE)
                        began = time.perf_counter()
                        asked.encode_query(QUERY)
                        seen[name].queries.append(time.perf_counter() - began)
    rows = []
    for name, one in seen.items():
        middle, slow, worst = np.percentile(np.array(one.queries) * 1e3, [50, 95, 100])
        rate = f"{one.texts / one.seconds:,.0f}" if one.texts else "-"
        rows.append([name, f"{middle:.1f}", f"{slow:.1f}", f"{worst:.1f}", rate])
    header = ["job", "a query, ms: median", "95th percentile", "slowest", "texts a second"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
