"""The ONNX Runtime edge: sessions, cancelling, and whether this CPU counts right.

Takes a graph file and gives a `Session`: padded ids (B, S) in, pooled vectors (B, D) out; or an
`ImageSession`: pixels (B, 3, H, W) in, vectors (B, D) out. The only
module that imports onnxruntime, and only when it is needed. Knows nothing of texts, packs or
batching; tests put any object with the same `run` in its place.
"""

import base64
import contextlib
import functools
import importlib.metadata
import re
import threading
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedge.engine import telemetry
from embedge.engine.native_work import native_work
from embedge.errors import (
    CancelledError,
    DeviceError,
    MemoryLimitError,
    MissingExtraError,
    PackFileError,
)
from embedge.failures import lacks_memory, loading_failure, running_failure
from embedge.machine.resources import Choice

INPUTS = ("input_ids", "attention_mask")
IMAGE_INPUTS = ("pixel_values",)
OUTPUT = "sentence_embedding"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PROVIDERS: dict[str, list[Any]] = {
    "cpu": [CPU],
    # The arena grows by what is asked for, not by powers of two, so that its peak is the peak.
    "cuda": [(CUDA, {"arena_extend_strategy": "kSameAsRequested"}), CPU],
}
# All of them fill the one module `onnxruntime`; whichever was installed last wins.
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
LOG_FATAL = 4
# From this version on, the CPU's GroupQueryAttention works in blocks where the node names its
# present outputs, as the exporter's do. Before, it holds the full square of scores for every head:
# 4,096 tokens, 16 heads, one layer took 1,168 MB on 1.23 to 1.27, and 144 MB on 1.28 to 1.31.
BLOCKWISE_ATTENTION = (1, 28)

EXACT = "uint8 x int8"
EXACT_BY_OPTION = "uint8 x uint8"
INEXACT = "inexact"
# A graph y = MatMulInteger(a, w, 0, 0): a uint8 (m, 64) given, w int8 (64, 16), every weight 127.
# With every a = 255 each pair of products is 64,770, which a kernel that adds pairs in 16 bits cuts
# off at 32,767. tests/test_engine.py rebuilds it. Both zero points are there because ONNX Runtime
# 1.23 aborts the process when it converts such a node without them (session.x64quantprecision).
PROBE = zlib.decompress(
    base64.b64decode(
        "eNrj4LDq4uTS4GJM5GIs52JLjK9KLcrnYisH00KMlUq8voklvqU5nnklqempRUKsBUX5SalaPRwcDhwCAsxOjOVe"
        "DRz1o2AUjIIRC7R4BZicoGWHFyMDkMvsBC1CgNwoEWDpIsTPxcvBJMTJxSzEmMvFxOGQBBStBIuyIUQFnFi4GAR4"
        "AR8HGXc="
    )
)
PROBE_WIDTH = 64
PROBE_ANSWER = PROBE_WIDTH * 255 * 127


class Session(Protocol):
    """One network, ready to run. Safe to use from several threads."""

    def run(
        self,
        input_ids: NDArray[np.int64],  # (B, S)
        attention_mask: NDArray[np.int64],  # (B, S), 1 where a token is, 0 where padding is
        *,
        cancel: threading.Event | None = None,
    ) -> NDArray[np.float32]:  # (B, D), pooled, not normalised
        """Runs the network; raises CancelledError soon after `cancel` is set."""
        ...


class ImageSession(Protocol):
    """One image tower, ready to run. Safe to use from several threads."""

    def run_images(
        self,
        pixel_values: NDArray[np.float32],  # (B, 3, H, W)
        *,
        cancel: threading.Event | None = None,
    ) -> NDArray[np.float32]:  # (B, D), not normalised
        """Runs the network; raises CancelledError soon after `cancel` is set."""
        ...


