"""Runs a pack's networks: token ids of many texts, or pixels of many images, in, vectors out.

Holds the pack, the choices made for it, and one session a graph, opened at its first run after
its files were checked: who embeds texts only never loads an image tower, and the other way round.
Takes int32 ids (length,) a text, or float32 pixels (3, size, size) an image, and gives float32
(n, width) in their order, not normalised. Knows no text, no tokenizer, no prompt and no image.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.batches import Limits, pad, plan
from embedge.choices import Choices
from embedge.engine.kernels import INEXACT, integer_kernel
from embedge.engine.loading import attends_in_blocks
from embedge.engine.prepared import prepared_graph
from embedge.engine.session import ImageSession, OnnxSession, Session
from embedge.errors import (
    CancelledError,
    DeviceError,
    MemoryLimitError,
    NonFiniteError,
    PackFileError,
)
from embedge.fork_locks import ForkLock
from embedge.pack.files import Pack, check_files, check_references
from embedge.pack.manifest import Graph

Progress = Callable[[int, int], None]  # texts or images done, and in all

# Images of one run, by device, if memory allows. One of 512 x 512 pixels is some 1,300 tokens to
# its network: it keeps a CPU busy, and leaves its caches with those of a second (1.42 s an image
# alone, 1.65 s in fours: Xeon, 2 threads).
IMAGES_PER_RUN = {"cpu": 1, "cuda": 32}


class Runner:
    """A pack's networks, ready to run. Safe between threads.

    Args:
        pack: where the graphs stand.
        choices: how to run them.
        pad_token_id: fills the end of the shorter texts of a run.
        arena: keep ONNX Runtime's memory pool between runs.
        prepared: folder for graphs in this machine's own form (prepared.py); None for none.
    """

    def __init__(
        self,
        pack: Pack,
        choices: Choices,
        *,
        pad_token_id: int,
        arena: bool,
        prepared: Path | None = None,
    ) -> None:
        self._pack = pack
        self._choices = choices
        self._pad_token_id = pad_token_id
        self._arena = arena
        self._prepared = prepared
        self._lock = ForkLock()
        self._sessions: dict[str, Session] = {}  # by graph file
        self._image_sessions: dict[str, ImageSession] = {}

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
            ids: special tokens and prompt included; of length 0 for a text that does not run.
            width: how many dimensions to keep, from the first.
            progress: called as progress(done, total) after every run, in texts.
            cancel: looked at before every run, and during it.

        Returns:
            A row for every text; NaN for one without ids.

        Raises:
            MemoryLimitError: a text alone would exceed the memory limit; nothing was run.
            NonFiniteError: the network gave NaN or infinity.
            CancelledError: `cancel` was set.
        """
        result = np.full((len(ids), width), np.nan, np.float32)
        done = sum(len(row) == 0 for row in ids)
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

    def images_per_run(self) -> int:
        """How many images one run takes.

        Raises:
            MemoryLimitError: one alone would exceed the memory limit.
        """
        most = IMAGES_PER_RUN[self._choices.device.value]
        limit, image = self._choices.memory_limit.value, self._pack.manifest.image
        if limit is None or image is None or image.per_image == 0:
            return most
        if image.per_image > limit:
            raise MemoryLimitError(
                f"one image would need about {image.per_image / 2**20:,.0f} MiB, the limit is "
                f"{limit / 2**20:,.0f} MiB; allow more with memory_limit= (bytes). Nothing was run"
            )
        return min(most, limit // image.per_image)

    def run_images(
        self,
        task: str,
        images: Iterable[tuple[int, NDArray[np.float32] | None]],
        total: int,
        *,
        width: int,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> NDArray[np.float32]:  # (total, width)
        """Runs images through a task's image tower as they come.

        Args:
            task: one of the pack's.
            images: (index, pixels (3, size, size)); None for one that has no pixels.
            total: how many there are in all; every index is below it.
            width: how many dimensions to keep, from the first.
            progress: called as progress(done, total) after every run, in images.
            cancel: looked at before every run, and during it.

        Returns:
            A row for every index; NaN where there were no pixels, or the index never came.

        Raises:
            MemoryLimitError: one image alone would exceed the memory limit.
            NonFiniteError: the network gave NaN or infinity.
            CancelledError: `cancel` was set.
        """
        result = np.full((total, width), np.nan, np.float32)
        most, done, told = self.images_per_run(), 0, 0
        held: list[tuple[int, NDArray[np.float32]]] = []

        def flush() -> None:
            nonlocal done, told
            if cancel is not None and cancel.is_set():
                raise CancelledError(f"cancelled after {done} of {total} images")
            if held:
                indices = np.array([index for index, _ in held], np.int64)
                batch = np.stack([pixels for _, pixels in held])  # (B, 3, S, S)
                vectors = self._image_session(task).run_images(batch, cancel=cancel)  # (B, D)
                self._check_output(vectors, task, indices)
                result[indices] = vectors[:, :width]
                done += len(held)
                held.clear()
            if progress is not None:
                progress(done, total)
            told = done

        for index, pixels in images:
            if pixels is None:
                done += 1
                continue
            held.append((index, pixels))
            if len(held) == most:
                flush()
        if held or told < done:
            flush()
        return result

    def load(self, task: str, tower: str) -> None:
        """Opens a session of a task now rather than at its first run."""
        if tower == "image":
            self._image_session(task)
        else:
            self._session(task)

    def free(self) -> None:
        """Lets the networks go; with no run under way. A later run would open them again."""
        with self._lock:
            self._sessions.clear()
            self._image_sessions.clear()

    def _limits(self) -> Limits:
        return Limits(
            token_budget=self._choices.token_budget.value,
            memory=self._pack.manifest.memory,
            blocks=attends_in_blocks(),
            memory_limit=self._choices.memory_limit.value,
        )

    def _session(self, task: str) -> Session:
        graph = self._graph(task, "text")
        with self._lock:
            if graph.file not in self._sessions:
                self._sessions[graph.file] = open_session(
                    self._checked(graph), **self._how_to_run()
                )
            return self._sessions[graph.file]

    def _image_session(self, task: str) -> ImageSession:
        graph = self._graph(task, "image")
        with self._lock:
            if graph.file not in self._image_sessions:
                self._image_sessions[graph.file] = open_image_session(
                    self._checked(graph), **self._how_to_run()
                )
            return self._image_sessions[graph.file]

    def _graph(self, task: str, tower: str) -> Graph:
        precision = self._choices.precision.value
        return self._pack.manifest.graph(task=task, precision=precision, tower=tower)

    def _checked(self, graph: Graph) -> Path:
        """The file of a graph, once all that it needs was checked."""
        check_files(self._pack, (graph.file, *graph.data))
        check_references(self._pack, graph)
        if graph.precision == "int8" and integer_kernel().value == INEXACT:
            raise DeviceError(f"int8 would be wrong here: {integer_kernel().reason}")
        path = self._pack.file(graph.file)
        if self._prepared is None:
            return path
        files = self._pack.manifest.files
        identity = " ".join(files[name].sha256 for name in (graph.file, *graph.data))
        threads = self._choices.threads.value
        return prepared_graph(path, identity, self._prepared, threads=threads)

    def _how_to_run(self) -> dict[str, Any]:
        return {
            "device": self._choices.device.value,
            "threads": self._choices.threads.value,
            "arena": self._arena,
        }

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


def open_image_session(graph: Path, *, device: str, threads: int, arena: bool) -> ImageSession:
    """Opens the graph of an image tower. The other seam."""
    return OnnxSession(graph, device=device, threads=threads, arena=arena, tower="image")
