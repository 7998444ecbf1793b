"""What the servers showed, as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.race.report import markdown
from bench.server.contenders import EMBEDGE
from bench.server.hostile import Harm
from bench.server.load import Load


@dataclass
class Result:
    """One server, over all rounds."""

    name: str
    loads: list[Load] = field(default_factory=list)
    seconds_to_ready: float = 0.0
    idle: float = 0.0  # MiB
    peak: float = 0.0
    cosine: float = float("nan")  # of its vector with the library's: are they the same weights?
    failure: str = ""

    @property
    def best(self) -> Load:
        """The round that answered most."""
        return max(self.loads, key=lambda load: load.answered)


def load_table(results: Sequence[Result], texts: int) -> str:
    """Texts a second, latencies, memory of every server."""
    rows = []
    for one in results:
        if not one.loads:
            rows.append([one.name, one.failure, *[""] * 8])
            continue
        load = one.best
        others = sum(load.statuses.values()) - load.statuses[200] + sum(load.failures.values())
        rows.append(
            [
                one.name,
                f"{load.answered * texts:,.0f}",
                *(f"{load.percentile(percent):,.0f}" for percent in (50, 95, 99)),
                f"{others:,}" + (f" ({_told(load)})" if others else ""),
                f"{one.seconds_to_ready:.1f}",
                f"{one.idle:,.0f}",
                f"{one.peak:,.0f}",
                f"{one.cosine:.4f}",
            ]
        )
    head = ["server", "texts a second", "p50 ms", "p95 ms", "p99 ms", "not answered by 200"]
    head += ["s to ready", "MiB idle", "MiB at most", "cosine with the library"]
    return markdown(head, rows)


def bars_table(results: Sequence[Result], texts: int, encode: float) -> str:
    """embedge's throughput over that of each other, and over the library's in one call."""
    rates = {one.name: one.best.answered * texts for one in results if one.loads}
    ours = rates.pop(EMBEDGE, 0.0)
    rows = []
    if rates and ours:
        name, best = max(rates.items(), key=lambda pair: pair[1])
        rows.append([f"the better of the others ({name})", f"{ours / best:.2f}", "1.5"])
    if encode and ours:
        rows.append(
            ["Embedder.encode of the same texts in one call", f"{ours / encode:.2f}", "0.9"]
        )
    return markdown(["embedge serve over", "ratio", "bar"], rows)


def harm_table(harms: Sequence[Harm]) -> str:
    """What usual clients felt of each kind of harm."""
    rows = [
        [
            harm.name,
            harm.found,
            *(f"{harm.load.percentile(percent):,.0f}" for percent in (50, 95, 99)),
            _told(harm.load),
            f"{harm.memory:,.0f}",
        ]
        for harm in harms
    ]
    head = ["harm", "what became of it", "p50 ms", "p95 ms", "p99 ms", "others' answers", "MiB"]
    return markdown(head, rows)


def end_line(load: Load, said: str) -> str:
    """SIGTERM under load, in a sentence."""
    return f"SIGTERM under load: {said}; {_told(load)}."


def _told(load: Load) -> str:
    told = [f"{count:,} x {status}" for status, count in sorted(load.statuses.items())]
    told += [f"{count:,} {what}" for what, count in load.failures.items()]
    return ", ".join(told)
