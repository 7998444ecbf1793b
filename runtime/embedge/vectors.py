"""What happens to vectors after the network: normalize, quantize, compare.

Pure NumPy functions on float32 arrays (n, d) or (d,). They know no model and no file.

The quantized forms are those of Sentence Transformers (`quantize_embeddings` in its
`quantization` module), so that vectors from both can stand in one index:

    int8, uint8      256 equal buckets between a smallest and a largest value per dimension
    binary, ubinary  one bit a dimension, 1 where the value is above 0, eight to a byte
"""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedge.cautions import warn
from embedge.errors import OptionError
from embedge.options import check_one_of

EmbeddingType = Literal["float32", "int8", "uint8", "binary", "ubinary"]
EMBEDDING_TYPES: tuple[EmbeddingType, ...] = get_args(EmbeddingType)

_BITS = ("binary", "ubinary")
_DTYPES: dict[str, type[Any]] = {
    "float32": np.float32,
    "int8": np.int8,
    "uint8": np.uint8,
    "binary": np.int8,
    "ubinary": np.uint8,
}
_BLOCK = 4096  # rows of bits unpacked at a time: 32 bytes for each of theirs

Ranges = tuple[tuple[float, ...], tuple[float, ...]]  # the smallest values, and the largest
Vectors = NDArray[np.float32]  # (n, d), or (d,) for one text

# The same as in the models' own code: a zero vector stays zero instead of dividing by zero.
EPSILON = 1e-12
# Below this many vectors, their own minimum and maximum say little about the next ones.
ENOUGH_FOR_RANGES = 100


class RangesWarning(UserWarning):
    """The int8 or uint8 vectors depend on the batch that they were made in."""


def normalize(vectors: Vectors) -> Vectors:
    """Scales every vector to length 1. A zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, EPSILON), dtype=np.float32)


def json_numbers(row: NDArray[Any]) -> str:
    """The numbers of a vector (d,) as JSON writes them, without the brackets.

    Nine digits give every float32 back bit for bit; json.dumps would write seventeen.

    >>> json_numbers(np.array([0.1, -2.0], np.float32))
    '0.100000001, -2'
    """
    return ", ".join([f"{number:.9g}" for number in row.tolist()])


def row_cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """Cosine of each row of `a` with that of `b`: two (n, d) of length 1 -> (n,).

    Of two rows of zeros it is 1: a text of which a network knows no word has no direction, and both
    say so.
    """
    cosines: NDArray[np.float64] = np.sum(a.astype(np.float64) * b, axis=1)
    cosines[~(a.any(axis=1) | b.any(axis=1))] = 1.0
    return cosines


def similarity(
    a: ArrayLike,
    b: ArrayLike,
    *,
    embedding_type: EmbeddingType = "float32",
    ranges: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Cosine of every vector of `a` with every vector of `b`; of bits, by how many are equal.

    Args:
        a: (n, d), or (d,) for one vector: floats, or of the smaller type that is named.
        b: (m, d), or (d,), of the same kind.
        embedding_type: what both hold, as `quantize` made them. An int8 array may be int8 or
            binary, and uint8 may be uint8 or ubinary, so that it must be named.
        ranges: for int8 and uint8, those that the vectors were made with, (2, d): cosines are then
            those of the numbers that the buckets stand for. Without it the buckets themselves are
            compared, from -128 to 127 (uint8 less 127.5), which is right where one range, symmetric
            about 0, serves all dimensions.

    Returns:
        float32 (n, m), each within -1 and 1; 0 where a vector is all zeros. For binary and ubinary
        1 - 2 h / bits, where h is the Hamming distance: the cosine of the vectors of 1 and -1 that
        the bits stand for. Bits that fill the last byte count as equal.

    >>> similarity([[1.0, 0.0], [0.0, 2.0]], [3.0, 0.0]).tolist()
    [[1.0], [0.0]]
    >>> codes = quantize([[1.0] * 8, [1.0, -1.0] * 4, [-1.0] * 8], "ubinary")  # (3, 1)
    >>> similarity(codes, codes[0], embedding_type="ubinary").tolist()
    [[1.0], [0.0], [-1.0]]
    """
    check_embedding_type(embedding_type, ranges)
    left, right = _rows(a, "a", embedding_type), _rows(b, "b", embedding_type)
    if left.shape[1] != right.shape[1]:
        unit = "bytes" if embedding_type in _BITS else "dimensions"
        raise OptionError(
            f"a has {left.shape[1]} {unit}, b has {right.shape[1]}; "
            "embed both with the same truncate_dim"
        )
    if embedding_type in _BITS:
        return _equal_bits(left, right)
    if embedding_type != "float32":
        bounds = None if ranges is None else check_ranges(ranges, left.shape[1])
        left, right = _values(left, bounds), _values(right, bounds)
    cosines = normalize(left) @ normalize(right).T  # (n, d) @ (d, m) -> (n, m)
    return np.asarray(np.clip(cosines, -1.0, 1.0), dtype=np.float32)


