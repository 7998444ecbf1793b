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
# Columns; what those before a block ask of it is one product, and so for a run of blocks. The sums
# are exact, so that they may be cut in any way.
_BLOCK, _BLOCKS = 32, 256
_ROWS = 2**20  # numbers rounded at a time, so that a table takes no second float32 copy
# Of a step: errors are counted in them. An error is below 2^8 steps, so below 2^24 units.
_ERROR_UNITS = 2**16


def scales(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale a row, (rows,): its largest absolute value is the last level."""
    largest = np.maximum(matrix.max(axis=1), -matrix.min(axis=1))
    return np.asarray(np.maximum(largest, SMALLEST) / LEVELS, np.float32)


def nearest(matrix: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.int8]:
    """Each value to its nearest level."""
    result = np.empty(matrix.shape, np.int8)
    count = max(1, _ROWS // matrix.shape[1])
    for start in range(0, len(matrix), count):
        rows = slice(start, start + count)
        levels = matrix[rows] / scale[rows, None]
        np.rint(levels, out=levels)
        result[rows] = np.clip(levels, -LEVELS, LEVELS, out=levels)
    return result


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
    least, most = np.float64(lowest), np.float64(highest)
    errors = np.empty(columns.shape)  # in those units, whole numbers
    levels = np.empty(columns.shape, np.int8)
    level = np.empty(columns.shape[1])  # of a column; this loop is most of an export's small steps
    for start in range(0, len(columns), _BLOCKS):
        stop = min(start + _BLOCKS, len(columns))
        wanted = feedback[start:stop, :start] @ errors[:start]
        for first in range(start, stop, _BLOCK):
            block = slice(first, min(first + _BLOCK, stop))
            asked_of = wanted[first - start : block.stop - start]
            asked_of += feedback[block, start:first] @ errors[start:first]
            values = columns[block].astype(np.float64)
            sizes = steps[block].astype(np.float64)
            for column, asked, value, step in zip(
                range(first, block.stop), asked_of, values, sizes, strict=True
            ):
                if column > first:
                    asked += feedback[column, first:column] @ errors[first:column]
                np.multiply(asked, unit, out=level)
                np.add(value, level, out=level)
                np.divide(level, step, out=level)
                np.rint(level, out=level)
                np.maximum(level, least, out=level)
                np.minimum(level, most, out=level)
                levels[column] = level
                np.multiply(level, step, out=level)
                np.subtract(value, level, out=level)
                np.divide(level, unit, out=level)
                np.rint(level, out=errors[column])
    return levels.T
