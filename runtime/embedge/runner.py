"""Runs a pack's networks: batches of token ids or of pixels in, vectors out.

Takes what `batches` plans within the limits chosen for the pack, and gives float32 (n, width) in
the order of the items, not normalized. The runs of all threads share the memory limit: one that
does not fit waits until others end. Knows no text, no tokenizer, no prompt and no image file.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedge.batches import Batch, Limits, image_batches, images_per_run, text_batches
from embedge.calls import Call
from embedge.captures import Captures
from embedge.choice import Choice
from embedge.choices import Choices
from embedge.engine.session import Session
from embedge.errors import MemoryLimitError, NonFiniteError, PackFileError
from embedge.items import Items
from embedge.pack.files import Pack
from embedge.run_memory import RunMemory
from embedge.sessions import Sessions
from embedge.sizes import size_text


class Runner:
    """A pack's networks, ready to run. Safe between threads.

    Args:
        pack: where the graphs stand.
        choices: how to run them.
        sessions: opens them.
        pad_token_id: fills the end of the shorter texts of a run.
    """

    def __init__(
        self, pack: Pack, choices: Choices, sessions: Sessions, *, pad_token_id: int
    ) -> None:
        self._pack = pack
        self._choices = choices
        self._sessions = sessions
        self._pad_token_id = pad_token_id
        # Of all threads and tasks together.
        self._memory = RunMemory(choices.memory_limit.value, grows=choices.cost.grows)
        self._captures = Captures(
            choices.provider.captured_lengths,
            open_graphs=sessions.capturable,
            take=partial(_room_for_captures, sessions, self._memory),  # no circle of references
        )

    def text_batches(self, ids: Sequence[NDArray[np.int32]]) -> Iterator[Batch]:
        """Token ids, one (length,) array a text, as runs within the limits; see `batches.plan`.

        Raises:
            MemoryLimitError: one text alone would exceed the memory limit.
        """
        return text_batches(ids, self.limits(), self._pad_token_id)

    def limits(self) -> Limits:
        """What one run of texts may cost."""
        return Limits(
            token_budget=self._choices.token_budget.value,
            memory=self._choices.cost.text,
            blocks=self._choices.cost.blocks,
            memory_limit=self._choices.memory_limit.value,
            largest_first=self._choices.cost.grows,
            buckets=self._choices.provider.captured_lengths,
        )

    def images_per_run(self) -> int:
        """How many images one run takes.

        Raises:
            MemoryLimitError: one alone would exceed the memory limit.
        """
        return images_per_run(
            self._choices.provider.images_per_run,
            per_image=self._choices.cost.per_image,
            memory_limit=self._choices.memory_limit.value,
        )

    def image_batches(self, pixels: Iterable[tuple[int, NDArray[np.float32]]]) -> Iterator[Batch]:
        """Pixels (3, size, size) with their index, as runs within the limits, as they come."""
        per_image = self._choices.cost.per_image
        return image_batches(pixels, self.images_per_run(), per_image=per_image)

    def run(self, call: Call, batches: Iterable[Batch], items: Items) -> NDArray[np.float32]:
        """Runs all batches through the network of a call's task.

        Args:
            call: which network, and how many dimensions to keep, from the first.
            batches: made by `text_batches` or `image_batches`, as the call's tower is.
            items: what they stand for; asked before every run whether to go on, counted after it.

        Returns:
            (items.total, width); NaN for an item that is in no batch.

        Raises:
            NonFiniteError: the network gave NaN or infinity.
            MemoryLimitError: there was no memory for a run, on a GPU not even for one item of it.
            CancelledError: the call was cancelled.
        """
        result = np.full((items.total, call.width), np.nan, np.float32)
        session: Session | None = None
        try:
            for batch in batches:
                items.check_cancel()
                session = self._sessions.get(call.task, call.tower)
                vectors = self._run_one(session, call.task, batch, items)  # (B, D)
                self._check_output(vectors, call.task, batch.indices)
                result[batch.indices] = vectors[:, : call.width]
                items.ran(len(batch.indices))
            items.end()
        except BaseException:
            if session is not None:  # it may have kept its pool for a run that does not come
                self._memory.free(session)
            raise
        return result

    def load(self, call: Call) -> None:
        """Opens the session of a call now rather than at its first run."""
        self._sessions.get(call.task, call.tower)

    def captured(self) -> Choice[str]:
        """Which runs are captured as CUDA graphs, and why not others."""
        return self._captures.choice()

    def close(self) -> None:
        """Lets the networks go; with no run under way. A later run would open them again."""
        self._captures.close()
        self._sessions.close()

    def _run_one(
        self, session: Session, task: str, batch: Batch, items: Items
    ) -> NDArray[np.float32]:
        """One run, within the memory that all share; on a GPU in parts where that falls short.

        Other programs take a GPU's memory as they like, and its pool can be in pieces.
        """
        try:
            return self._run_within(session, task, batch, items)
        except MemoryLimitError:
            if not self._choices.provider.accelerator:  # its system does not say so in time
                raise
        session.free()
        try:
            return self._run_within(session, task, batch, items)
        except MemoryLimitError as error:
            rows = len(batch.indices)
            if rows == 1:
                raise MemoryLimitError(
                    f"item {batch.indices[0]} does not fit into the memory of "
                    f"{self._choices.provider.hardware}, not even alone: {error}"
                ) from error
        session.free()
        middle = (rows + 1) // 2
        return np.concatenate(
            [
                self._run_one(session, task, part, items)
                for part in (_part(batch, slice(middle)), _part(batch, slice(middle, None)))
            ]
        )

    def _run_within(
        self, session: Session, task: str, batch: Batch, items: Items
    ) -> NDArray[np.float32]:
        cancel = items.cancel
        with self._memory.hold(session, batch.memory, more=batch.more, cancel=cancel) as keep:
            return self._captures.run(
                task, batch.inputs, lambda: session.run(*batch.inputs, cancel=cancel, keep=keep)
            )

    def _check_output(
        self, vectors: NDArray[np.float32], task: str, indices: NDArray[np.int64]
    ) -> None:
        expected = (len(indices), self._pack.manifest.dimension)
        if vectors.shape != expected:
            raise PackFileError(
                f"{self._pack.folder}: the graph of {task!r} gave shape {vectors.shape}, the "
                f"manifest says {expected}; export the pack again"
            )
        finite = np.isfinite(vectors).all(axis=1)
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


def _room_for_captures(sessions: Sessions, memory: RunMemory, task: str) -> str | None:
    """Sets memory apart for captured runs of a task; why there is none, or None."""
    size = sessions.capturable_size(task)
    if memory.set_apart(size):
        return None
    return (
        f"a second copy of the weights, {size_text(size)}, would take more than half of the "
        "memory limit"
    )


def _part(batch: Batch, rows: slice) -> Batch:
    """Some rows of a run, padded as it is."""
    indices = batch.indices[rows]
    share = len(indices) / len(batch.indices)
    inputs = tuple(array[rows] for array in batch.inputs)
    return replace(batch, indices=indices, inputs=inputs, memory=batch.memory * share)
