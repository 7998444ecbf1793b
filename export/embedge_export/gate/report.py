"""What the gate says of a precision: figures, the bars that are missed, and sentences of both.

Takes figures of graphs (compare.py), gives plain numbers for the manifest. A precision that misses
its bar does not pass, and the runtime does not choose it by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from embedge.errors import GateError
from embedge.pack.verification import IMAGE_TOWER, Bars, Figures, Report
from embedge_export.precision import Precision

WORST = 8  # linears that a report names
TIE_SHARE = 0.5  # of how far bfloat16 moves a tie, a precision may move it


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """How one task's graph compares; cosines and differences of vectors of length 1."""

    cosine_min: float
    cosine_mean: float
    difference_max: float
    rank_correlation: float  # Spearman's, of all similarities between the texts
    batch_difference: float  # largest difference between a text alone and in a padded batch
    finite: bool
    losses: Mapping[str, float] = field(default_factory=dict)  # of each linear, on sample rows
    cosines: tuple[float, ...] = ()  # of each text
    # Of ties (probe.py): the cosine that noise of bfloat16's size leaves them.
    bfloat16: Mapping[int, float] = field(default_factory=dict)
    finer: tuple[str, ...] = ()  # linears that had to be kept in a finer form
    floats: tuple[str, ...] = ()  # those of them that had to be kept in float32
    before: tuple[float, ...] = ()  # cosine_min of the tries with fewer of them, latest first
    finer_bytes: int = 0  # what they add to the pack's files

    def failures(self, precision: Precision) -> list[str]:
        """The bars that are missed, as sentences; empty if it passes."""
        found = []
        if not self.finite:
            return ["it gave NaN or infinity"]
        if low := self.low(precision):
            found.append(f"cosine {min(low):.6f} < {precision.minimum_cosine}")
        limit = precision.largest_difference
        if limit is not None and self.difference_max > limit:
            found.append(f"difference {self.difference_max:.1e} > {limit:.0e}")
        if self.batch_difference > precision.batch_difference:
            found.append(
                f"a text in a batch differs by {self.batch_difference:.1e} from it alone, "
                f"more than {precision.batch_difference:.0e}"
            )
        return found

    def low(self, precision: Precision) -> list[float]:
        """Cosines of the texts that miss their bar."""
        return [c for text, c in enumerate(self.cosines) if c < self._bar(text, precision)]

    def _bar(self, text: int, precision: Precision) -> float:
        """The least cosine that a text may have.

        The vector of a tie hangs on the last digits of every weight, and bfloat16 alone moves it
        far. It may move half as far as that.
        """
        least = precision.minimum_cosine
        if text not in self.bfloat16:
            return least
        return min(least, 1 - TIE_SHARE * (1 - self.bfloat16[text]))


def report(
    precision: Precision, tasks: dict[str, TaskReport], texts: int, image: TaskReport | None = None
) -> Report:
    """The manifest's entry for a precision; `image` is that of the image tower, if there is one."""
    judged = tasks if image is None else {**tasks, IMAGE_TOWER: image}
    failures = {
        name: tuple(found) for name, r in judged.items() if (found := r.failures(precision))
    }
    return Report(
        passed=not failures,
        failures=failures,
        bars=Bars(
            cosine_min=precision.minimum_cosine,
            difference_max=precision.largest_difference,
            batch_difference=precision.batch_difference,
        ),
        texts=texts,
        tasks={task: _figures(r) for task, r in tasks.items()},
        image=None if image is None else _figures(image),
    )


def _figures(report: TaskReport) -> Figures:
    worst = sorted(report.losses.items(), key=lambda item: -item[1])[:WORST]
    ties = {str(text): (report.cosines[text], cosine) for text, cosine in report.bfloat16.items()}
    figures = Figures(
        cosine_min=report.cosine_min,
        cosine_mean=report.cosine_mean,
        difference_max=report.difference_max,
        rank_correlation=report.rank_correlation,
        batch_difference=report.batch_difference,
        worst_linears=dict(worst) or None,
        ties=ties or None,
    )
    if not report.finer:
        return figures
    return replace(
        figures,
        finer=report.finer,
        float32=report.floats,
        cosine_min_before=report.before,
        finer_bytes=report.finer_bytes,
        linears=len(report.losses),
    )


def refuse_failures(reports: Mapping[str, Report]) -> None:
    """Makes sure that all passed, by the precisions' manifest entries.

    Raises:
        GateError: one did not; the sentence names every bar that was missed.
    """
    failures = [
        f"{precision}, {name if name == IMAGE_TOWER else f'task {name}'}: {'; '.join(found)}"
        for precision, entry in reports.items()
        for name, found in entry.failures.items()
    ]
    if failures:
        raise GateError(
            f"{' | '.join(failures)}. The graphs were not kept; export another precision, or pass "
            "--accept-failures to keep them marked as failed"
        )
