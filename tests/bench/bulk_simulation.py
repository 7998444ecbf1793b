"""How long a job of `embedge bulk` takes on many machines, some slow, some that fail: a simulation.

The seconds of a part are drawn from measured ones (`window_seconds.json`, or the parts of a run of
your own: `--run FOLDER`), a drawn share of the machines is slow, and each fails now and then: the
part at hand is lost, and after a while the machine goes on. Static shards (`--shard I/N`) go on
where they were, on the same machine; where there are more shards than processes, a process that is
done takes the next, as in an array job. A queue gives every part to one that is free, as Ray does.
Prints the makespan over the ideal one (all work shared out without rest, loss or slow machines):
the mean of the trials, and the worst. Seeded: the same numbers come out each time.

    PYTHONPATH=tests .venv/bin/python -m bench.bulk_simulation --rows 1000000000
"""

import argparse
import heapq
import json
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

WINDOW = 8192  # rows that a measured time is for
MEASURED = Path(__file__).with_name("window_seconds.json")
STRETCH = 1_000_000  # rows whose lengths are alike
DAY = 86_400.0
HORIZON = 20  # ideal makespans for which failures are drawn
Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The processes that do the work.

    Attributes:
        speeds: of each; 1 is that of the machine that was measured.
        failures: of each, the seconds at which its machine fails, ascending.
        start: seconds that a process takes before its first part.
        restart: seconds after a failure until the machine is there again.
    """

    speeds: Sequence[float]
    failures: Sequence[Sequence[float]]
    start: float = 0.0
    restart: float = 0.0


def makespan(shards: Sequence[Sequence[float]], fleet: Fleet, *, queue: bool = False) -> float:
    """Seconds until the last part is done.

    >>> pair = Fleet(speeds=[1.0, 0.5], failures=[[], []])
    >>> parts = [1.0] * 10
    >>> makespan([parts[:5], parts[5:]], pair)  # the slow one takes two seconds a part
    10.0
    >>> makespan([[part] for part in parts], pair, queue=True)
    7.0

    Args:
        shards: the seconds of each part of each, at speed 1. A process that is free takes the next.
        fleet: who does it.
        queue: the shards are single parts, which a process takes without starting again, and
            which another one does if it fails.
    """
    waiting = deque((shard, 0) for shard in range(len(shards)) if shards[shard])
    at_hand: list[tuple[int, int] | None] = [None] * len(fleet.speeds)  # shard, and its part
    failures = [deque(times) for times in fleet.failures]
    idle: list[int] = []
    # Time, process, whether it fails then. A process that fails is there again later.
    events = [(fleet.start if queue else 0.0, process, False) for process in range(len(at_hand))]
    heapq.heapify(events)
    last = 0.0
    while events:
        now, process, fails = heapq.heappop(events)
        held = at_hand[process]
        if fails:
            again = now + fleet.restart + fleet.start
            heapq.heappush(events, (again, process, False))
            if queue and held is not None:
                waiting.appendleft(held)
                at_hand[process] = None
                if idle:
                    heapq.heappush(events, (now, idle.pop(), False))
            continue
        if held is None:
            if not waiting:
                idle.append(process)
                continue
            held = at_hand[process] = waiting.popleft()
            if not queue:
                now += fleet.start
        shard, part = held
        end = now + shards[shard][part] / fleet.speeds[process]
        coming = failures[process]
        while coming and coming[0] <= now:
            coming.popleft()
        if coming and coming[0] < end:
            heapq.heappush(events, (coming[0], process, True))
            continue
        last = max(last, end)
        at_hand[process] = (shard, part + 1) if part + 1 < len(shards[shard]) else None
        heapq.heappush(events, (end, process, False))
    return last


def part_seconds(
    measured: Seconds, rows: int, rows_per_part: int, chance: Generator, *, drift: float = 0.0
) -> Seconds:
    """The seconds of each part: the sum of drawn ones for its windows.

    Args:
        measured: of a window of `WINDOW` rows.
        rows: of all parts.
        rows_per_part: of all but the last.
        chance: draws.
        drift: standard deviation of the logarithm of a factor that each stretch of a million rows
            has, for a data set whose texts are longer in some places than in others.
    """
    per_part = max(1, math.ceil(rows_per_part / WINDOW))
    count = math.ceil(rows / rows_per_part)
    sizes = np.full(count, rows_per_part, float)
    sizes[-1] = rows - (count - 1) * rows_per_part
    drawn = chance.choice(measured, (count, per_part)).mean(axis=1)
    factors = np.exp(drift * chance.standard_normal(rows // STRETCH + 1) - drift**2 / 2)
    return np.asarray(drawn * sizes / WINDOW * factors[np.arange(count) * rows_per_part // STRETCH])


def shards_of(parts: Seconds, count: int) -> list[list[float]]:
    """Parts that follow each other, in so many groups, as `--shard I/N` has them."""
    ends = [index * len(parts) // count for index in range(count + 1)]
    return [parts[start:end].tolist() for start, end in pairwise(ends)]


@dataclass(frozen=True, slots=True)
class Odds:
    """What may go wrong.

    Attributes:
        slow: share of the machines that are slow.
        speed: of a slow one.
        failures: of a machine in a day.
    """

    slow: float
    speed: float
    failures: float

    def fleet(
        self, machines: int, processes: int, ideal: float, chance: Generator, **seconds: float
    ) -> Fleet:
        """Machines as they are drawn, each with so many processes that fail together."""
        speeds: list[float] = []
        failures: list[list[float]] = []
        for _ in range(machines):
            speed = self.speed if chance.random() < self.slow else 1.0
            expected = self.failures * HORIZON * ideal / DAY
            times = np.sort(chance.random(chance.poisson(expected))) * HORIZON * ideal
            speeds += [speed] * processes
            failures += [times.tolist()] * processes
        return Fleet(speeds, failures, **seconds)


def run_seconds(folder: Path) -> list[float]:
    """Of each part of a run but the first and the last: from the part before to this one.

    Takes the times of the files, so the run must have been one process without a stop.
    """
    times = [path.stat().st_mtime for path in sorted((folder / "parts").glob("*.parquet"))[:-1]]
    return [round(later - earlier, 3) for earlier, later in pairwise(times)]


def main() -> None:
    """Simulates; prints Markdown."""
    options = _options()
    if options.run:
        seconds = run_seconds(options.run)
        if options.save:
            options.save.write_text(json.dumps({"rows": WINDOW, "seconds": seconds}) + "\n")
    else:
        seconds = json.loads(options.timings.read_text())["seconds"]
    measured = np.array(seconds) * options.scale
    print(
        f"{options.rows:,} rows; {len(measured)} measured windows of {WINDOW} rows: mean "
        f"{measured.mean():.2f} s, median {np.median(measured):.2f}, longest {measured.max():.2f}\n"
    )
    sizes = options.part_rows
    print(f"| machines | ideal | work in | {' | '.join(f'{size:,} rows' for size in sizes)} |")
    print(f"|---:|---:|---|{'---:|' * len(sizes)}")
    for machines in options.machines:
        for line in lines(options, machines, measured):
            print(line, flush=True)


def lines(options: argparse.Namespace, machines: int, measured: Seconds) -> Iterator[str]:
    """A line for each way of sharing out."""
    processes = machines * options.processes
    expected = options.rows / WINDOW * float(measured.mean()) / processes
    odds = Odds(options.slow, options.slow_speed, options.failures)
    for shards in [*(each * processes for each in options.shards), 0]:
        cells = []
        for size in options.part_rows:
            found = []
            for trial in range(options.trials):
                # The same machines for every way and size.
                chance = np.random.default_rng([options.seed, trial, machines])
                fleet = odds.fleet(
                    machines,
                    options.processes,
                    expected,
                    chance,
                    start=options.start,
                    restart=options.restart,
                )
                parts = part_seconds(measured, options.rows, size, chance, drift=options.drift)
                ideal = parts.sum() / processes
                work = shards_of(parts + options.fixed, shards or len(parts))
                found.append(makespan(work, fleet, queue=not shards) / ideal)
            cells.append(f"{np.mean(found):.2f} ({max(found):.2f})")
        label = f"{shards:,} shards" if shards else "a queue of parts"
        yield f"| {machines} | {shown(expected)} | {label} | {' | '.join(cells)} |"


def shown(seconds: float) -> str:
    """Hours, minutes or seconds, whichever reads best.

    >>> shown(90), shown(5400), shown(20)
    ('1.5 min', '1.5 h', '20 s')
    """
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000_000)
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--processes", type=int, default=64, help="of a machine (default: 64)")
    parser.add_argument("--part-rows", type=int, nargs="+", default=[2048, 8192, 32_768])
    parser.add_argument(
        "--shards", type=int, nargs="+", default=[1, 8], help="of a process (default: 1 8)"
    )
    parser.add_argument("--slow", type=float, default=0.05, help="share of the machines")
    parser.add_argument("--slow-speed", type=float, default=0.5, help="of a slow machine")
    parser.add_argument("--failures", type=float, default=1.0, help="of a machine in a day")
    parser.add_argument("--restart", type=float, default=300.0, help="seconds after a failure")
    parser.add_argument("--start", type=float, default=2.0, help="seconds of a process")
    parser.add_argument("--fixed", type=float, default=0.02, help="seconds of a part's file")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all seconds")
    parser.add_argument(
        "--drift", type=float, default=0.0, help="how unlike the lengths are along the rows, as 0.5"
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timings", type=Path, default=MEASURED, help="measured seconds")
    parser.add_argument("--run", type=Path, help="take them from the parts of this run")
    parser.add_argument("--save", type=Path, help="write what --run has there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
