"""What a pack takes of a GPU's memory, and what short texts cost.

Three tables: the pool of single runs beside their estimate; the peak of whole jobs of mixed lengths
at several memory limits; and one short text, run operator by operator and captured. Memory is what
the driver says is free, read before, during and after, so nothing else may run on that GPU. Token
ids are drawn, so no tokenizer is timed.
"""

import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.race.report import markdown
from embedge.batches import estimate_memory
from embedge.calls import Call
from embedge.choices import Choices, choose
from embedge.items import Items
from embedge.machine.gpu_memory import read_gpu_memory
from embedge.machine.resources import read_available_memory
from embedge.pack.files import open_pack
from embedge.runner import Runner
from embedge.sessions import Sessions

SHAPES = ("4x128", "32x128", "256x128", "64x512", "4x8192", "1x8192")
LIMITS = (None, "6GB", "1GB")  # None: what is chosen
SHORT = (20, 32, 64, 128)
SENTENCES, PASSAGES = 10_000, 2_000  # of a job: three calls of the former, one of the latter
POLL = 0.01  # seconds
MB = 10**6

Ids = list[NDArray[np.int32]]
Calls = list[tuple[int, list[int]]]  # seeds, and lengths in tokens


class Peak:
    """The most of the GPU's memory that is taken within, in bytes, beyond what was before.

    Args:
        free: says how many bytes are free.
    """

    def __init__(self, free: Callable[[], int]) -> None:
        self._free = free
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = self._least = free()

    @property
    def taken(self) -> int:
        """So far."""
        return self.before - self._least

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._least = min(self._least, self._free())

    def _watch(self) -> None:
        while not self._ends.wait(POLL):
            self._least = min(self._least, self._free())


@dataclass(frozen=True, slots=True)
class Job:
    """A whole job at one limit."""

    asked: str | None
    limit: int  # bytes
    budget: int  # tokens a run
    peak: int  # bytes of the GPU, weights included
    speed: float  # tokens a second
    given_back: int  # how often the pool was


class Model:
    """A pack on the GPU, as `Embedder` runs it once it has token ids."""

    def __init__(
        self, path: Path, *, device: str, memory_limit: str | None, token_budget: int | None
    ) -> None:
        pack = open_pack(path)
        assert pack.manifest.text is not None
        self.choices: Choices = choose(
            pack,
            precision="fp16",
            device=device,
            threads=None,
            token_budget=token_budget,
            memory_limit=memory_limit,
        )
        self._sessions = Sessions(pack, self.choices, arena=False, spin=True, prepared=None)
        pad = pack.manifest.text.pad_token_id
        self.runner = Runner(pack, self.choices, self._sessions, pad_token_id=pad)
        self._call = Call.of(pack.manifest)
        self._vocabulary = pack.manifest.text.vocabulary_size or 1000
        self.runner.load(self._call)
        self.given_back = 0
        session = self._sessions.get(self._call.task, "text")
        self._free_pool = session.free
        session.free = self.free_pool  # type: ignore[method-assign]

    def free_pool(self) -> None:
        """Gives the pool back, and counts it."""
        self.given_back += 1
        self._free_pool()

    def ids(self, lengths: Sequence[int], seed: int = 0) -> Ids:
        """Texts of these lengths, drawn."""
        random = np.random.default_rng(seed)
        return [random.integers(5, self._vocabulary, n).astype(np.int32) for n in lengths]

    def run(self, ids: Ids) -> NDArray[np.float32]:
        """Their vectors, not normalized."""
        items = Items("texts", total=len(ids))
        return self.runner.run(self._call, self.runner.text_batches(ids), items)

    def close(self) -> None:
        """Lets go of all: the session counts through this object, in a circle."""
        self.runner.close()
        del self._free_pool
        gc.collect()


def single_runs(
    path: Path, device: str, shapes: Sequence[str], free: Callable[[], int]
) -> list[list[str]]:
    """Rows: texts x tokens, the estimate, the pool that the run took, their ratio."""
    model = Model(path, device=device, memory_limit="1TB", token_budget=2**31)
    model.run(model.ids([64] * 4))
    model.free_pool()
    empty, rows = free(), []
    for shape in shapes:
        count, length = (int(n) for n in shape.split("x"))
        model.run(model.ids([length] * count))
        pool = empty - free()
        estimate = estimate_memory(model.runner.limits(), count, length)
        model.free_pool()
        left = empty - free()
        figures = (f"{size / MB:,.0f}" for size in (estimate, pool, left))
        rows.append([shape, *figures, f"{pool / estimate:.2f}"])
    model.close()
    return rows


