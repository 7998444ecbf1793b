"""Vectors in two bits a dimension, for a first look at many: pure NumPy, and no index.

A vector's difference from the mean of its block is cut into four levels, those of a Gaussian (Max,
"Quantizing for minimum distortion", 1960), and a scale for each vector makes the product of the
levels with a query an estimate of the vector's own product. The estimator is that of RaBitQ (Gao
and Long, SIGMOD 2024; with several bits Gao et al., SIGMOD 2025), without the random rotation,
which changed little at two bits with the bundled model.

Products are counted in bits: the query is rounded to 5 bits, and each of its bit planes is compared
with each of the two bit planes of the codes, 64 dimensions at a time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge.vectors import Vectors

_STEP = 0.9957  # standard deviations between levels
_WORD = 64  # dimensions
_QUERY_BITS = 5
_STORED_FLOAT, _STORED_WIDTH = np.dtype("<f4"), np.dtype("<u8")
# In NumPy 1 there is no count of bits: it is looked up, 16 of them at a time.
_COUNTS = np.array([0], np.uint8)
for _ in range(16):
    _COUNTS = np.concatenate([_COUNTS, _COUNTS + np.uint8(1)])


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of n vectors of D dimensions."""

    planes: NDArray[np.uint64]  # (2, words, n): the lower and the upper bit of each level
    mean: NDArray[np.float32]  # (D,)
    scales: NDArray[np.float32]  # (n,)

    @classmethod
    def of(cls, vectors: Vectors) -> "Codes":
        """Makes the codes of vectors (n, D)."""
        count, width = vectors.shape
        mean = vectors.mean(0, dtype=np.float64).astype(np.float32)
        rest = vectors - mean
        squares = np.einsum("nd,nd->n", rest, rest)
        steps = _STEP * np.sqrt(squares / width)
        steps[steps == 0] = 1  # of the mean itself: any level, for its scale is 0
        levels = np.clip(np.floor(rest / steps[:, None]) + 2, 0, 3).astype(np.uint8)  # (n, D)
        products = np.einsum("nd,nd->n", levels - np.float32(1.5), rest)
        scales = np.divide(squares, products, out=np.zeros_like(squares), where=products > 0)
        planes = np.stack([_packed(levels & 1).T, _packed(levels >> 1).T])
        assert planes.shape == (2, _words(width), count)
        return cls(planes, mean, scales)

    @classmethod
    def from_bytes(cls, data: bytes, count: int) -> "Codes | None":
        """Reads the codes of so many vectors; None if they are not."""
        if len(data) < _STORED_WIDTH.itemsize:
            return None
        width = int(np.frombuffer(data, _STORED_WIDTH, 1)[0])
        start = _STORED_WIDTH.itemsize
        size = 2 * _words(width) * count
        if len(data) != start + 8 * size + 4 * (width + count):
            return None
        planes = np.frombuffer(data, np.uint64, size, start).reshape(2, _words(width), count)
        floats = np.frombuffer(data, _STORED_FLOAT, offset=start + 8 * size)
        return cls(planes, floats[:width], floats[width:])

    def to_bytes(self) -> bytes:
        """What `from_bytes` reads."""
        width = np.array([len(self.mean)], _STORED_WIDTH)
        floats = np.concatenate([self.mean, self.scales]).astype(_STORED_FLOAT)
        return width.tobytes() + self.planes.tobytes() + floats.tobytes()

    def only(self, chosen: NDArray[np.bool_]) -> "Codes":
        """The codes of some of the vectors, with the mean of all of them."""
        planes = np.ascontiguousarray(self.planes[:, :, chosen])
        return Codes(planes, self.mean, self.scales[chosen])


class CodedQuery:
    """A query (D,) as it is compared with codes."""

    def __init__(self, query: Vectors) -> None:
        self._query = query
        most = 2 ** (_QUERY_BITS - 1) - 1
        self._step = float(np.abs(query).max()) / most or 1.0
        values = np.rint(query / self._step).astype(np.int8)  # (D,), of two's complement
        self._total = int(values.sum(dtype=np.int64))
        planes = [_packed(((values >> bit) & 1).astype(np.uint8)[None])[0] for bit in _BITS]
        self._planes = np.stack(planes)[:, None, :, None]  # (bits, 1, words, 1)
        signed = np.array([2.0**bit for bit in _BITS[:-1]] + [-(2.0 ** _BITS[-1])], np.float32)
        weights = np.outer(signed, np.array([1, 2], np.float32))  # (bits, 2)
        self._weights = np.repeat(weights.ravel(), self._planes.shape[2])

    def products(self, codes: Codes) -> NDArray[np.float32]:
        """About the products of the query with the vectors that the codes are of: (n,)."""
        counts = _count_bits(codes.planes & self._planes)  # (bits, 2, words, n)
        # Not `@`: without BLAS, which a frozen program can do without, that is four times slower.
        numbers = counts.reshape(len(self._weights), -1).astype(np.float32)
        levels = np.einsum(
            "k,kn->n", self._weights, numbers
        )  # whole numbers: in any order the same
        exact = float(self._query @ codes.mean)
        products: NDArray[np.float32] = codes.scales * np.float32(self._step) * (
            levels - np.float32(1.5 * self._total)
        ) + np.float32(exact)
        return products


_BITS = range(_QUERY_BITS)


def _words(width: int) -> int:
    return -(-width // _WORD)


def _packed(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Bits (n, D) as words (n, words), filled up with zeros."""
    count, width = bits.shape
    whole = np.zeros((count, _words(width) * _WORD // 8), np.uint8)
    packed = np.packbits(bits, axis=1)
    whole[:, : packed.shape[1]] = packed
    return whole.view(np.uint64)


def _count_bits(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):
        counts: NDArray[np.uint8] = np.bitwise_count(words)
        return counts
    parts = np.ascontiguousarray(words).view(np.uint16).reshape(*words.shape, 4)
    return np.asarray(_COUNTS[parts].sum(-1, dtype=np.uint8))
