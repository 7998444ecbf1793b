"""An orthogonal rotation of the residual stream, as a product of small factors.

Transformers of this kind have a few enormous channels, and one integer scale then serves them
and nothing else. A rotation Q spreads each of them over all channels; folded into the weights on
both sides of the residual stream it changes nothing else (QuaRot, arXiv 2404.00456, section 4).
Q = D (R x H) with random signs D, a random orthogonal R for the odd part of the width, and a
Hadamard matrix H for the power of two: applying it costs a few sums and one small product, not
that of a square matrix. All of it has the same bits on every CPU (exact.py), for what is rounded
afterwards hangs on them. This module knows vectors and widths, not networks.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from embedge_export.numbers.exact import product

_SEED = 20260217
_SLAB = 2**15  # numbers worked on at a time, so that the steps between stay in a cache
_ROWS = 2**20  # numbers of the rows that are rotated at a time: 4 MB, however long a table is
_NARROW = 16  # runs of fewer numbers are slow to add one by one


class Rotation:
    """The rotation of a width, the same on every machine and for every task."""

    def __init__(self, width: int) -> None:
        self.width = width
        generator = np.random.default_rng(_SEED + width)
        self._signs = generator.choice(np.array([-1.0, 1.0], np.float32), width)
        self._power = width & -width  # largest power of two that divides the width
        self._odd = width // self._power
        self._random = _orthogonal(generator.standard_normal((self._odd, self._odd)))

    def apply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gives x Q over the last axis: float32 (…, width) -> the same shape."""
        result = np.empty(x.shape, np.float32)
        source, target = (array.reshape(-1, self.width) for array in (x, result))
        count = max(1, _ROWS // self.width)
        for start in range(0, len(source), count):
            rows = slice(start, start + count)
            target[rows] = self._turned(source[rows])
        return result

    def _turned(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        turned = _times_hadamard(np.asarray(rows * self._signs, np.float32), self._power)
        if self._odd > 1:
            # (rows, odd, power): the random factor acts on the blocks of a row.
            blocks = turned.reshape(-1, self._odd, self._power).transpose(0, 2, 1)
            turned = product(blocks, self._random.T).transpose(0, 2, 1)
        return turned.reshape(rows.shape)

    def matrix(self) -> NDArray[np.float32]:
        """Q itself, float32 (width, width)."""
        return self.apply(np.eye(self.width, dtype=np.float32))


@cache
def hadamard(size: int) -> NDArray[np.float32]:
    """The orthonormal, symmetric Hadamard matrix of a power of two, float32 (size, size)."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return np.asarray(matrix / np.sqrt(size), np.float32)


def block_of(width: int, largest: int) -> int:
    """The size of the blocks that a width is spread by; it divides the width.

    A power of two where the width has one that is worth it, for nothing spreads as evenly as a
    Hadamard matrix; the MLP of EVA02-L, 2,730 wide, has none.
    """
    power = min(width & -width, largest)
    if power >= largest // 4:
        return power
    return max(size for size in range(1, largest + 1) if width % size == 0)


@cache
def mixer(block: int) -> NDArray[np.float32]:
    """The orthogonal matrix that spreads a block: Hadamard, or random where there is none."""
    return hadamard(block) if block & (block - 1) == 0 else Rotation(block).matrix()


def rotate_blocks(x: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Multiplies each run of `block` entries of the last axis by `mixer(block)`."""
    if block & (block - 1) == 0:
        return _times_hadamard(x, block)
    return product(x.reshape(-1, block), mixer(block).T).reshape(x.shape)


def _times_hadamard(x: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Multiplies each run of `block` entries, a power of two, by `hadamard(block)`.

    By sums and differences of halves, quarters and so on: fewer steps than a product, and each is a
    single addition, which every CPU rounds alike. A few rows at a time, so that the steps between
    stay in a cache.
    """
    result = np.empty(x.shape, np.float32)
    source = np.ascontiguousarray(x, np.float32).reshape(-1, block)
    target = result.reshape(-1, block)
    count = max(1, _SLAB // block)
    for start in range(0, len(source), count):
        rows = slice(start, start + count)
        turned = _butterflies(source[rows])
        np.multiply(turned, np.float32(block**-0.5), out=target[rows].reshape(turned.shape))
    return result


def _butterflies(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums and differences over the last axis, a power of two, in a shape that may be another."""
    values, half = rows, rows.shape[-1] // 2
    if not half:
        return values
    while half >= _NARROW:
        values = _sums_and_differences(values.reshape(-1, 2, half))
        half //= 2
    # What is left pairs near neighbors. They become long rows first, which are quicker to add.
    width = 2 * half
    turned = np.ascontiguousarray(values.reshape(-1, width).T)
    count = turned.shape[1]
    while half:
        turned = _sums_and_differences(turned.reshape(-1, 2, half * count))
        half //= 2
    return turned.reshape(width, count).T


def _sums_and_differences(pairs: NDArray[np.float32]) -> NDArray[np.float32]:
    result = np.empty_like(pairs)
    np.add(pairs[:, 0], pairs[:, 1], out=result[:, 0])
    np.subtract(pairs[:, 0], pairs[:, 1], out=result[:, 1])
    return result


def _orthogonal(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Columns of a square matrix made orthonormal, one after the other (Gram-Schmidt)."""
    columns = np.ascontiguousarray(matrix.T)
    for index, column in enumerate(columns):
        for _ in range(2):  # once leaves what rounding left
            for before in columns[:index]:
                column -= before * np.sum(before * column)
        column /= np.sqrt(np.sum(np.square(column)))
    return np.asarray(columns.T, np.float32)
