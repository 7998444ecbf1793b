"""Sessions: a graph, opened and ready to run.

Takes a graph file and gives a `Session`: padded ids (B, S), or pixels (B, 3, H, W), in; vectors
(B, D) out. Knows nothing of texts, packs or batching; tests put any object with the same `run` in
its place.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedge.engine.loading import LOG_FATAL, load_runtime
from embedge.engine.native_work import native_work
from embedge.engine.providers.register import provider_of
from embedge.engine.session_options import session_options
from embedge.errors import CancelledError, DeviceError, PackFileError
from embedge.failures import loading_failure, running_failure
from embedge.pack.contract import IMAGE_INPUTS, INPUTS, OUTPUT


class Session(Protocol):
    """One network, ready to run. Safe to use from several threads."""

    def run(
        self, *inputs: NDArray[Any], cancel: threading.Event | None = None, keep: bool = False
    ) -> NDArray[np.float32]:
        """Runs the network once.

        Args:
            inputs: what the graph takes, in the order of `INPUTS` (text) or `IMAGE_INPUTS`.
            cancel: set by another thread to stop the run.
            keep: keep the pool of memory that the run took, as another run follows at once.

        Returns:
            (B, D), pooled, not normalized.

        Raises:
            CancelledError: `cancel` was set.
        """
        ...

    def free(self) -> None:
        """Gives back the pool of memory that runs kept."""
        ...


class OnnxSession:
    """A `Session` on ONNX Runtime.

    Args:
        graph: an .onnx file; its external data stand beside it.
        device: its name; one of the register in `providers`.
        threads: how many threads one run may use. Always set, so that ONNX Runtime neither counts
            the machine's cores itself nor binds threads to them.
        arena: always keep the pool of memory between runs: it never shrinks. Without it, what a
            run took is given back at its end, unless `keep` is asked for. A GPU's pool shrinks
            where `free` asks for it.
        spin: keep threads awake between the pieces of a run, and a millisecond after it: faster
            where nothing else wants the cores, and far slower where something does.
        tower: "text" or "image": what the graph takes.
        output: which of the graph's outputs `run` gives.
        memory: bytes that a GPU's pool may take, weights included; None: not bounded.

    Raises:
        PackFileError: the graph cannot be loaded.
        MemoryLimitError: there is not enough memory to load it.
        DeviceError: the device is not what the session runs on, or fails.
    """

    def __init__(
        self,
        graph: Path,
        *,
        device: str,
        threads: int,
        arena: bool = False,
        spin: bool = True,
        tower: str = "text",
        output: str = OUTPUT,
        memory: int | None = None,
    ) -> None:
        runtime = load_runtime()
        provider = provider_of(device)
        options = session_options(threads, spin=spin)
        self._shrinks = provider.accelerator or not arena
        try:
            with provider.at_work(), native_work():
                self._session = provider.open(graph, options, memory=memory)
        except DeviceError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise loading_failure(
                graph, error, version=runtime.__version__, device=provider
            ) from error
        self._graph = graph
        self._provider = provider
        self._process = os.getpid()
        self._inputs = INPUTS if tower == "text" else IMAGE_INPUTS
        self._output = output
        self._runtime = runtime
        self._check(tower)

    def run(
        self, *inputs: NDArray[Any], cancel: threading.Event | None = None, keep: bool = False
    ) -> NDArray[np.float32]:
        """See `Session.run`.

        Raises:
            CancelledError: `cancel` was set.
            MemoryLimitError: there is not enough memory.
            PackFileError, DeviceError: the graph, or the GPU, failed.
        """
        if not self._provider.forks and os.getpid() != self._process:
            raise DeviceError(
                f"{self._graph} was loaded onto {self._provider.hardware} before this process was "
                f"forked, and {self._provider.title} does not work in a forked process: start "
                'workers with multiprocessing.get_context("spawn"), or pass device="cpu"'
            )
        options = self._runtime.RunOptions()
        if self._shrinks and not keep:
            options.add_run_config_entry(
                "memory.enable_memory_arena_shrinkage", self._provider.pool
            )
        options.log_severity_level = LOG_FATAL  # what fails is raised; stderr is the host's
        try:
            with self._provider.at_work(), native_work(options, cancel):
                (vectors,) = self._session.run(
                    [self._output], dict(zip(self._inputs, inputs, strict=True)), options
                )
        except Exception as error:
            if cancel is not None and cancel.is_set():
                raise CancelledError("cancelled while the network ran") from None
            work, limits = f"{len(inputs[0])} images", "memory_limit="
            if self._inputs == INPUTS:
                rows, length = inputs[0].shape
                work = f"{rows} texts of {length} tokens"
                limits = "token_budget=, memory_limit= or max_length="
            raise running_failure(
                self._graph, work, error, limits=limits, device=self._provider
            ) from error
        return np.asarray(vectors)

    def free(self) -> None:
        """Gives back the pool that runs kept, by a run of one token: ONNX Runtime has no other way.

        A network that fails in it says so at its next run.
        """
        if not self._shrinks:
            return
        inputs: tuple[NDArray[Any], ...] = (np.zeros((1, 1), np.int64), np.ones((1, 1), np.int64))
        if self._inputs == IMAGE_INPUTS:
            # On a CPU an image costs seconds, and no run keeps its pool.
            if not self._provider.accelerator:
                return
            inputs = (np.zeros((1, *self._session.get_inputs()[0].shape[1:]), np.float32),)
        with contextlib.suppress(Exception):
            self.run(*inputs)

    def _check(self, tower: str) -> None:
        inputs = {node.name for node in self._session.get_inputs()}
        outputs = {node.name for node in self._session.get_outputs()}
        if inputs != set(self._inputs) or self._output not in outputs:
            raise PackFileError(
                f"{self._graph} takes {sorted(inputs)} and gives {sorted(outputs)}; a {tower} "
                f"graph takes {sorted(self._inputs)} and gives {self._output!r}: export it again"
            )
