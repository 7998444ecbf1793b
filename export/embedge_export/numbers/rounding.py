"""Weights to integers so that the products keep their values, not each weight its own.

Rounding a weight to its nearest step is best for inputs that are as large in every direction. Real
inputs are not, and an error in one column can be made good in the columns after it (GPTQ, arXiv
2210.17323, in the form of QuIP's LDLQ, arXiv 2307.13304, section 3). Takes float32 weights, one
scale a row or a block of columns, and sample inputs; gives int8 of the same shape.
"""

import numpy as np
from numpy.typing import NDArray

from embedge_export.numbers.calibration import Inputs

LEVELS = np.float32(127)  # symmetric: -127..127, so that no sign is favored
DIGIT = 2 * LEVELS  # what one step of a second digit divides: half a step is its most
SMALLEST = np.float32(1e-30)  # a scale for rows of zeros
_BLOCK = 32  # columns; what those before a block ask of it is one product
# Of a step: errors are counted in them. An error is below 2^8 steps, so below 2^24 units.
_ERROR_UNITS = 2**16


def scales(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale a row, (rows,): its largest absolute value is the last level."""
    largest = np.maximum(matrix.max(axis=1), -matrix.min(axis=1))
    return np.asarray(np.maximum(largest, SMALLEST) / LEVELS, np.float32)


def nearest(matrix: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.int8]:
    """Each value to its nearest level."""
    levels = matrix / scale[:, None]
    np.rint(levels, out=levels)
    return np.asarray(np.clip(levels, -LEVELS, LEVELS, out=levels), np.int8)


def compensate(
    weight: NDArray[np.float32],
    scale: NDArray[np.float32],
    inputs: Inputs,
    *,
    lowest: np.float32 = -LEVELS,
    highest: np.float32 = LEVELS,
) -> NDArray[np.int8]:
    """Column by column to the nearest level, after adding what earlier columns' errors ask for.

    Args:
        weight: float32 (rows, columns).
        scale: one a row, (rows,); or one for each block of columns, (rows, columns, repeated).
        inputs: what the weight reads.
        lowest: level.
        highest: level.
    """
    feedback = inputs.feedback
    columns = np.ascontiguousarray(weight.T)  # (in, out)
    steps = np.broadcast_to(scale if scale.ndim == 1 else scale.T, columns.shape)
    # What is summed lies on a grid, so that sums are exact and every CPU takes the same levels.
    unit = np.abs(steps).max(axis=0).astype(np.float64) / _ERROR_UNITS  # (out,)
    errors = np.zeros(columns.shape)  # in those units, whole numbers
    levels = np.empty(columns.shape, np.int8)
    for start in range(0, len(columns), _BLOCK):
        block = slice(start, start + _BLOCK)
        wanted = feedback[:start, block].T @ errors[:start]
        for column, asked in enumerate(wanted, start):
            if column > start:
                asked += feedback[start:column, column] @ errors[start:column]
            step = steps[column]
            rounded = np.rint((columns[column] + asked * unit) / step)
            np.clip(rounded, lowest, highest, out=rounded)
            levels[column] = rounded
            np.rint((columns[column] - rounded * step) / unit, out=errors[column])
    return levels.T