def quantize(
    vectors: ArrayLike, embedding_type: EmbeddingType, *, ranges: ArrayLike | None = None
) -> NDArray[Any]:
    """Writes vectors in a smaller type.

    Args:
        vectors: floats, (n, d) or (d,).
        embedding_type: one of "float32" (unchanged), "int8", "uint8", "binary", "ubinary".
        ranges: for int8 and uint8, the smallest and the largest value of each dimension, (2, d),
            from a large sample of your texts. Values outside saturate. Without it the batch's own
            are taken, with a `RangesWarning` if it has fewer than 100 vectors: the same text then
            gets other numbers in another batch.

    Returns:
        int8 or uint8 of the same shape; for binary (int8, the packed byte minus 128) and ubinary
        (uint8, the packed byte) the width is d / 8, rounded up: where d is not a multiple of 8 the
        last byte is filled with zero bits.

    >>> quantize([0.5, -0.5, 0.1, -0.1, 0.2, -0.2, 0.0, 1.0], "ubinary").tolist()
    [169]
    """
    check_embedding_type(embedding_type, ranges)
    try:
        values = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise OptionError(f"vectors is not an array of numbers: {error}") from None
    if values.ndim not in (1, 2):
        raise OptionError(f"vectors has shape {values.shape}; it must be (n, d) or (d,)")
    if embedding_type == "float32":
        return values
    finite = np.isfinite(np.atleast_2d(values)).all(axis=1)  # (n,)
    if not finite.all():
        raise OptionError(
            f"row {int(np.argmin(finite))} of vectors holds NaN or infinity, which "
            f"{embedding_type} cannot say; leave such rows out"
        )
    return _quantize(
        values, embedding_type, None if ranges is None else check_ranges(ranges, values.shape[-1])
    )


def quantize_some(
    vectors: Vectors, embedding_type: EmbeddingType, *, ranges: Ranges | None
) -> NDArray[Any]:
    """`quantize` for rows (n, d) of which some are missing, written as NaN: those become zeros.

    Missing rows take no part in the ranges of int8 and uint8. As float32 they stay NaN. The options
    are those of a `Call`, which checked them.
    """
    if embedding_type == "float32":
        return vectors
    held = ~np.isnan(vectors).any(axis=1)  # (n,)
    bounds = None if ranges is None else np.array(ranges, np.float32)
    small = _quantize(vectors[held], embedding_type, bounds)
    rows = np.zeros((len(vectors), small.shape[1]), small.dtype)
    rows[held] = small
    return rows


def _quantize(
    values: Vectors, embedding_type: EmbeddingType, bounds: NDArray[np.float32] | None
) -> NDArray[Any]:
    """Finite values (n, d) or (d,) in a smaller type; of int8 and uint8 with bounds (2, d)."""
    if embedding_type in _BITS:
        packed = np.packbits(values > 0, axis=-1)
        # Flipping the top bit of a byte and reading it as signed is subtracting 128.
        return packed if embedding_type == "ubinary" else (packed ^ 0x80).view(np.int8)
    low, high = _batch_bounds(values) if bounds is None else bounds  # (d,), (d,)
    steps = (high - low) / 255
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        buckets = (values - low) / steps
    # A dimension that never varied has no step: what lies above its one value saturates.
    buckets = np.where(steps > 0, buckets, np.where(values > low, 255.0, 0.0))
    buckets = np.clip(buckets, 0, 255)
    if embedding_type == "uint8":
        return buckets.astype(np.uint8)
    # Shift, then cut the fraction, in this order: what Sentence Transformers does.
    return (buckets - 128).astype(np.int8)


def check_embedding_type(embedding_type: str, ranges: ArrayLike | None) -> None:
    """Refuses an unknown type, and ranges for a type that has none, before any work."""
    check_one_of(embedding_type, "embedding_type", EMBEDDING_TYPES)
    if ranges is not None and embedding_type not in ("int8", "uint8"):
        raise OptionError(
            f"ranges= serves int8 and uint8, not {embedding_type}; leave one of the two out"
        )


