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

from embedge.engine.cuda_graphs import ON_GPU
from embedge.engine.kernels import EXACT, integer_kernel
from embedge.engine.loading import CUDA, LOG_FATAL, load_runtime, providers
from embedge.engine.native_work import native_work
from embedge.errors import CancelledError, DeviceError, PackFileError
from embedge.failures import loading_failure, running_failure
from embedge.pack.contract import IMAGE_INPUTS, INPUTS, OUTPUT

# Names of the pools, by device, for ONNX Runtime's option that shrinks them.
POOLS = {"cpu": "cpu:0", "cuda": "gpu:0"}
# Microseconds that a thread without work stays awake. ONNX Runtime's own way is to count turns,
# which kept each waiting thread busy for 10 to 30 ms after every run: on 2 threads of a Zen 5, a
# query of 16 tokens before a pause took 82 ms of CPU time instead of 50 with v5-text-small, and 14
# or more instead of 2.4 with the bundled model, at the same speed. 200 are enough for the large
# model, and made the small one's queries slower by 7 to 14 % and more (tests/bench/pauses.py).
# Versions of ONNX Runtime that do not know the setting count turns.
SPIN_MICROSECONDS = 1000


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
        device: "cpu" or "cuda".
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
        options = session_options(threads, spin=spin)
        if device == "cuda":
            # Weights beside the pool, each in as much memory as it has: none of it is cut up.
            options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        self._shrinks = device == "cuda" or not arena
        try:
            with self._at_work(device), native_work():
                self._session = runtime.InferenceSession(
                    str(graph), options, providers=providers(device, memory=memory)
                )
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise loading_failure(
                graph, error, version=runtime.__version__, device=device
            ) from error
        self._graph = graph
        self._device = device
        self._process = os.getpid()
        self._inputs = INPUTS if tower == "text" else IMAGE_INPUTS
        self._output = output
        self._runtime = runtime
        self._check(device, tower)

    def run(
        self, *inputs: NDArray[Any], cancel: threading.Event | None = None, keep: bool = False
    ) -> NDArray[np.float32]:
        """See `Session.run`.

        Raises:
            CancelledError: `cancel` was set.
            MemoryLimitError: there is not enough memory.
            PackFileError, DeviceError: the graph, or the GPU, failed.
        """
        if self._device == "cuda" and os.getpid() != self._process:
            raise DeviceError(
                f"{self._graph} was loaded onto the GPU before this process was forked, and CUDA "
                "does not work in a forked process: start workers with "
                'multiprocessing.get_context("spawn"), or pass device="cpu"'
            )
        options = self._runtime.RunOptions()
        if self._shrinks and not keep:
            options.add_run_config_entry(
                "memory.enable_memory_arena_shrinkage", POOLS[self._device]
            )
        options.log_severity_level = LOG_FATAL  # what fails is raised; stderr is the host's
        try:
            with self._at_work(self._device), native_work(options, cancel):
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
                self._graph, work, error, limits=limits, device=self._device
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
            if self._device == "cpu":  # where an image costs seconds, and no run keeps its pool
                return
            inputs = (np.zeros((1, *self._session.get_inputs()[0].shape[1:]), np.float32),)
        with contextlib.suppress(Exception):
            self.run(*inputs)

    @staticmethod
    def _at_work(device: str) -> contextlib.AbstractContextManager[None]:
        return ON_GPU.together() if device == "cuda" else contextlib.nullcontext()

    def _check(self, device: str, tower: str) -> None:
        inputs = {node.name for node in self._session.get_inputs()}
        outputs = {node.name for node in self._session.get_outputs()}
        if inputs != set(self._inputs) or self._output not in outputs:
            raise PackFileError(
                f"{self._graph} takes {sorted(inputs)} and gives {sorted(outputs)}; a {tower} "
                f"graph takes {sorted(self._inputs)} and gives {self._output!r}: export it again"
            )
        # ONNX Runtime falls back to the CPU with no more than a line on stderr.
        if device == "cuda" and CUDA not in self._session.get_providers():
            raise DeviceError(
                f"{self._graph} was loaded without CUDA, which was asked for; see what "
                '`embedge doctor --device cuda` says, or pass device="cpu"'
            )


def session_options(threads: int, *, spin: bool = True) -> Any:
    """ONNX Runtime's options for a graph of ours: threads, memory, and exact integer kernels."""
    options = load_runtime().SessionOptions()
    options.log_severity_level = LOG_FATAL  # what fails is raised; stderr is the host's
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    else:
        duration = str(SPIN_MICROSECONDS)
        options.add_session_config_entry("session.intra_op.spin_duration_us", duration)
    # Without it every buffer comes from malloc, which neither reuses nor returns aligned blocks of
    # this size well: 2,048 tokens of a 0.6B decoder took 3.6 GB instead of 0.5 GB.
    options.enable_cpu_mem_arena = True
    # By the name alone it would take a file for its own format, which nothing here checks.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Plans memory for each shape that it meets and keeps the plan: shapes vary here.
    options.enable_mem_pattern = False
    if integer_kernel().value != EXACT:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options
