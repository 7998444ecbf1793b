"""Weights by name, whichever files hold them: what every later stage of an export reads from.

Takes nothing from a disk and knows of no file format; `checkpoint.py` opens those of a folder.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedge.errors import SourceError


class Weights(Protocol):
    """What every later stage of an export reads from."""

    def keys(self) -> Collection[str]:
        """Names of the tensors."""

    def __contains__(self, key: object) -> bool:
        """Whether there is a tensor of this name."""

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, known without reading it."""

    def read(self, key: str) -> NDArray[np.float32]:
        """The tensor, C-contiguous, read again at each call."""

    def rows(self, key: str, places: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """`read(key)[places]`, of a table whose other rows need no memory."""


def check_tensors(
    weights: Weights,
    expected: Iterable[tuple[str, tuple[int, ...]]],
    network: str,
    *,
    unread: Callable[[str], bool] = lambda key: False,
    prefix: str = "",
) -> None:
    """Every tensor is there with its shape, and there is none that nobody would read.

    Args:
        weights: the checkpoint.
        expected: name and shape of each tensor that the network reads. The first that is missing
            ends the walk, however many layers a config claims.
        network: what messages call it.
        unread: which others may be there, because they change nothing.
        prefix: what stands before the keys in the file.

    Raises:
        SourceError: a tensor is missing, unknown or of another shape.
    """
    read: set[str] = set()
    for key, shape in expected:
        if key not in weights:
            raise SourceError(
                f"the weights lack the tensor {prefix + key!r}, which {network} has; is the "
                "checkpoint complete?"
            )
        if weights.shape(key) != shape:
            raise SourceError(
                f"tensor {prefix + key!r} has shape {weights.shape(key)}, config.json says {shape}"
            )
        read.add(key)
    for key in sorted(set(weights.keys()) - read):
        if not unread(key):
            raise SourceError(
                f"the weights have a tensor {prefix + key!r} that {network} does not use; "
                "leaving it out could change the vectors"
            )
