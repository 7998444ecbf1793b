"""What a linear reads: sample rows, in the coordinates of its weight, for whoever rounds it.

The rows come from the NumPy reference's pass over the calibration texts. They follow the weight:
when a norm's gain or a rotation is folded into it, `normed` and `blocks` turn the rows likewise, so
that x W^T stays what it is. Linears that read the same rows share one object, and so what is
computed of them. This module knows neither graphs nor precisions.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embedge_export.rotate import Rotation, rotate_blocks

# Share of the mean square that every direction is given: those that no text took are not free.
_DAMPING = 0.01


class Inputs:
    """Sample rows of one linear's input, float32 (tokens, width)."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = rows
        self._turned: dict[object, Inputs] = {}

    def normed(self, gain: NDArray[np.float32], rotation: Rotation) -> "Inputs":
        """The rows before the norm's gain, in a rotated stream."""
        if "normed" not in self._turned:
            plain = np.divide(self.rows, gain, out=np.zeros_like(self.rows), where=gain != 0)
            self._turned["normed"] = Inputs(rotation.apply(plain))
        return self._turned["normed"]

    def blocks(self, block: int) -> "Inputs":
        """The rows with their blocks multiplied by a Hadamard matrix."""
        if block not in self._turned:
            self._turned[block] = Inputs(rotate_blocks(self.rows, block))
        return self._turned[block]

    @cached_property
    def feedback(self) -> NDArray[np.float32]:
        """Unit upper triangular M with X^T X + damping = M D M^T, float32 (width, width)."""
        moments = self.rows.T @ self.rows
        width = len(moments)
        moments[np.diag_indices(width)] += max(_DAMPING * float(np.trace(moments)) / width, 1e-12)
        # Cholesky's factor is lower triangular: from the last column to the first it is upper.
        upper = np.linalg.cholesky(moments[::-1, ::-1].astype(np.float64))[::-1, ::-1]
        return np.ascontiguousarray(upper / np.diag(upper), np.float32)