def mixed_lengths(sentences: int = SENTENCES, passages: int = PASSAGES) -> Calls:
    """A job: sentences in three calls, and passages in one: seeds and lengths in tokens."""

    def drawn(seed: int, count: int, mean: float, spread: float, longest: int) -> list[int]:
        lengths = np.random.default_rng(seed).lognormal(mean, spread, count) + 4
        return [int(length) for length in lengths.clip(4, longest)]

    calls = [(seed, drawn(seed, sentences, 3.2, 0.5, 512)) for seed in range(3)]
    return [*calls, (9, drawn(9, passages, 5.5, 0.6, 2048))]


def job(path: Path, device: str, limit: str | None, calls: Calls, free: Callable[[], int]) -> Job:
    """The mixed job at one memory limit."""
    with Peak(free) as peak:
        model = Model(path, device=device, memory_limit=limit, token_budget=None)
        for seed, lengths in calls:
            model.run(model.ids(lengths, seed))
    given_back = model.given_back
    # Timed apart: the driver that is asked for its memory launches nothing meanwhile.
    tokens, taken = 0, 0.0
    for seed, lengths in calls:
        ids = model.ids(lengths, seed)
        start = time.perf_counter()
        model.run(ids)
        taken += time.perf_counter() - start
        tokens += sum(lengths)
    choices = model.choices
    model.close()
    assert choices.memory_limit.value is not None
    return Job(
        limit,
        choices.memory_limit.value,
        choices.token_budget.value,
        peak.taken,
        tokens / taken,
        given_back,
    )


def job_rows(jobs: Sequence[Job]) -> list[list[str]]:
    """Of the table of jobs."""
    return [
        [
            one.asked or "chosen",
            f"{one.limit / MB:,.0f}",
            f"{one.budget:,}",
            f"{one.peak / MB:,.0f}",
            f"{one.speed:,.0f}",
            str(one.given_back),
        ]
        for one in jobs
    ]


def short_texts(path: Path, device: str, lengths: Sequence[int]) -> tuple[list[list[str]], str]:
    """Rows: tokens, ms before and after capture, whether the bits are the same; and the reason."""
    model, rows = Model(path, device=device, memory_limit=None, token_budget=None), []
    for length in lengths:
        ids = model.ids([length], seed=length)
        first = model.run(ids)
        before = milliseconds(partial(model.run, ids), 6)
        model.run(ids)
        for thread in threading.enumerate():
            if thread.name == "embedge-capture":
                thread.join()
        model.run(ids)
        same = bool(np.array_equal(first, model.run(ids)))
        after = milliseconds(partial(model.run, ids), 50)
        rows.append([str(length), f"{before:.2f}", f"{after:.2f}", "yes" if same else "no"])
    captured = model.runner.captured()
    model.close()
    return rows, f"Captured: {captured.value} ({captured.reason})"


def milliseconds(work: Callable[[], object], times: int) -> float:
    """The median of so many."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


def free_bytes(device: str) -> int | None:
    """Of the memory that the device has; None where nobody says."""
    if device == "cpu":
        return read_available_memory()
    memory = read_gpu_memory()
    return None if memory is None else memory.free


def tables(
    path: Path,
    device: str,
    *,
    shapes: Sequence[str] = SHAPES,
    limits: Sequence[str | None] = LIMITS,
    calls: Calls | None = None,
) -> Iterator[str]:
    """All tables of a pack, as they are measured."""

    def free() -> int:
        found = free_bytes(device)
        assert found is not None  # it was asked for once
        return found

    calls = mixed_lengths() if calls is None else calls
    yield "One run each, from an empty pool. The weights and the driver's context come on top."
    head = ["texts x tokens", "estimate, MB", "pool, MB", "left, MB", "ratio"]
    yield markdown(head, single_runs(path, device, shapes, free))
    count = sum(len(lengths) for _, lengths in calls)
    yield f"{count:,} texts of mixed lengths; the peak holds the weights and the context."
    head = ["memory_limit", "limit, MB", "tokens a run", "peak, MB", "tokens/s", "pool given back"]
    yield markdown(head, job_rows([job(path, device, limit, calls, free) for limit in limits]))
    short, captured = short_texts(path, device, SHORT)
    yield "One text, ms."
    yield markdown(["tokens", "first runs", "later", "same bits"], short)
    yield captured
