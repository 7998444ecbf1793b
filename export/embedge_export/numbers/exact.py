"""Arithmetic with the same bits on every CPU: products, exponentials, angles, Cholesky.

A BLAS sums in an order that depends on the CPU and on the number of threads, and NumPy's own
exponentials and cosines differ in the last bit between instruction sets. A weight that lies half
way between two levels then rounds one way here and the other way there, and two machines write
two packs of one model. Here products are taken of numbers on a grid, so that every partial sum is
a whole number below 2^53: float64 holds it exactly, in whatever order it is summed (the splitting
of Ozaki et al., Numerical Algorithms 59, 2012). Everything else is made of single additions and
multiplications, which IEEE 754 rounds in one way. This module knows arrays alone, and imports
NumPy alone.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Double = NDArray[np.float64]

_MANTISSA = 53  # bits of a float64
_CHUNK = 256  # terms of one exact sum; chunks are added one after the other
# Of a chunk's largest value. Two such numbers and a sum of _CHUNK fill 52 bits.
_BITS = 22
_TOWERING = 32  # times the mean square: of a normal distribution, one row in 10^6 has such an entry
_SLAB = 2**15  # numbers worked on at a time, so that the steps between stay in a cache
_PANEL = 16  # columns of the Cholesky factor made at a time; the bits of the factor hang on it
_PANELS = 128  # columns that are updated with all before them at a time
_STRIP = 256  # rows of a result made at a time, so that a cache holds their sums
# log(2) in two parts: the product of the first with a small whole number is exact.
_LOG2_HIGH, _LOG2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# pi / 2 in three parts, likewise.
_HALF_PI = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)


def product(a: NDArray[Any], b: NDArray[Any]) -> Array:
    """Gives a b^T: (…, n, k) and (…, m, k) -> float32 (…, n, m).

    Both are rounded to 22 bits below the largest value of each 256 entries of a row, which loses
    about what a product in float32 loses. Rows of `a` with an entry that towers over the others
    keep 44 bits, where b is one matrix.
    """
    if b.ndim == 2 and a.ndim > 2:
        return product(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], len(b))
    total: Double | None = None
    one: Double | None = None  # of a chunk; one place for all, since new memory costs time
    for start in range(0, a.shape[-1], _CHUNK):
        left, right = a[..., start : start + _CHUNK], on_grid(b[..., start : start + _CHUNK])
        right = np.swapaxes(right, -1, -2)
        rounded = on_grid(left)
        if b.ndim == 2:
            one = _half_exact(left, rounded, right, out=one)
        else:
            one = np.matmul(rounded, right, out=one)
        if total is None:
            total, one = one, None
        else:
            total += one
    assert total is not None
    return total.astype(np.float32)


def gram(x: NDArray[Any]) -> Double:
    """The upper triangle of `product(x, x)`, bit for bit: (n, k) -> float64 (n, n).

    It takes half the work, and the memory of a few rows beside; what is below is not all zeros.
    """
    chunks = [x[:, start : start + _CHUNK] for start in range(0, x.shape[1], _CHUNK)]
    grid = [on_grid(chunk) for chunk in chunks]
    result = np.zeros((len(x), len(x)))
    for first in range(0, len(x), _STRIP):
        rows = slice(first, first + _STRIP)
        total: Double | None = None
        one: Double | None = None
        for chunk, rounded in zip(chunks, grid, strict=True):
            one = _half_exact(chunk[rows], rounded[rows], rounded[first:].T, out=one)
            if total is None:
                total, one = one, None
            else:
                total += one
        assert total is not None
        result[rows, first:] = total.astype(np.float32)
    return result


def _half_exact(
    left: NDArray[Any], rounded: Double, right: Double, *, out: Double | None
) -> Double:
    """Of one chunk, `left` times `right`, which is on the grid; `rounded` is `left` there.

    Rows of `left` with an entry that towers over the others get what the grid took from them.
    """
    one = np.matmul(rounded, right, out=out)
    squares = np.square(left, dtype=np.float64)
    towering = squares.max(axis=-1) > _TOWERING * squares.mean(axis=-1)
    if towering.any():
        one[towering] += on_grid(left[towering] - rounded[towering]) @ right
    return np.asarray(one)


def fine_product(a: NDArray[Any], b: NDArray[Any]) -> Array:
    """As `product`, with 44 bits of each: correct to float32's last bit but for rare ties.

    For sums that are to be what a float32 model's own code computes; three times the work.
    """
    result = np.empty((*a.shape[:-1], b.shape[-2]), np.float32)
    rights = [*_digits(b)]
    for start in range(0, a.shape[-2], _STRIP):
        rows = slice(start, start + _STRIP)  # few enough that a cache holds their sums
        total: Double | None = None
        one: Double | None = None
        for (left, rest), (right, other) in zip(_digits(a[..., rows, :]), rights, strict=True):
            for terms in ((left, right), (left, other), (rest, right)):
                one = np.matmul(terms[0], np.swapaxes(terms[1], -1, -2), out=one)
                if total is None:
                    total, one = one, None
                else:
                    total += one
        assert total is not None
        result[..., rows, :] = total
    return result


def _digits(x: NDArray[Any]) -> Iterator[tuple[Double, Double]]:
    """Of each chunk: its numbers on the grid, and what that leaves of them, on a finer one."""
    for start in range(0, x.shape[-1], _CHUNK):
        chunk = x[..., start : start + _CHUNK]
        rounded = on_grid(chunk)
        # Rounding may have reached the next power of two, below which lies another grid.
        yield on_grid(rounded), on_grid(chunk - rounded)


def on_grid(x: NDArray[Any]) -> Double:
    """Each row's numbers to multiples of 2^-22 of a power of two above its largest."""
    largest = np.maximum(x.max(axis=-1, keepdims=True), -x.min(axis=-1, keepdims=True))
    _, exponent = np.frexp(largest)  # largest < 2^exponent
    # Added to a number, this leaves no bits below the grid; taken away again, the number is on it.
    shift = np.ldexp(1.5, (_MANTISSA - 1 - _BITS) + exponent).astype(np.float64)
    rounded = np.add(x, shift, dtype=np.float64)
    return np.asarray(np.subtract(rounded, shift, out=rounded))


