"""Why a file or a network could not be loaded, and what helps: the pack is not always at fault.

The system says it in an error number, ONNX Runtime in words alone. Takes their exceptions, gives
remedies, and errors of ours that name the real cause. Opens nothing.
"""

import errno
import os
import re
from pathlib import Path
from typing import Protocol

from embedge.errors import DeviceError, EmbedgeError, MemoryLimitError, PackFileError
from embedge.reasons import reason_of

COPY_AGAIN = (
    "copy or export the pack again (`embedge verify FOLDER` lists everything that is wrong)"
)
_FILES = (
    "this process has too many files open; close some, or raise its limit (ulimit -n), for the "
    "pack is not at fault"
)
_REMEDIES = {
    errno.EMFILE: _FILES,
    errno.ENFILE: "this system has too many files open; close some programs",
    errno.ENOMEM: "there is too little memory; close other programs",
    errno.EACCES: "change the permissions, or run as a user who may read it",
    errno.EPERM: "change the permissions, or run as a user who may read it",
    errno.EIO: "the disk or the network drive fails; copy the pack to another one",
    errno.ESTALE: "the network drive has lost it; try again",
}
_MEMORY = (
    *("llocate", "bad_alloc", "out of memory", "emory allocation"),
    # A GPU's pool at its limit; cuBLAS and cuDNN on a full GPU.
    *("is smaller than requested bytes", "ALLOC_FAILED"),
)
_SYSTEM = re.compile(r"(?:SystemError : |errcode = |errno:? ?)(\d+)")
_OPERATOR = (
    "No Op registered for",
    "is not a registered function/op",
    "Could not find an implementation for",
    "NOT_IMPLEMENTED",
    "Unsupported model IR version",
    "only *guarantees* support for models stamped with official released onnx opset",
)


class Device(Protocol):
    """Where a graph runs; see `engine.providers.provider.Provider`."""

    @property
    def device(self) -> str:
        """Its name as `device=` takes it."""

    @property
    def hardware(self) -> str:
        """What does the work."""

    @property
    def failure_signs(self) -> tuple[str, ...]:
        """Words of errors that are its own fault."""


def file_remedy(error: OSError) -> str:
    """What to do about a file of a pack that cannot be read."""
    return _REMEDIES.get(error.errno or 0, COPY_AGAIN)


def lacks_memory(error: BaseException) -> bool:
    """Whether something failed for want of memory."""
    if isinstance(error, MemoryError) or _errno(error) == errno.ENOMEM:
        return True
    return any(word in str(error) for word in _MEMORY)


def loading_failure(graph: Path, error: Exception, *, version: str, device: Device) -> EmbedgeError:
    """The error for a graph that ONNX Runtime did not load.

    Args:
        graph: its file.
        error: what ONNX Runtime raised.
        version: of ONNX Runtime.
        device: where it runs.
    """
    reason = reason_of(error)
    if lacks_memory(error):
        return MemoryLimitError(
            f"there is not enough memory to load {graph} ({reason}); close other programs, or "
            "choose a smaller model or precision"
        )
    code = _errno(error)
    if code in _REMEDIES:
        return PackFileError(
            f"{graph} or its data cannot be read: {os.strerror(code)}; {_REMEDIES[code]}"
        )
    if any(sign in str(error) for sign in device.failure_signs):
        return DeviceError(
            f"{graph} cannot be loaded onto {device.hardware}: {reason}; see what `embedge doctor "
            f'--device {device.device}` says, or pass device="cpu"'
        )
    if any(words in str(error) for words in _OPERATOR):
        return PackFileError(
            f"{graph} cannot be loaded by ONNX Runtime {version}, which lacks what the graph "
            f"needs: {reason}; update onnxruntime, or export the pack again with the embedge that "
            "is installed here"
        )
    return PackFileError(
        f"{graph} cannot be loaded by ONNX Runtime {version}: {reason}; see what `embedge verify` "
        "says, update onnxruntime, or export the pack again"
    )


def running_failure(
    graph: Path, work: str, error: Exception, *, limits: str, device: Device
) -> EmbedgeError:
    """The error for a run that ONNX Runtime did not end well.

    Args:
        graph: its file.
        work: what was run, in words.
        error: what ONNX Runtime raised.
        limits: the options that bound what one run takes.
        device: where it runs.
    """
    reason = reason_of(error)
    if lacks_memory(error):
        return MemoryLimitError(f"no memory for {work}: {reason}; lower {limits}")
    if any(sign in str(error) for sign in device.failure_signs):
        return DeviceError(
            f"{device.hardware} failed on {work}: {reason}; see what `embedge doctor --device "
            f'{device.device}` says, or pass device="cpu"'
        )
    return PackFileError(
        f"{graph} failed on {work}: {reason}; update onnxruntime, or export the pack again"
    )


def _errno(error: BaseException) -> int:
    if isinstance(error, OSError):
        return error.errno or 0
    found = _SYSTEM.search(str(error))
    return int(found[1]) if found else 0
