"""What the rest of embedge knows of a device, as one object: a `Provider`.

Each execution provider of ONNX Runtime that embedge runs on has a file beside this one, which says
what it is called, how a session is opened on it, what its memory holds and what suits it; a line in
`register` makes it a value of `device=`. Nothing else names a device. Knows no pack but its
manifest's estimates, and runs nothing.
"""

import abc
import contextlib
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from embedge.choice import Choice
from embedge.engine.loading import load_runtime
from embedge.errors import DeviceError
from embedge.pack.manifest import Manifest
from embedge.run_cost import RunCost


class CapturedRuns(Protocol):
    """Runs of one text of fixed lengths, captured once and launched as a whole."""

    def capture(self, length: int) -> None:
        """Captures the run of one text padded to `length` tokens; DeviceError if it can't be."""

    def run(self, ids: Any, mask: Any) -> NDArray[np.float32] | None:
        """The vector (1, D) of one text, (1, S) padded; None where no such run is captured."""

    def close(self) -> None:
        """Lets go of all."""


class Provider(abc.ABC):
    """A device that graphs run on. It has no state: one object serves all sessions.

    Attributes:
        device: its name as `device=` takes it.
        title: what messages call it: "the device is …".
        hardware: what does the work: "… failed on 2 texts".
        execution_provider: ONNX Runtime's name for it.
        pool: ONNX Runtime's name of its memory pool, for the option that shrinks it.
        precisions: of those of a pack, the ones that are taken unasked, the best first.
        automatic: the precision for which `device="auto"` takes this device; None: it never does.
        accelerator: whether it works beside the CPU, in memory of its own. Its pool then stays
            between runs, runs are cut where they do not fit, and texts are tokenized meanwhile.
        forks: whether what was opened before a fork works in the child.
        failure_signs: words of errors that are the device's own fault.
        full_run: tokens that a run of many texts takes; None: as many as the CPU's caches hold.
        images_per_run: images that a run takes, if memory allows.
        image_decoders: threads that decode images meanwhile.
        gpus: how many GPUs a process takes, as Ray counts them.
        captured_lengths: padded lengths of one text whose runs are worth capturing, ascending.
    """

    device: ClassVar[str]
    title: ClassVar[str]
    hardware: ClassVar[str]
    execution_provider: ClassVar[str]
    pool: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]
    automatic: ClassVar[str | None] = None
    accelerator: ClassVar[bool]
    forks: ClassVar[bool] = True
    failure_signs: ClassVar[tuple[str, ...]] = ()
    full_run: ClassVar[Choice[int] | None]
    images_per_run: ClassVar[int]
    image_decoders: ClassVar[int]
    gpus: ClassVar[int] = 0
    captured_lengths: ClassVar[tuple[int, ...]] = ()

    @abc.abstractmethod
    def problem(self) -> str | None:
        """Why it is unavailable here, and what to do, in a sentence; None if it works."""

    @abc.abstractmethod
    def place(self, options: Any, *, memory: int | None) -> list[Any] | None:
        """Puts sessions on this device: adds to their options, and gives `providers=`.

        Args:
            options: an `onnxruntime.SessionOptions`, which is changed.
            memory: bytes that the device's pool may take, weights included; None: not bounded.

        Returns:
            What `InferenceSession` takes as `providers`; None where the options name devices, as
            those of a plugin.
        """

    @abc.abstractmethod
    def run_cost(self, manifest: Manifest, *, precision: str) -> RunCost:
        """What runs of a pack take in the device's memory."""

    @abc.abstractmethod
    def memory_limit(
        self, argument: float | str | None, *, weights: int, full_run: float
    ) -> Choice[int | None]:
        """Bytes that all runs of an embedder may take together, beside the weights.

        Args:
            argument: what the caller asked for; it wins.
            weights: bytes of one task's graph.
            full_run: bytes that a run of `full_run` tokens is estimated to take; 0: not known.
        """

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """Around each use of the device."""
        return contextlib.nullcontext()

    def captured(self, graph: Path, *, threads: int, memory: int | None) -> CapturedRuns:
        """Captured runs of a graph of texts, none yet.

        Args:
            graph: an .onnx file; its external data stand beside it.
            threads: of the CPU, for what is left to it.
            memory: bytes that they may take of the device's, weights included; None: not bounded.

        Raises:
            DeviceError: the device captures no runs.
        """
        raise DeviceError(f"{graph}: runs on {self.title} cannot be captured")

    def open(self, graph: Path, options: Any, *, memory: int | None) -> Any:
        """An `onnxruntime.InferenceSession` of a graph on this device.

        Args:
            graph: an .onnx file; its external data stand beside it.
            options: as `session_options` gives them; they are changed.
            memory: see `place`.

        Raises:
            DeviceError: ONNX Runtime left the device out: it falls back to the CPU with no more
                than a line on stderr.
        """
        placed = self.place(options, memory=memory)
        named = {} if placed is None else {"providers": placed}
        session = load_runtime().InferenceSession(str(graph), options, **named)
        if self.execution_provider not in session.get_providers():
            raise DeviceError(
                f"{graph} was loaded without {self.title}, which was asked for; see what "
                f'`embedge doctor --device {self.device}` says, or pass device="cpu"'
            )
        return session
