"""Runs a pack's networks: token ids of many texts in, one vector each out.

Holds the pack, the choices made for it, and one session a task, opened at the task's first run
after its files were checked. Takes int32 ids (length,) a text and gives float32 (n, width) in the
texts' order, not normalised. Knows no text, no tokenizer and no prompt.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedge.batches import Limits, pad, plan
from embedge.choices import Choices
from embedge.engine import INEXACT, OnnxSession, Session, attends_in_blocks, kernel_path
from embedge.errors import CancelledError, ClosedError, DeviceError, NonFiniteError, PackFileError
from embedge.packs import Pack, check_files, check_references

Progress = Callable[[int, int], None]  # texts done, texts in all


class Runner:
    """A pack's networks, ready to run. Safe between threads.

    Args:
        pack: where the graphs stand.
        choices: how to run them.
        pad_token_id: fills the end of the shorter texts of a run.
        arena: keep ONNX Runtime's memory pool between runs.
    """

    def __init__(self, pack: Pack, choices: Choices, *, pad_token_id: int, arena: bool) -> None:
        self._pack = pack
        self._choices = choices
        self._pad_token_id = pad_token_id
        self._arena = arena
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def run(
        self,
        task: str,
        ids: Sequence[NDArray[np.int32]],  # one (length,) array a text
        *,
        width: int,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> NDArray[np.float32]:  # (n, width)
        """Runs all texts through a task's network, in as many runs as the limits ask for.

        Args:
            task: one of the pack's.
            ids: special tokens and prompt included.
            width: how many dimensions to keep, from the first.
            progress: called as progress(done, total) after every run, in texts.
            cancel: looked at before every run, and during it.

        Raises:
            MemoryLimitError: a text alone would exceed the memory limit; nothing was run.
            NonFiniteError: the network gave NaN or infinity.
            CancelledError: `cancel` was set.
            ClosedError: `close` was called.
        """
        result = np.zeros((len(ids), width), np.float32)
        done = 0
        for indices in plan([len(row) for row in ids], self._limits()):
            if cancel is not None and cancel.is_set():
                raise CancelledError(f"cancelled after {done} of {len(ids)} texts")
            input_ids, mask = pad([ids[index] for index in indices], self._pad_token_id)
            pooled = self._session(task).run(input_ids, mask, cancel=cancel)  # (B, D)
            self._check_output(pooled, task, indices)
            result[indices] = pooled[:, :width]
            done += len(indices)
            if progress is not None:
                progress(done, len(ids))
        return result

    def load(self, task: str) -> None:
        """Opens a task's session now rather than at its first run."""
        self._session(task)

    def check_open(self) -> None:
        """Refuses work after `close`.

        Raises:
            ClosedError: `close` was called.
        """
        if self._closed:
            raise ClosedError(f"this embedder of {self._pack.folder} is closed; make a new one")

    def close(self) -> None:
        """Frees the networks. Runs under way end well; later ones raise ClosedError."""
        with self._lock:
            self._closed = True
            self._sessions.clear()

    def _limits(self) -> Limits:
        memory = self._pack.manifest.memory
        return Limits(
            token_budget=self._choices.token_budget.value,
            memory=replace(memory, per_token_squared=0.0) if attends_in_blocks() else memory,
            memory_limit=self._choices.memory_limit.value,
        )

    def _session(self, task: str) -> Session:
        with self._lock:
            self.check_open()
            if task not in self._sessions:
                self._sessions[task] = self._open(task)
            return self._sessions[task]

    def _open(self, task: str) -> Session:
        precision = self._choices.precision.value
        graph = self._pack.manifest.graph(task=task, precision=precision)
        check_files(self._pack, (graph.file, *graph.data))
        check_references(self._pack, graph)
        if precision == "int8" and kernel_path().value == INEXACT:
            raise DeviceError(f"int8 would be wrong here: {kernel_path().reason}")
        return open_session(
            self._pack.file(graph.file),
            device=self._choices.device.value,
            threads=self._choices.threads.value,
            arena=self._arena,
        )

    def _check_output(
        self, pooled: NDArray[np.float32], task: str, indices: NDArray[np.int64]
    ) -> None:
        expected = (len(indices), self._pack.manifest.dimension)
        if pooled.shape != expected:
            raise PackFileError(
                f"{self._pack.folder}: the graph of {task!r} gave shape {pooled.shape}, the "
                f"manifest says {expected}; export the pack again"
            )
        finite = np.isfinite(pooled).all(axis=1)
        if not finite.all():
            item = int(indices[~finite].min())
            precision = self._choices.precision.value
            remedy = (
                "the weights may be damaged: try `embedge verify`, or export the pack again"
                if precision == "fp32"
                else 'pass precision="fp32" (export it if the pack has none)'
            )
            raise NonFiniteError(
                f"item {item}: task {task!r} in {precision} gave NaN or infinity; {remedy}"
            )


def open_session(graph: Path, *, device: str, threads: int, arena: bool) -> Session:
    """Opens a graph. The one seam where tests put a fake network."""
    return OnnxSession(graph, device=device, threads=threads, arena=arena)