class OnnxSession:
    """A `Session`, or an `ImageSession`, on ONNX Runtime.

    Args:
        graph: an .onnx file; its external data stand beside it.
        device: "cpu" or "cuda".
        threads: how many threads one run may use. Always set, so that ONNX Runtime neither counts
            the machine's cores itself nor binds threads to them.
        arena: keep the pool of memory between runs: somewhat faster, but it never shrinks. Without
            it, what a run took is given back at its end. A GPU's pool is always kept.
        tower: "text" or "image": what the graph takes, so which of the two sessions it is.

    Raises:
        PackFileError: the graph cannot be loaded.
        MemoryLimitError: there is not enough memory to load it.
        DeviceError: the device is not what the session runs on, or fails.
    """

    def __init__(
        self, graph: Path, *, device: str, threads: int, arena: bool = False, tower: str = "text"
    ) -> None:
        runtime = load_runtime()
        options = session_options(threads)
        self._shrink = device == "cpu" and not arena
        try:
            with native_work():
                self._session = runtime.InferenceSession(
                    str(graph), options, providers=PROVIDERS[device]
                )
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise loading_failure(
                graph, error, version=runtime.__version__, device=device
            ) from error
        self._graph = graph
        self._device = device
        self._runtime = runtime
        self._check(device, tower)

    def run(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        *,
        cancel: threading.Event | None = None,
    ) -> NDArray[np.float32]:
        """See `Session.run`."""
        rows, length = input_ids.shape
        return self._run(
            dict(zip(INPUTS, (input_ids, attention_mask), strict=True)),
            f"{rows} texts of {length} tokens",
            "token_budget=, memory_limit= or max_length=",
            cancel,
        )

    def run_images(
        self, pixel_values: NDArray[np.float32], *, cancel: threading.Event | None = None
    ) -> NDArray[np.float32]:
        """See `ImageSession.run_images`."""
        (name,) = IMAGE_INPUTS
        return self._run(
            {name: pixel_values}, f"{len(pixel_values)} images", "memory_limit=", cancel
        )

    def _run(
        self,
        feeds: dict[str, Any],
        work: str,  # for messages, as is what to lower if it takes too much memory
        limits: str,
        cancel: threading.Event | None,
    ) -> NDArray[np.float32]:
        options = self._runtime.RunOptions()
        if self._shrink:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        options.log_severity_level = LOG_FATAL  # what fails is raised; stderr is the host's
        try:
            with native_work(options, cancel):
                (vectors,) = self._session.run([OUTPUT], feeds, options)
        except Exception as error:
            if cancel is not None and cancel.is_set():
                raise CancelledError("cancelled while the network ran") from None
            raise running_failure(
                self._graph, work, error, limits=limits, device=self._device
            ) from error
        return np.asarray(vectors)

    def _check(self, device: str, tower: str) -> None:
        inputs = {node.name for node in self._session.get_inputs()}
        outputs = {node.name for node in self._session.get_outputs()}
        expected = INPUTS if tower == "text" else IMAGE_INPUTS
        if inputs != set(expected) or OUTPUT not in outputs:
            raise PackFileError(
                f"{self._graph} takes {sorted(inputs)} and gives {sorted(outputs)}; a {tower} "
                f"graph takes {sorted(expected)} and gives {OUTPUT!r}: export the pack again"
            )
        # ONNX Runtime falls back to the CPU with no more than a line on stderr.
        if device == "cuda" and CUDA not in self._session.get_providers():
            raise DeviceError(
                f"{self._graph} was loaded without CUDA, which was asked for; see what "
                '`embedge doctor --device cuda` says, or pass device="cpu"'
            )


def session_options(threads: int) -> Any:
    """ONNX Runtime's options for a graph of ours: threads, memory, and exact integer kernels."""
    options = load_runtime().SessionOptions()
    options.log_severity_level = LOG_FATAL  # what fails is raised; stderr is the host's
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Without it every buffer comes from malloc, which neither reuses nor returns aligned blocks of
    # this size well: 2,048 tokens of a 0.6B decoder took 3.6 GB instead of 0.5 GB.
    options.enable_cpu_mem_arena = True
    # By the name alone it would take a file for its own format, which nothing here checks.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Plans memory for each shape that it meets and keeps the plan: shapes vary here.
    options.enable_mem_pattern = False
    if kernel_path().value != EXACT:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


