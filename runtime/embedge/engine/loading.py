"""ONNX Runtime, found and imported: the one door to it, its versions and its providers.

Importing it makes it report how it is used unless `telemetry` keeps that off, so nothing else
imports it. It is imported when it is first needed. Knows no graph.
"""

import contextlib
import functools
import importlib.metadata
import re
from typing import Any

from embedge.engine import telemetry
from embedge.errors import MemoryLimitError, MissingExtraError
from embedge.failures import lacks_memory

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PROVIDERS: dict[str, list[Any]] = {
    "cpu": [CPU],
    "cuda": [
        (
            CUDA,
            {
                # The pool grows by what is asked for, not by powers of two: its peak is the peak.
                "arena_extend_strategy": "kSameAsRequested",
                # By default every new shape of a convolution is tried with all algorithms, whatever
                # memory they take. Only networks from transformers have any.
                "cudnn_conv_algo_search": "HEURISTIC",
                "cudnn_conv_use_max_workspace": "0",
            },
        ),
        CPU,
    ],
}
# All of them fill the one module `onnxruntime`; whichever was installed last wins.
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
LOG_FATAL = 4
# From this version on, the CPU's GroupQueryAttention works in blocks where the node names its
# present outputs, as the exporter's do. Before, it holds the full square of scores for every head:
# 4,096 tokens, 16 heads, one layer took 1,168 MB on 1.23 to 1.27, and 144 MB on 1.28 to 1.31.
BLOCKWISE_ATTENTION = (1, 28)


def providers(device: str, *, memory: int | None = None, captures: bool = False) -> list[Any]:
    """The providers of a session, with their options.

    Args:
        device: "cpu" or "cuda".
        memory: bytes that a GPU's pool may take, weights included; None: not bounded.
        captures: whether runs are captured as CUDA graphs.
    """
    added = {} if memory is None else {"gpu_mem_limit": str(memory)}
    if captures:
        added["enable_cuda_graph"] = "1"
    if device == "cpu" or not added:
        return PROVIDERS[device]
    (name, options), *others = PROVIDERS[device]
    return [(name, options | added), *others]


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
