"""Keeps parts of a graph finer, try after try, while its precision misses its bar.

First come the layers that ties and the worst texts hang on, at little cost. They follow from
arithmetic that has the same bits on every CPU (exact.py), and from a bar with a margin, so that two
machines take the same tries. The last tries cost much and always help: everything in two digits,
then in float32.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from embedge_export.gate.probe import Probe
from embedge_export.gate.report import TaskReport
from embedge_export.numbers.sensitivity import TABLE, between, fewest, layer_of, of_layers
from embedge_export.precision import Precision, Refinable

# Shares of what a bar leaves (1 - cosine) by which the layers that are kept as they are may move a
# text: one for each of the first tries.
_SHARES = (1 / 4, 1 / 16)
_WORST_TEXTS = 3
# A linear that loses more on sample rows (mean squares of a usual row's) is kept finer as well.
_LARGEST_LOSS = 0.02
# Where there is no truth to ask, so many of the linears that lose the most are kept finer.
_WORST_LINEARS = (4, 12)


def refine(
    precision: Precision,
    losses: Mapping[str, float],
    *,
    judge: Callable[[], TaskReport],
    write: Callable[[Precision], None],
    size: Callable[[], int],
    probe: Probe | None,
) -> TaskReport:
    """What the gate says of a graph in the end.

    Args:
        precision: as the graph was written first.
        losses: of each of its linears, if the precision can be made finer.
        judge: the gate's report of the graph as it stands.
        write: writes the graph again with a finer precision.
        size: bytes of its files.
        probe: the truth, where it can be asked which layers a text hangs on.
    """
    report = replace(judge(), losses=losses)
    if not isinstance(precision, Refinable) or not report.finite:
        return report
    ties = {} if probe is None else probe.ties(1 - precision.minimum_cosine)
    report = replace(report, bfloat16=ties)
    choice = _Choice(precision, losses, probe)
    before = size()

    def attempt(finer: Sequence[str], floats: Sequence[str] = ()) -> TaskReport:
        write(precision.keeping(finer, floats=floats))
        return replace(
            judge(),
            losses=losses,
            bfloat16=ties,
            finer=tuple(finer),
            floats=tuple(floats),
            before=(report.cosine_min, *report.before),
            finer_bytes=size() - before,
        )

    for number in range(len(_SHARES)):
        # A tie that is right is right by luck, until the layers that it hangs on are finer.
        by_luck = bool(ties) and not report.finer
        if report.cosine_min >= precision.wanted_cosine and not by_luck:
            break
        report = attempt(choice.finer(number, report))
    for finer, floats in choice.last_resorts():
        if not report.low(precision):
            break
        report = attempt(finer, floats)
    return report


@dataclass(slots=True)
class _Choice:
    """What is kept finer; remembers what the truth said of each text."""

    precision: Precision
    losses: Mapping[str, float]
    probe: Probe | None
    _moved: dict[int, Mapping[str, float]] = field(default_factory=dict)
    _layers: set[str] = field(default_factory=set)

    def finer(self, number: int, report: TaskReport) -> list[str]:
        """The linears, and the table, of one of the first tries."""
        worst = sorted(self.losses, key=lambda name: -self.losses[name])
        if self.probe is None:
            names = worst[: _WORST_LINEARS[number]]
            self._layers = {layer_of(name) for name in names}
            return names
        wanted, cosines = self.precision.wanted_cosine, report.cosines
        low = [text for text, cosine in enumerate(cosines) if cosine < wanted]
        low.sort(key=lambda text: cosines[text])
        for text in (*report.bfloat16, *low[:_WORST_TEXTS]):
            if text not in self._moved:
                self._moved[text] = self.probe.moved(text)
        allowed = _SHARES[number] * (1 - self.precision.minimum_cosine)
        for text, moved in self._moved.items():
            layers = fewest(moved, allowed)
            if text in report.bfloat16:
                layers = between(layers, list(moved))
            self._layers.update(layers)
        names = of_layers(self._layers, self.losses)
        losing = [name for name in worst if self.losses[name] > _LARGEST_LOSS]
        return names + [name for name in losing if name not in names]

    def last_resorts(self) -> Iterator[tuple[list[str], list[str]]]:
        """Linears in two digits, and those of them that are in float32 instead."""
        everything = [*([] if self.probe is None else [TABLE]), *self.losses]
        for floats in ([], of_layers(self._layers, self.losses), list(self.losses)):
            yield everything, floats
