"""The gate: a precision's graphs against the NumPy reference.

Takes vectors of both, gives a report of plain numbers that goes into the manifest. A precision
that misses its bar does not pass, and the runtime does not choose it by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.batches import pad
from embedge.engine.session import OnnxSession
from embedge.pack.files import open_pack
from embedge.vectors import normalise
from embedge_export.gate.probe import Probe
from embedge_export.model import open_model, reference
from embedge_export.precision import PRECISIONS, Precision
from embedge_export.source.folder import Source

WORST = 8  # linears that a report names
TIE_SHARE = 0.5  # of how far bfloat16 moves a tie, a precision may move it
IMAGE_TOWER = "image tower"  # what a report's failures call it
Array = NDArray[np.float32]
Run = Callable[[NDArray[np.int64], NDArray[np.int64]], Array]  # ids, mask (B, S) -> (B, D)


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


def compare_graph(
    path: Path,
    texts: Sequence[NDArray[np.int32]],
    reference: Array,
    *,
    pad_token_id: int,
    threads: int,
) -> TaskReport:
    """Loads a graph on the CPU and compares it; see `compare`."""
    session = OnnxSession(path, device="cpu", threads=threads)
    return compare(session.run, texts, reference, pad_token_id=pad_token_id)


def compare(
    run: Run, texts: Sequence[NDArray[np.int32]], reference: Array, *, pad_token_id: int = 0
) -> TaskReport:
    """Runs a graph on token id sequences and compares with the reference vectors.

    Args:
        run: the graph.
        texts: token ids (tokens,) of each text.
        reference: float32 (texts, dimension), as network_vectors gives them.
        pad_token_id: what fills short rows, as it will in use.
    """
    by_length = np.argsort([len(ids) for ids in texts], kind="stable")
    vectors = np.empty_like(reference)
    # The short texts in one batch, with padding of every amount; the long ones alone.
    short = by_length[: len(by_length) * 3 // 4]
    vectors[short] = run(*pad([texts[index] for index in short], pad_token_id))
    for index in by_length[len(short) :]:
        vectors[index] = run(*pad([texts[index]], pad_token_id))[0]
    probes = short[:: max(1, len(short) // 4)]  # the shortest, the longest, and some between
    alone = np.concatenate([run(*pad([texts[index]], pad_token_id)) for index in probes])
    return _judge(vectors, reference, alone, probes)


def compare_image_graph(path: Path, pixels: Array, reference: Array, *, threads: int) -> TaskReport:
    """Loads an image graph on the CPU and compares it; see `compare_images`."""
    session = OnnxSession(path, device="cpu", threads=threads, tower="image")
    return compare_images(session.run, pixels, reference)


def compare_images(run: Callable[[Array], Array], pixels: Array, reference: Array) -> TaskReport:
    """Runs an image graph and compares with the reference vectors.

    Args:
        run: the graph.
        pixels: float32 (images, 3, size, size).
        reference: float32 (images, dimension), as eva_vectors gives them.
    """
    together = len(pixels) * 2 // 3  # in one batch; the others alone, which is most of a gate
    vectors = np.concatenate(
        [run(pixels[:together]), *(run(one[None]) for one in pixels[together:])]
    )
    probes = np.arange(0, together, 2)
    alone = np.concatenate([run(pixels[index][None]) for index in probes])
    return _judge(vectors, reference, alone, probes)


def _judge(vectors: Array, reference: Array, alone: Array, probes: NDArray[np.int64]) -> TaskReport:
    """The figures: vectors against the reference, and those of `probes` against them alone."""
    finite = bool(np.isfinite(vectors).all() and np.isfinite(alone).all())
    if not finite:
        nan = float("nan")
        return TaskReport(
            cosine_min=nan,
            cosine_mean=nan,
            difference_max=nan,
            rank_correlation=nan,
            batch_difference=nan,
            finite=False,
        )
    got, want = normalise(vectors), normalise(reference)
    cosines = np.sum(got.astype(np.float64) * want, axis=1)
    return TaskReport(
        cosine_min=float(cosines.min()),
        cosines=tuple(map(float, cosines)),
        cosine_mean=float(cosines.mean()),
        difference_max=float(np.abs(got - want).max()),
        rank_correlation=_spearman(_similarities(got), _similarities(want)),
        batch_difference=float(np.abs(normalise(alone) - got[probes]).max()),
        finite=True,
    )


def verify_pack(
    folder: Path, source: Source, *, threads: int, advance: Callable[[str], None] = lambda _: None
) -> dict[str, dict[str, Any]]:
    """Compares every graph of a pack with the reference of the source it was made from.

    Args:
        folder: the pack.
        source: opened with the pack's tasks.
        threads: for each run.
        advance: called with a label before each step.

    Returns:
        A report for each precision, as in the manifest.
    """
    pack = open_pack(folder)
    manifest, text = pack.manifest, pack.manifest.text
    model = open_model(source)
    gate = reference(model, advance=lambda task, label: advance(f"{task}: {label}"))
    reports = {}
    for name in manifest.precisions():
        tasks = {}
        for task in manifest.tasks:
            advance(f"{task}: {name}")
            graph = manifest.graph(task=task, precision=name)
            one = compare_graph(
                pack.file(graph.file),
                gate.ids,
                gate.vectors[task],
                pad_token_id=source.pad_token_id if text is None else text.pad_token_id,
                threads=threads,
            )
            if one.low(PRECISIONS[name]) and PRECISIONS[name].refinable:
                room = 1 - PRECISIONS[name].minimum_cosine
                one = replace(one, bfloat16=Probe(model, task, gate).ties(room))
            tasks[task] = one
        image = None
        if gate.pixels is not None and gate.image_vectors is not None:
            advance(f"image: {name}")
            graph = manifest.graph(task=manifest.default_task, precision=name, tower="image")
            image = compare_image_graph(
                pack.file(graph.file), gate.pixels, gate.image_vectors, threads=threads
            )
        reports[name] = report(PRECISIONS[name], tasks, len(gate.ids), image)
    return reports


def report(
    precision: Precision, tasks: dict[str, TaskReport], texts: int, image: TaskReport | None = None
) -> dict[str, Any]:
    """The manifest's entry for a precision; `image` is that of the image tower, if there is one."""
    judged = tasks if image is None else {**tasks, IMAGE_TOWER: image}
    failures = {name: found for name, r in judged.items() if (found := r.failures(precision))}
    entry = {
        "passed": not failures,
        "failures": failures,
        "bars": {
            "cosine_min": precision.minimum_cosine,
            "difference_max": precision.largest_difference,
            "batch_difference": precision.batch_difference,
        },
        "texts": texts,
        "tasks": {task: _figures(r) for task, r in tasks.items()},
    }
    return entry if image is None else {**entry, "image": _figures(image)}


