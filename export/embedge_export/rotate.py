"""An orthogonal rotation of the residual stream, as a product of small factors.

Transformers of this kind have a few enormous channels, and one integer scale then serves them
and nothing else. A rotation Q spreads each of them over all channels; folded into the weights on
both sides of the residual stream it changes nothing else (QuaRot, arXiv 2404.00456, section 4).
Q = D (R x H x H ...) with random signs D, a random orthogonal R for the odd part of the width,
and Hadamard factors for the powers of two: applying it costs a few small products, not a
square matrix. This module knows vectors and widths, not networks.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

# Hadamard factors of at most this size: two of 32 serve a width of 1,024.
_FACTOR = 32
_SEED = 20260217


class Rotation:
    """The rotation of a width, the same on every machine and for every task."""

    def __init__(self, width: int) -> None:
        self.width = width
        generator = np.random.default_rng(_SEED + width)
        self._signs = generator.choice(np.array([-1.0, 1.0], np.float32), width)
        power = width & -width  # largest power of two that divides the width
        self._factors = _hadamard_factors(power)
        if power < width:
            odd = width // power
            random, _ = np.linalg.qr(generator.standard_normal((odd, odd)))
            self._factors.insert(0, random.astype(np.float32))

    def apply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gives x Q over the last axis: float32 (…, width) -> the same shape."""
        result = np.asarray(x * self._signs, np.float32)
        leading = x.shape[:-1]
        before, after = 1, self.width
        for factor in self._factors:
            size = len(factor)
            after //= size
            # (rows, before, size, after): one factor acts on one axis of the unfolded width.
            unfolded = result.reshape(-1, before, size, after)
            result = (
                np.matmul(factor.T, unfolded)
                if after > 1
                else np.matmul(unfolded.reshape(-1, size), factor)
            )
            before *= size
        return np.ascontiguousarray(result.reshape(*leading, self.width))

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
    return np.asarray((x.reshape(-1, block) @ mixer(block)).reshape(x.shape), np.float32)


def _hadamard_factors(power: int) -> list[NDArray[np.float32]]:
    factors = []
    while power > 1:
        size = min(power, _FACTOR)
        factors.append(hadamard(size))
        power //= size
    return factors