@functools.cache
def load_runtime() -> Any:
    """The onnxruntime module, imported so that it sends no usage reports (see `telemetry`).

    Raises:
        MissingExtraError: it is not installed, or its installation is broken.
    """
    try:
        with telemetry.kept_off():
            import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise MissingExtraError(
            'ONNX Runtime is not installed; `pip install "embedge[cpu]"`, or "embedge[gpu]" for '
            "NVIDIA GPUs (one of the two, never both)"
        ) from None
    except (ImportError, OSError) as error:
        if lacks_memory(error) or "Too many open files" in str(error):
            raise MemoryLimitError(
                f"ONNX Runtime cannot be loaded for want of memory or open files ({error}); close "
                "other programs, or raise this process's limits (ulimit)"
            ) from error
        raise MissingExtraError(
            f"ONNX Runtime is installed and does not load: {error}. On Windows it needs the "
            "Microsoft Visual C++ Redistributable; otherwise install it again"
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):  # files left behind by an uninstall
        raise MissingExtraError(
            "the onnxruntime package is a shell without content; uninstall "
            f"{' and '.join(installed_distributions()) or 'it'}, then "
            '`pip install "embedge[cpu]"` or "embedge[gpu]"'
        )
    telemetry.switch_off(onnxruntime)
    return onnxruntime


def runtime_version() -> str:
    """The version of ONNX Runtime in use."""
    return str(load_runtime().__version__)


def attends_in_blocks() -> bool:
    """Whether attention's memory grows with a text's length here, not with its square."""
    version = re.match(r"(\d+)\.(\d+)", load_runtime().__version__)
    return version is not None and (int(version[1]), int(version[2])) >= BLOCKWISE_ATTENTION


def installed_distributions() -> list[str]:
    """Which distributions of ONNX Runtime are installed; more than one is a fault."""
    found = []
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)
            found.append(name)
    return found


@functools.cache
def kernel_path() -> Choice[str]:
    """Which integer kernel gives exact sums on this CPU, found by trying it once a process.

    x86 CPUs without VNNI add pairs of uint8 x int8 products in 16 bits, and ONNX Runtime lets them
    saturate. Its option `session.x64quantprecision` takes uint8 x uint8 there, which is exact and
    somewhat slower. Sessions are opened accordingly.

    Raises:
        MemoryLimitError: there is no memory to try it.
        DeviceError: ONNX Runtime fails at it.
    """
    if _probe(exact_option=False):
        return Choice(EXACT, "this CPU's uint8 x int8 kernel gives exact sums")
    if _probe(exact_option=True):
        return Choice(
            EXACT_BY_OPTION,
            "this CPU's uint8 x int8 kernel saturates (x86 without VNNI); the exact one is used",
        )
    return Choice(INEXACT, "no integer kernel of this ONNX Runtime gives exact sums here; use fp32")


def _probe(*, exact_option: bool) -> bool:
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    if exact_option:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = LOG_FATAL  # what fails is raised; stderr is the host's
    # One row and several rows may take different kernels.
    batches = [np.full((rows, PROBE_WIDTH), 255, np.uint8) for rows in (1, 7)]
    try:
        with native_work():
            session = runtime.InferenceSession(PROBE, options, providers=PROVIDERS["cpu"])
            answers = [session.run(None, {"a": batch})[0] for batch in batches]
    except Exception as error:
        if lacks_memory(error):
            raise MemoryLimitError(
                f"there is not enough memory even to try ONNX Runtime ({error}); close other "
                "programs, or raise this process's limit"
            ) from error
        raise DeviceError(
            f"ONNX Runtime {runtime.__version__} cannot run a small integer graph here: {error}; "
            'install onnxruntime again, or take precision "fp32"'
        ) from error
    return all(bool((answer == PROBE_ANSWER).all()) for answer in answers)
