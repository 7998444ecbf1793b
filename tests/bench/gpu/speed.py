"""Shapes, one run of a network each: embedge's fp16 against torch (SDPA) in bf16 and fp16.

Takes contenders and pieces of work; gives times, and cosines to torch in float32. A contender is
alone on the device, since each keeps what memory it once took: in every round all of them come in
turn, a fresh process each, and go through all shapes. A shape that does not fit is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.machine import facts
from bench.race.bars import rates
from bench.race.compete import WORKER, Result, Worker, cosine
from bench.race.peers import Contender
from bench.race.report import NOTHING, markdown
from bench.race.work import Work

OURS, PEERS, TRUTH = "embedge fp16", ("torch bf16", "torch fp16"), "torch fp32"
NO_MEMORY = ("llocate", "bad_alloc", "out of memory", "no memory")


@dataclass
class Figures:
    """What the contenders showed.

    Attributes:
        results: of each.
        vectors: of the first text or image of each piece of work, by contender and work.
    """

    results: dict[str, Result] = field(default_factory=dict)
    vectors: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def cosine(self, name: str, work: Work) -> float | None:
        """A contender's to the truth's; None where one of them has no vector."""
        pair = [self.vectors.get(one, {}).get(work.name) for one in (name, TRUTH)]
        if pair[0] is None or pair[1] is None:
            return None
        return cosine(np.array(pair[0]), np.array(pair[1]))


def measure(
    contenders: Sequence[Contender],
    works: Sequence[Work],
    *,
    vocabulary: int,
    seconds: float,
    rounds: int,
    program: Sequence[str] = WORKER,
) -> Figures:
    """All rounds.

    Args:
        contenders: in the order of their turns; the truth runs everything once, in the first round.
        works: in their order.
        vocabulary: rows of the model's table.
        seconds: of each turn.
        rounds: how many.
        program: what each contender's Python runs.
    """
    figures = Figures()
    for number in range(rounds):
        for contender in contenders:
            if contender.name == TRUTH and number:
                continue
            result = figures.results.setdefault(contender.name, Result())
            turn = 0.0 if contender.name == TRUTH else seconds
            vectors = figures.vectors.setdefault(contender.name, {})
            try:
                _go_through(contender, works, vocabulary, turn, program, result, vectors)
            except RuntimeError as error:
                result.failure = str(error)
    return figures


def _go_through(
    contender: Contender,
    works: Sequence[Work],
    vocabulary: int,
    seconds: float,
    program: Sequence[str],
    result: Result,
    vectors: dict[str, list[float]],
) -> None:
    worker = Worker(contender, facts.usable_cores(), vocabulary, program)
    try:
        result.versions = worker.ready["versions"]
        for work in works:
            answer = worker.ask(work=work.name, seconds=seconds)
            if "error" in answer:
                result.skipped[work.name] = answer["error"]
                result.times.pop(work.name, None)
            elif work.name not in result.skipped:
                times = answer["times"]
                # The first run of a shape pays for its buffers.
                result.times.setdefault(work.name, []).extend(times[1:] or times)
                vectors[work.name] = answer["vector"]
    finally:
        worker.close()


def table(figures: Figures, works: Sequence[Work], *, unit: str, digits: int = 0) -> str:
    """A second, best (median), the ratio of the bests to torch's better one, and our cosine.

    Args:
        figures: what the contenders showed.
        works: the rows.
        unit: what a work's name counts, for the head.
        digits: of a rate.
    """
    rows = []
    for work in works:
        row, best = [work.name], {}
        for name in (OURS, *PEERS):
            result = figures.results.get(name, Result(failure="not run"))
            found = rates(result, work)
            if found is not None:
                row.append(f"{found[0]:,.{digits}f} ({found[1]:,.{digits}f})")
                best[name] = found[0]
            elif any(word in result.skipped.get(work.name, "") for word in NO_MEMORY):
                row.append("no memory")
            else:
                row.append(NOTHING)
        others = [best[name] for name in PEERS if name in best]
        row.append(f"{best[OURS] / max(others):.2f}" if OURS in best and others else NOTHING)
        close = figures.cosine(OURS, work)
        row.append(NOTHING if close is None else f"{close:.6f}")
        rows.append(row)
    return markdown([unit, OURS, *PEERS, "ratio to torch's better", f"cosine to {TRUTH}"], rows)


def versions(figures: Mapping[str, Result]) -> dict[str, str]:
    """Of all packages that took part."""
    return {name: number for one in figures.values() for name, number in one.versions.items()}