def exp(x: NDArray[Any]) -> Array:
    """e^x, float32 of any shape; 0 below -103, infinity above 89."""
    result = np.empty(x.shape, np.float32)
    source, target = np.ascontiguousarray(x).reshape(-1), result.reshape(-1)
    for start in range(0, len(source), _SLAB):
        slab = slice(start, start + _SLAB)
        values = np.clip(source[slab], -110, 95).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are as they should be
            target[slab] = _exp(values)
    return result


def _exp(x: Double) -> Double:
    """By powers of two and a polynomial of what remains, |rest| < log(2) / 2."""
    powers = np.rint(x * (1 / math.log(2)))
    rest = (x - powers * _LOG2_HIGH) - powers * _LOG2_LOW
    total = np.full_like(rest, 1 / math.factorial(13))
    for order in range(12, -1, -1):
        total *= rest
        total += 1 / math.factorial(order)
    return np.asarray(np.ldexp(total, powers.astype(np.int32)), np.float64)


def power(base: float, exponents: NDArray[Any]) -> Array:
    """base^exponents, float32."""
    return np.asarray(_exp(exponents.astype(np.float64) * math.log(base)), np.float32)


def cosine_sine(angles: NDArray[Any]) -> tuple[Array, Array]:
    """Cosines and sines of float32 angles up to about 10^6, float32."""
    flat = np.ascontiguousarray(angles).reshape(-1)
    cosine, sine = np.empty(flat.shape, np.float32), np.empty(flat.shape, np.float32)
    for start in range(0, len(flat), _SLAB):
        slab = slice(start, start + _SLAB)
        cosine[slab], sine[slab] = _cosine_sine(flat[slab].astype(np.float64))
    return cosine.reshape(angles.shape), sine.reshape(angles.shape)


def _cosine_sine(x: Double) -> tuple[Double, Double]:
    """By quarter turns and the series of what remains, |rest| <= pi / 4."""
    quarters = np.rint(x * (2 / math.pi))
    rest = x
    for part in _HALF_PI:
        rest = rest - quarters * part
    square = rest * rest
    cosine, sine = (np.full_like(rest, sign / math.factorial(n)) for n, sign in ((16, 1), (17, 1)))
    for order in range(14, -1, -2):
        sign = 1 if order % 4 == 0 else -1
        cosine *= square
        cosine += sign / math.factorial(order)
        sine *= square
        sine += sign / math.factorial(order + 1)
    sine *= rest
    turn = quarters.astype(np.int64) % 4
    odd = turn % 2 == 1
    return (
        np.where(odd, sine, cosine) * np.where((turn == 1) | (turn == 2), -1.0, 1.0),
        np.where(odd, cosine, sine) * np.where(turn >= 2, -1.0, 1.0),
    )


def cholesky(matrix: Double) -> Double:
    """The upper triangular U with U^T U = matrix, float64 (n, n), in the matrix's own place.

    Left-looking, panel by panel. The matrix's upper triangle is not read, and becomes U; what is
    below means nothing then. So a matrix of 75 MB takes one more, and not three.

    A column of U is nowhere larger than the root of the matrix's diagonal there, so that column is
    put on a grid below that: as fine as 52 bits allow for sums of its length. What the panels
    before ask of many is one product: its sums are exact, so it may be cut in any way.

    Raises:
        ValueError: the matrix is not positive definite.
    """
    size = len(matrix)
    bits = (_MANTISSA - 1 - math.ceil(math.log2(max(2, size)))) // 2
    _, exponents = np.frexp(np.sqrt(np.diag(matrix)))
    shifts = np.ldexp(1.5, (_MANTISSA - 1 - bits) + exponents).astype(np.float64)
    coarse = np.zeros((size, size))  # U on its grid
    for start in range(0, size, _PANELS):
        stop = min(start + _PANELS, size)
        known = coarse[:start, start:stop].T @ coarse[:start, start:]
        for first in range(start, stop, _PANEL):
            end = min(first + _PANEL, stop)
            panel = known[first - start : end - start, first - start :]
            panel += coarse[start:first, first:end].T @ coarse[start:first, first:]
            np.subtract(matrix[first:, first:end].T, panel, out=panel)
            _factor_panel(panel)
            matrix[first:end, first:] = panel
            np.add(panel, shifts[first:], out=panel)
            np.subtract(panel, shifts[first:], out=coarse[first:end, first:])
    return matrix


def _factor_panel(panel: Double) -> None:
    """Makes rows of U, (rows, columns from the first row's on), of what is left of the matrix."""
    count = len(panel)
    for row in range(count):
        pivot = panel[row, row]
        if not pivot > 0:
            raise ValueError("the matrix is not positive definite")
        panel[row, row:] /= math.sqrt(pivot)
        beside = panel[row, row + 1 :]
        panel[row + 1 :, row + 1 :] -= beside[: count - row - 1, None] * beside
    panel[:, :count] = np.triu(panel[:, :count])
