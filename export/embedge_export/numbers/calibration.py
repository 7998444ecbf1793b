"""What a linear reads: calibration rows, in the coordinates of its weight, for rounding it.

The rows come from the NumPy reference's pass over the calibration texts or images. They follow the
weight: when a norm or a rotation is folded into it, `unnormed`, `rotated` and `blocks` turn the
rows likewise, so that x W^T stays what it is. Linears that read the same rows share one object, and
so what is computed of them. This module knows neither graphs nor precisions.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embedge_export.numbers.exact import cholesky, gram
from embedge_export.numbers.rotation import Rotation, rotate_blocks

# Share of the mean square that every direction is given: those that no text took are not free.
_DAMPING = 0.01

_ERROR_BITS = 24  # of the whole numbers that feedback is multiplied by

# Rows that linears read, float32 (tokens, in), by the key of a weight.
CalibrationRows = dict[str, NDArray[np.float32]]


class Inputs:
    """Sample rows of one linear's input, float32 (tokens, width).

    What they become is kept by the step alone: a linear reads one norm's rows, of one stream.
    """

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = rows
        self._turned: dict[object, Inputs] = {}

    def unnormed(
        self, gain: NDArray[np.float32], bias: NDArray[np.float32] | None = None
    ) -> "Inputs":
        """The rows before the norm's gain and bias."""

        def before() -> NDArray[np.float32]:
            rows = self.rows if bias is None else self.rows - bias
            return np.divide(rows, gain, out=np.zeros_like(rows), where=gain != 0)

        return self._once("unnormed", before)

    def rotated(self, rotation: Rotation) -> "Inputs":
        """The rows in a rotated stream."""
        return self._once("rotated", lambda: rotation.apply(self.rows))

    def blocks(self, block: int) -> "Inputs":
        """The rows with their blocks multiplied by a Hadamard matrix."""
        return self._once(block, lambda: rotate_blocks(self.rows, block))

    def _once(self, step: object, rows: Callable[[], NDArray[np.float32]]) -> "Inputs":
        if step not in self._turned:
            self._turned[step] = Inputs(rows())
        return self._turned[step]

    @cached_property
    def feedback(self) -> NDArray[np.float64]:
        """Below the diagonal: M with X^T X + damping = M^T D M, unit lower triangular.

        Float64 (width, width); what stands elsewhere means nothing. Its entries are on a grid: a
        row's sum with whole numbers below 2^24 is exact.
        """
        moments = gram(np.ascontiguousarray(self.rows.T))
        width = len(moments)
        moments[np.diag_indices(width)] += max(_DAMPING * float(np.trace(moments)) / width, 1e-12)
        # From the last column to the first, an upper triangular factor is a lower one. All of it is
        # done in one place: new memory costs time.
        feedback = cholesky(moments[::-1, ::-1])[::-1, ::-1]
        largest = 0.0
        for index, row in enumerate(feedback):
            below = row[: index + 1]
            below /= below[index]
            largest = max(largest, float(np.abs(below).sum()))
        shift = math.ldexp(1.5, 52 - (52 - _ERROR_BITS - math.frexp(largest)[1]))
        feedback += shift
        feedback -= shift
        return np.asarray(feedback)


def take_rows(samples: CalibrationRows, prefix: str, modules: Sequence[str]) -> list[Inputs | None]:
    """The rows of each of a layer's modules, taken out of the samples, which need the memory."""
    rows = [samples.pop(f"{prefix}.{module}.weight", None) for module in modules]
    return [None if found is None else Inputs(found) for found in rows]
