"""Compares a graph's vectors with those of the NumPy reference, as figures.

Takes graphs and the reference vectors of what they are run on; gives a `TaskReport`. Knows no bars.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedge.batches import pad
from embedge.engine.session import OnnxSession
from embedge.pack.contract import ROWS
from embedge.vectors import normalize, row_cosines
from embedge_export.gate.report import TaskReport

Array = NDArray[np.float32]
Run = Callable[[NDArray[np.int64], NDArray[np.int64]], Array]  # ids, mask (B, S) -> (B, D)
# All texts' rows (tokens, width), and where each begins, with the end (texts + 1,) -> (texts, D).
Pool = Callable[[Array, NDArray[np.int64]], Array]


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


def compare_rows(
    path: Path,
    texts: Sequence[NDArray[np.int32]],
    reference: Array,
    *,
    pool: Pool,
    pad_token_id: int,
    threads: int,
) -> TaskReport:
    """Compares what a graph's rows pool to, texts padded on the left; arguments as of `compare`.

    `pool` is the truth's rule. On the right, a graph's vectors are compared with `compare_graph`.
    """
    session = OnnxSession(path, device="cpu", threads=threads, output=ROWS)

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Array:
        ids, mask = pad_left(ids, mask)
        rows = session.run(ids, mask)[mask == 1]  # (B, S, width) -> (tokens, width)
        return pool(rows, np.concatenate([[0], np.cumsum(mask.sum(axis=1))]))

    return compare(run, texts, reference, pad_token_id=pad_token_id)


def pad_left(
    ids: NDArray[np.int64], mask: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask (B, S) with the padding that stands on the right moved to the left."""
    length = ids.shape[1]
    places = (np.arange(length) + mask.sum(axis=1, keepdims=True)) % length
    return np.take_along_axis(ids, places, axis=1), np.take_along_axis(mask, places, axis=1)


def worst_of(one: TaskReport, other: TaskReport) -> TaskReport:
    """Of two comparisons with the same texts, the worse figure of each."""
    if not (one.finite and other.finite):
        return other if one.finite else one
    return replace(
        one,
        cosine_min=min(one.cosine_min, other.cosine_min),
        cosines=tuple(map(min, one.cosines, other.cosines)),
        cosine_mean=min(one.cosine_mean, other.cosine_mean),
        difference_max=max(one.difference_max, other.difference_max),
        rank_correlation=min(one.rank_correlation, other.rank_correlation),
        batch_difference=max(one.batch_difference, other.batch_difference),
    )


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
    got, want = normalize(vectors), normalize(reference)
    cosines = row_cosines(got, want)
    return TaskReport(
        cosine_min=float(cosines.min()),
        cosines=tuple(map(float, cosines)),
        cosine_mean=float(cosines.mean()),
        difference_max=float(np.abs(got - want).max()),
        rank_correlation=_spearman(_similarities(got), _similarities(want)),
        batch_difference=float(np.abs(normalize(alone) - got[probes]).max()),
        finite=True,
    )


def _similarities(vectors: Array) -> NDArray[np.float64]:
    """All pairwise cosines, each pair once."""
    above = np.triu_indices(len(vectors), k=1)
    return np.asarray((vectors.astype(np.float64) @ vectors.T)[above], np.float64)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Rank correlation; similarities of floats have no ties worth averaging."""
    ranks_a, ranks_b = (np.argsort(np.argsort(x)).astype(np.float64) for x in (a, b))
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])
