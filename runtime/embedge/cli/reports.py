"""The export's report for people: the gate as a table, and the linears that lose the most.

Takes the manifest's `verification`, which is a file's content and may hold anything: what is not as
an export writes it is left out. Gives rows of a table, and lines.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embedge.cli import screen

WORST = 5  # linears shown of each precision


def gate_rows(verification: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The report as a table: a row for each precision and task, a column for each number."""
    columns = ("cosine_min", "cosine_mean", "rank_correlation", "batch_difference")
    rows: list[tuple[str, ...]] = [
        ("precision", "task", "gate", *(column.replace("_", " ") for column in columns))
    ]
    for precision, report in verification.items():
        failures = report.get("failures", {})
        for task, numbers in report.get("tasks", {}).items():
            missed = "; ".join(failures.get(task, ()))
            cells = [f"{numbers[c]:.6g}" if c in numbers else "" for c in columns]
            rows.append((precision, task, f"MISSED: {missed}" if missed else "passed", *cells))
    return rows


def loss_rows(verification: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A table of the linears whose products change most; empty where no report tells of any.

    Of several tasks, a linear's largest loss counts.
    """
    rows = []
    for precision, report in verification.items():
        worst: dict[str, tuple[float, str, bool]] = {}
        for task, figures in _tasks(report):
            kept = _names(figures.get("finer"))
            for name, loss in _numbers(figures.get("worst_linears")):
                worst[name] = max(worst.get(name, (0.0, "", False)), (loss, task, name in kept))
        for name, (loss, task, finer) in sorted(worst.items(), key=lambda x: -x[1][0])[:WORST]:
            note = "kept finer, so it loses far less" if finer else ""
            rows.append((precision, name, f"{100 * loss:.3g} %", task, note))
    if not rows:
        return []
    return [("precision", "linear", "of its mean square", "task", ""), *rows]


def finer_lines(verification: Mapping[str, Any]) -> Iterator[str]:
    """A line for each task whose worst linears had to be kept finer: which, why, at what cost."""
    for precision, report in verification.items():
        for task, figures in _tasks(report):
            names = _names(figures.get("finer"))
            before = figures.get("cosine_min_before")
            numbers = [*(before if isinstance(before, list) else ())][-1:]
            numbers += [figures.get("finer_bytes"), figures.get("linears")]
            sound = len(numbers) == 3 and all(isinstance(x, int | float) for x in numbers)
            if not names or not sound:
                continue
            cosine, size, linears = numbers
            floats = _names(figures.get("float32"))
            yield (
                f"{precision}, {task}: {len(names)} of {linears} linears kept finer, because the "
                f"least cosine was {cosine:.6f} without; this adds {screen.size_text(size)} and "
                f"{2 * len(names)} products: {', '.join(_by_layer(names))}"
                + (f"; in float32: {', '.join(_by_layer(floats))}" if floats else "")
            )


def _by_layer(names: Sequence[str]) -> list[str]:
    """Names of linears, those of one layer in one word: "layers.3 (7)"."""
    layers = Counter(".".join(name.split(".")[:2]) for name in names)
    return [
        f"{layer} ({count})" if count > 1 else next(n for n in names if n.startswith(layer))
        for layer, count in layers.items()
    ]


def _tasks(report: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    tasks = report.get("tasks") if isinstance(report, Mapping) else None
    for task, figures in tasks.items() if isinstance(tasks, Mapping) else ():
        if isinstance(figures, Mapping):
            yield task, figures


def _names(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _numbers(value: object) -> Iterator[tuple[str, float]]:
    for name, number in value.items() if isinstance(value, Mapping) else ():
        if isinstance(number, float):
            yield name, number