def _figures(report: TaskReport) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "cosine_min": report.cosine_min,
        "cosine_mean": report.cosine_mean,
        "difference_max": report.difference_max,
        "rank_correlation": report.rank_correlation,
        "batch_difference": report.batch_difference,
    }
    if report.losses:
        worst = sorted(report.losses.items(), key=lambda item: -item[1])
        figures["worst_linears"] = dict(worst[:WORST])
    if report.bfloat16:
        # By the text's place among the gate's: its cosine, and what bfloat16 would leave it.
        figures["ties"] = {
            str(text): [report.cosines[text], cosine] for text, cosine in report.bfloat16.items()
        }
    if report.finer:
        figures |= {
            "finer": list(report.finer),
            "float32": list(report.floats),
            "cosine_min_before": list(report.before),
            "finer_bytes": report.finer_bytes,
            "linears": len(report.losses),
        }
    return figures


def _similarities(vectors: Array) -> NDArray[np.float64]:
    """All pairwise cosines, each pair once."""
    above = np.triu_indices(len(vectors), k=1)
    return np.asarray((vectors.astype(np.float64) @ vectors.T)[above], np.float64)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Rank correlation; similarities of floats have no ties worth averaging."""
    ranks_a, ranks_b = (np.argsort(np.argsort(x)).astype(np.float64) for x in (a, b))
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])
