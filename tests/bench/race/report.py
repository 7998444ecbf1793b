"""Results as Markdown tables: what is written and printed, and nothing that measures."""

from collections.abc import Mapping, Sequence

import numpy as np

from bench.race.bars import BARS, SUBJECT, Bar, conclusion, rates, verdict
from bench.race.compete import Result
from bench.race.work import Work

NOTHING = "-"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column to the left, figures to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def speed_table(results: Mapping[str, Result], works: Sequence[Work], digits: int = 0) -> str:
    """Tokens a second, best (median), with so many decimal digits."""
    rows = []
    for name, result in _present(results):
        cells = [name]
        for work in works:
            found = rates(result, work)
            told = f"{found[0]:,.{digits}f} ({found[1]:,.{digits}f})" if found else NOTHING
            cells.append(told)
        rows.append(cells)
    return markdown(["", *(work.name for work in works)], rows)


def stream_table(results: Mapping[str, Result], works: Sequence[Work]) -> str:
    """Texts and real tokens a second, best (median), a column pair each stream."""
    head = [""]
    for work in works:
        told = f"{len(work.lengths)} {work.name}, {work.tokens:,} tokens"
        head += [f"{told}: texts/s", "tokens/s"]
    rows = []
    for name, result in _present(results):
        cells = [name]
        for work in works:
            found = rates(result, work)
            if found is None:
                cells += [NOTHING, NOTHING]
                continue
            mean = work.tokens / len(work.lengths)  # tokens of a text
            cells.append(f"{found[0] / mean:,.1f} ({found[1] / mean:,.1f})")
            cells.append(f"{found[0]:,.0f} ({found[1]:,.0f})")
        rows.append(cells)
    return markdown(head, rows)


def latency_table(results: Mapping[str, Result], works: Sequence[Work]) -> str:
    """Milliseconds of one short text: p50 / p95."""
    rows = []
    for name, result in _present(results):
        cells = [name]
        for work in works:
            found = latency(result, work)
            cells.append(NOTHING if found is None else f"{found[0]:,.1f} / {found[1]:,.1f}")
        rows.append(cells)
    return markdown(["", *(f"{work.lengths[0]} tokens" for work in works)], rows)


def latency(result: Result, work: Work) -> tuple[float, float] | None:
    """p50 and p95 of all runs, in milliseconds; None: no run."""
    times = result.times.get(work.name)
    if result.failure or not times:
        return None
    middle, late = np.percentile(np.array(times) * 1000, [50, 95])
    return float(middle), float(late)


def start_table(results: Mapping[str, Result]) -> str:
    """What each took to start, what it held in the end, and how near its vectors are."""
    head = ["", "load s", "first s", "peak MiB", "anonymous MiB", "of files MiB", "lowest cosine"]
    rows = []
    for name, result in _present(results):
        memory = [
            f"{result.memory.get(k, float('nan')):,.0f}" for k in ("peak", "anonymous", "file")
        ]
        times = [f"{result.load:.1f}", f"{result.first:.2f}"]
        rows.append([name, *times, *memory, f"{result.cosine:.4f}"])
    return markdown(head, rows)


def bars_table(results: Mapping[str, Result], works: Sequence[Work]) -> str:
    """Each bar: ratio of the bests (of the medians) at every piece of work, then the verdict."""
    rows = []
    for bar in BARS:
        verdicts = [verdict(results, bar, work) for work in works]
        cells = [
            NOTHING if one is None else f"{one.best:.2f} ({one.median:.2f})" for one in verdicts
        ]
        rows.append([f"{bar.least:g} x {bar.peer}", *cells, conclusion(bar, verdicts)])
    return markdown(["embedge int8", *(work.name for work in works), "verdict"], rows)


def budgets_table(results: Mapping[str, Result], works: Sequence[Work]) -> str:
    """embedge's default budget against others that raced: ratios; empty if there is none."""
    rows = []
    for name in results:
        if name.startswith(f"{SUBJECT} budget "):
            found = [verdict(results, Bar(name, (name,), 1.0), work) for work in works]
            cells = [
                NOTHING if one is None else f"{one.best:.2f} ({one.median:.2f})" for one in found
            ]
            rows.append([name.removeprefix(f"{SUBJECT} "), *cells])
    return markdown(["default over", *(work.name for work in works)], rows) if rows else ""


def left_out(results: Mapping[str, Result], absent: Mapping[str, str]) -> str:
    """A line for everything that has no figure, with the reason; empty if there is nothing."""
    lines = [f"- {name} is left out: {reason}." for name, reason in absent.items()]
    for name, result in results.items():
        if result.failure:
            lines.append(f"- {name} failed: {result.failure}.")
            continue
        lines += [f"- {name}, {work}: {reason}." for work, reason in result.skipped.items()]
    return "\n".join(lines)


def _present(results: Mapping[str, Result]) -> list[tuple[str, Result]]:
    return [(name, result) for name, result in results.items() if not result.failure]
