"""Points in the plane as a grid of letters, for terminals.

Takes points (n, 2) and a letter for each, gives lines. Every point is shown: where two fall on
one cell, the later takes the nearest that is free.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EMPTY = " "
ASPECT = 2.0  # a cell is so much higher than wide


def draw(
    points: NDArray[np.float64], letters: Sequence[str], *, columns: int, rows: int
) -> list[str]:
    """The grid, `rows` lines of `columns` characters.

    Args:
        points: (n, 2); x to the right, y upwards.
        letters: of each point; one character each.
        columns: of the grid.
        rows: of the grid; there must be a cell for every point.
    """
    if columns * rows < len(points):
        raise ValueError(f"{columns} x {rows} cells do not hold {len(points)} points")
    low = points.min(axis=0)
    span = np.maximum(points.max(axis=0) - low, 1e-9)
    scaled = (points - low) / span * [columns - 1, rows - 1]  # (n, 2)
    x, y = scaled[:, 0], rows - 1 - scaled[:, 1]
    grid = np.full((rows, columns), EMPTY)
    down, across = np.indices(grid.shape)
    for letter, column, row in zip(letters, x, y, strict=True):
        distance = ((down - row) * ASPECT) ** 2 + (across - column) ** 2
        distance[grid != EMPTY] = np.inf
        grid[np.unravel_index(distance.argmin(), grid.shape)] = letter
    return ["".join(line) for line in grid]
