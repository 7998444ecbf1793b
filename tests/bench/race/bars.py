"""The bars that embedge's int8 is held to, and whether a run met them.

Takes results, gives verdicts; a benchmark's bars are told, never enforced. A bar names a peer by
all of its settings: at each piece of work the quickest of them counts.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.race.compete import Result
from bench.race.work import Work

SUBJECT = "embedge int8"


@dataclass(frozen=True, slots=True)
class Bar:
    """At least so many times a peer's speed, everywhere."""

    peer: str
    settings: tuple[str, ...]  # names of contenders
    least: float


BARS = (
    Bar("OpenVINO int8", ("OpenVINO int8 f32", "OpenVINO int8 bf16"), 1.15),
    Bar("torch bf16", ("torch bf16",), 2.0),
    Bar("Optimum int8", ("Optimum int8",), 1.2),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bar at one piece of work."""

    work: str
    best: float  # the subject's best rate over the peer's best
    median: float  # the subject's median rate over the peer's median
    met: bool  # both ratios reach the bar: neither one lucky run nor a busy minute decides alone


def rates(result: Result, work: Work) -> tuple[float, float] | None:
    """Tokens a second, padding not counted: of the best run and of the median one; None: no run."""
    times = result.times.get(work.name)
    if result.failure or not times:
        return None
    return work.tokens / min(times), work.tokens / statistics.median(times)


def verdict(results: Mapping[str, Result], bar: Bar, work: Work) -> Verdict | None:
    """None where the subject or every setting of the peer has no figure."""
    subject = rates(results[SUBJECT], work) if SUBJECT in results else None
    peers = [
        found
        for name in bar.settings
        if name in results and (found := rates(results[name], work)) is not None
    ]
    if subject is None or not peers:
        return None
    best = subject[0] / max(peer[0] for peer in peers)
    median = subject[1] / max(peer[1] for peer in peers)
    return Verdict(work.name, best, median, met=min(best, median) >= bar.least)


def conclusion(bar: Bar, verdicts: Sequence[Verdict | None]) -> str:
    """Of one bar over all work: met, missed (and where), or not measured."""
    measured = [one for one in verdicts if one is not None]
    if not measured:
        return "not measured"
    missed = [one.work for one in measured if not one.met]
    lowest = min(measured, key=lambda one: min(one.best, one.median))
    told = f"lowest {lowest.best:.2f} ({lowest.median:.2f}) at {lowest.work}"
    unmeasured = len(verdicts) - len(measured)
    told += f"; {unmeasured} not measured" if unmeasured else ""
    if missed:
        return f"**missed** at {', '.join(missed)}; {told}"
    return f"**met**{' where measured' if unmeasured else ''}; {told}"