def check_ranges(ranges: ArrayLike, width: int) -> NDArray[np.float32]:
    """The ranges as an array (2, width), smallest values first; refuses anything else."""
    try:
        bounds = np.asarray(ranges, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise OptionError(f"ranges is not an array of numbers: {error}") from None
    if bounds.shape != (2, width):
        raise OptionError(
            f"ranges has shape {bounds.shape}, the vectors need (2, {width}): "
            "the smallest and the largest value of each dimension"
        )
    if not np.isfinite(bounds).all() or (bounds[0] > bounds[1]).any():
        raise OptionError("ranges must be finite, and ranges[0] never above ranges[1]")
    return bounds


def _batch_bounds(values: Vectors) -> tuple[Vectors, Vectors]:
    """The smallest and the largest value of each dimension in a batch."""
    rows = np.atleast_2d(values)  # (n, d)
    if len(rows) < ENOUGH_FOR_RANGES:
        warn(
            f"int8 and uint8 vectors depend on the batch, and this one has {len(rows)} vectors "
            f"(fewer than {ENOUGH_FOR_RANGES}); pass ranges= of a large sample",
            RangesWarning,
            stacklevel=4,  # past `quantize`
        )
    if len(rows) == 0:
        nothing = np.zeros(values.shape[-1], np.float32)
        return nothing, nothing
    return rows.min(axis=0), rows.max(axis=0)


def _rows(vectors: ArrayLike, name: str, embedding_type: EmbeddingType) -> NDArray[Any]:
    """Vectors as rows (n, width) of their type; refuses what is not of that type."""
    try:
        rows = np.asarray(vectors)
    except (TypeError, ValueError) as error:  # rows of different lengths
        raise OptionError(f"{name} is not an array of numbers: {error}") from None
    wanted = _DTYPES[embedding_type]
    if rows.ndim not in (1, 2) or (
        rows.dtype.kind != "f" if wanted == np.float32 else rows.dtype != wanted
    ):
        held = {np.dtype(np.int8): ("int8", "binary"), np.dtype(np.uint8): ("uint8", "ubinary")}
        if embedding_type == "float32" and rows.ndim in (1, 2) and rows.dtype in held:
            plain, bits = held[rows.dtype]
            raise OptionError(
                f"{name} has dtype {rows.dtype}; say what it holds with "
                f'embedding_type="{plain}" or embedding_type="{bits}"'
            )
        kind = "float" if embedding_type == "float32" else f"{embedding_type} ({wanted})"
        raise OptionError(
            f"{name} has dtype {rows.dtype} and {rows.ndim} dimensions; similarity takes {kind} "
            "vectors here, (n, d) or (d,)"
        )
    return np.atleast_2d(rows).astype(wanted, copy=False)


def _values(buckets: NDArray[Any], bounds: NDArray[np.float32] | None) -> Vectors:
    """The numbers in the middle of int8 or uint8 buckets (n, d); bounds (2, d)."""
    number = buckets.astype(np.float32)
    if bounds is None:
        return number - 127.5 if buckets.dtype == np.uint8 else number
    low, high = bounds
    if buckets.dtype == np.int8:  # cut toward 0, so that the middle of a bucket lies away from it
        number += 128 + np.sign(number) / 2
    else:
        number += 0.5
    return np.asarray(low + number * ((high - low) / 255), dtype=np.float32)


def _equal_bits(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float32]:
    """1 - 2 h / bits of packed rows (n, width) and (m, width), by products of 1 and -1."""

    def signs(packed: NDArray[Any]) -> Vectors:
        # binary is ubinary with the top bit of each byte flipped: in both alike, so h is the same.
        bits = np.unpackbits(packed.view(np.uint8), axis=1)
        return np.asarray(2 * bits.astype(np.float32) - 1, dtype=np.float32)

    bits = 8 * left.shape[1]
    scores = np.zeros((len(left), len(right)), np.float32)
    if not bits:
        return scores
    ours = signs(left)  # (n, bits)
    for start in range(0, len(right), _BLOCK):
        block = slice(start, start + _BLOCK)
        # Whole numbers below 2**24, which float32 adds exactly.
        scores[:, block] = ours @ signs(right[block]).T / bits
    return scores
