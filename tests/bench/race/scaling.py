"""How embedge itself grows: with threads, and with the length of texts.

Takes a contender, gives figures and tables. Every thread count is a process of its own, as threads
are chosen when a session is opened.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bench.race.compete import Worker
from bench.race.peers import Contender
from bench.race.report import NOTHING, markdown
from bench.race.work import parse

TEXTS = 1000  # that a cost is told for
TOKENS = 4096  # of one call, so that a plan has something to choose from
# Beyond, one text is measured: more would take as much longer and say no more.
LONGEST_OF_MANY = 2048


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4, ... and all cores."""
    counts = []
    count = 1
    while count < cores:
        counts.append(count)
        count *= 2
    return [*counts, cores]


def over_threads(
    contender: Contender,
    *,
    vocabulary: int,
    shapes: Sequence[str],
    counts: Sequence[int],
    seconds: float,
    rounds: int,
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each run, by thread count and shape; the counts take turns."""
    times: dict[str, dict[str, list[float]]] = {str(count): {} for count in counts}
    workers: dict[int, Worker] = {}
    try:
        for count in counts:
            workers[count] = Worker(contender, count, vocabulary)
        for shape in shapes:
            for turn in range(rounds):
                for count, worker in workers.items():
                    answer = worker.ask(work=shape, seconds=seconds)
                    new = answer.get("times", [])
                    new = new[1:] if turn == 0 and len(new) > 1 else new
                    times[str(count)].setdefault(shape, []).extend(new)
                print(
                    f"  threads, {shape} round {turn + 1} of {rounds}", file=sys.stderr, flush=True
                )
    finally:
        for worker in workers.values():
            worker.close()
    return times


def threads_table(times: Mapping[str, Mapping[str, list[float]]], shapes: Sequence[str]) -> str:
    """Tokens a second, best (median), a row each thread count."""
    rows = []
    for count, by_shape in times.items():
        cells = [count]
        for shape in shapes:
            taken, tokens = by_shape.get(shape), parse(shape).tokens
            cells.append(
                f"{tokens / min(taken):,.0f} ({tokens / statistics.median(taken):,.0f})"
                if taken
                else NOTHING
            )
        rows.append(cells)
    return markdown(["threads", *shapes], rows)


def over_lengths(
    contender: Contender,
    *,
    vocabulary: int,
    threads: int,
    lengths: Sequence[int],
    limit: int,
    seconds: float,
    longest: float,
) -> list[dict[str, Any]]:
    """One entry a length, shortest first: texts of a call, seconds for one text, or why not.

    Args:
        contender: which.
        vocabulary: rows of the model's table.
        threads: of each run.
        lengths: tokens of a text.
        limit: tokens that a text of this model may have.
        seconds: spent on each length.
        longest: seconds that a single run may take; a length that would take more is skipped.
    """
    worker = Worker(contender, threads, vocabulary)
    found: list[dict[str, Any]] = []
    points: list[tuple[int, float]] = []  # (length, seconds of one text)
    try:
        for length in sorted(lengths):
            texts = max(1, TOKENS // length) if length <= LONGEST_OF_MANY else 1
            entry: dict[str, Any] = {"length": length, "texts": texts}
            found.append(entry)
            if length > limit:
                entry["skipped"] = f"the model takes {limit:,} tokens"
                continue
            expected = texts * predict(points, length)
            if expected > longest:
                entry["skipped"] = f"one run would take some {expected:,.0f} s"
                continue
            answer = worker.ask(work=f"{texts}x{length}", seconds=seconds)
            if "error" in answer:
                entry["skipped"] = answer["error"]
                continue
            entry["seconds"] = min(answer["times"]) / texts
            points.append((length, entry["seconds"]))
            print(f"  length {length}", file=sys.stderr, flush=True)
    except RuntimeError as error:  # it died, for lack of memory most likely
        found[-1]["skipped"] = str(error)
    finally:
        worker.close()
    return found


def predict(points: Sequence[tuple[int, float]], length: int) -> float:
    """Seconds of one text, from the last two (length, seconds): a n + b n^2, attention's share b.

    0 where nothing is known. b is never taken as negative: short texts are dearer by the token.
    """
    if not points:
        return 0.0
    n, t = points[-1]
    slope, bend = t / n, 0.0
    if len(points) > 1:
        m, s = points[-2]
        bend = max(0.0, (t / n - s / m) / (n - m))
        slope = t / n - bend * n
    return slope * length + bend * length**2


def lengths_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Seconds for 1,000 texts of each length."""
    rows = []
    for entry in found:
        seconds = entry.get("seconds")
        told = entry.get("skipped", "")
        if seconds is not None and entry["texts"] == 1 and entry["length"] > LONGEST_OF_MANY:
            told = "from one text (n = 1)"
        rows.append(
            [
                f"{entry['length']:,}",
                NOTHING if seconds is None else f"{TEXTS * seconds:,.1f}",
                NOTHING if seconds is None else f"{entry['length'] / seconds:,.0f}",
                told,
            ]
        )
    return markdown(["tokens of a text", "s per 1,000 texts", "tokens/s", ""], rows)
