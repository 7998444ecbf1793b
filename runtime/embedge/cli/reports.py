"""A manifest for people: its languages, the gate as a table, and the linears that lose the most."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from embedge.pack.manifest import Manifest
from embedge.pack.verification import Report
from embedge.sizes import size_text

MOST_NAMED = 20  # languages
WORST = 5  # linears shown of each precision
COLUMNS = ("cosine_min", "cosine_mean", "rank_correlation", "batch_difference")


def languages_text(manifest: Manifest) -> str:
    """The languages that a pack is for, in a line."""
    several = manifest.languages
    if len(several) > MOST_NAMED:
        return f"{len(several)}: {', '.join(several[:MOST_NAMED])} …"
    return ", ".join(several) or "unknown"


def gate_rows(verification: Mapping[str, Report]) -> list[tuple[str, ...]]:
    """A row for each precision and task, a column for each number; the first row is the head."""
    head = ("precision", "task", "gate", *(column.replace("_", " ") for column in COLUMNS))
    rows: list[tuple[str, ...]] = [head]
    for precision, report in verification.items():
        for task, figures in report.tasks.items():
            missed = "; ".join(report.failures.get(task, ()))
            numbers = [getattr(figures, column) for column in COLUMNS]
            cells = ["" if number is None else f"{number:.6g}" for number in numbers]
            rows.append((precision, task, f"MISSED: {missed}" if missed else "passed", *cells))
    return rows


def loss_rows(verification: Mapping[str, Report]) -> list[tuple[str, ...]]:
    """A table of the linears whose products change most; empty where no report names any.

    Of several tasks, a linear's largest loss counts.
    """
    rows = []
    for precision, report in verification.items():
        worst: dict[str, tuple[float, str, bool]] = {}
        for task, figures in report.tasks.items():
            for name, loss in (figures.worst_linears or {}).items():
                finer = name in (figures.finer or ())
                worst[name] = max(worst.get(name, (0.0, "", False)), (loss, task, finer))
        for name, (loss, task, finer) in sorted(worst.items(), key=lambda x: -x[1][0])[:WORST]:
            note = "kept finer, so it loses far less" if finer else ""
            rows.append((precision, name, f"{100 * loss:.3g} %", task, note))
    if not rows:
        return []
    return [("precision", "linear", "of its mean square", "task", ""), *rows]


def finer_lines(verification: Mapping[str, Report]) -> Iterator[str]:
    """A line for each task whose worst linears had to be kept finer: which, why, at what cost."""
    for precision, report in verification.items():
        for task, figures in report.tasks.items():
            names, before = figures.finer, figures.cosine_min_before
            if not (names and before) or figures.finer_bytes is None or figures.linears is None:
                continue
            floats = figures.float32
            yield (
                f"{precision}, {task}: {len(names)} of {figures.linears} linears kept finer, "
                f"because the least cosine was {before[-1]:.6f} without; this adds "
                f"{size_text(figures.finer_bytes)} and {2 * len(names)} products: "
                f"{', '.join(_by_layer(names))}"
                + (f"; in float32: {', '.join(_by_layer(floats))}" if floats else "")
            )


def _by_layer(names: Sequence[str]) -> list[str]:
    """Names of linears, those of one layer in one word: "layers.3 (7)"."""
    layers = Counter(".".join(name.split(".")[:2]) for name in names)
    return [
        f"{layer} ({count})" if count > 1 else next(n for n in names if n.startswith(layer))
        for layer, count in layers.items()
    ]
