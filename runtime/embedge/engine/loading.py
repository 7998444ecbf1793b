"""ONNX Runtime, found and imported: the one door to it, and its versions.

Importing it makes it report how it is used unless `telemetry` keeps that off, so nothing else
imports it. It is imported when it is first needed. Knows no graph.
"""

import contextlib
import functools
import importlib.metadata
from typing import Any

from embedge.engine import telemetry
from embedge.errors import MemoryLimitError, MissingExtraError
from embedge.failures import lacks_memory

CPU = "CPUExecutionProvider"
# All of them fill the one module `onnxruntime`; whichever was installed last wins.
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
LOG_FATAL = 4


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


def installed_distributions() -> list[str]:
    """Which distributions of ONNX Runtime are installed; more than one is a fault."""
    found = []
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)
            found.append(name)
    return found
