"""Settings that take turns in one process, and how they compare where other programs run as well.

Takes functions, gives their seconds by the clock and by the CPU (user and system, of all threads).
Each round has every setting once, in another order, so that what else the machine does hits all
alike; ratios within a round hold where the seconds themselves do not.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Times:
    """Seconds of one setting, one number a round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def take_turns(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Calls each once a round, in another order each round; the first round does not count."""
    order, times = list(runs), {name: Times() for name in runs}
    shuffled = random.Random(0)
    for number in range(rounds + 1):
        shuffled.shuffle(order)
        for name in order:
            wall, cpu = time.perf_counter(), time.process_time()
            runs[name]()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if number:
                times[name].wall.append(wall)
                times[name].cpu.append(cpu)
    return times


def speedups(base: Times, one: Times) -> tuple[float, float, float]:
    """How many times as fast as `base`: in the median round, in its best, and by CPU time."""
    pairs = zip(base.wall, one.wall, base.cpu, one.cpu, strict=True)
    ratios = [(wall / our_wall, cpu / our_cpu) for wall, our_wall, cpu, our_cpu in pairs]
    by_clock, by_cpu = zip(*ratios, strict=True)
    return (
        statistics.median(by_clock),
        min(base.wall) / min(one.wall),
        statistics.median(by_cpu),
    )
