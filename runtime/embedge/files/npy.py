"""Reads an array of numbers from a .npy file that may hold anything.

Takes a path and the shape that is expected, gives the array. `numpy.load` takes what a file claims
for true: it opens archives and pickles, waits for pipes, and asks for as much memory as the header
says. Here the header is compared with what is expected and with the size of the file first.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedge.files.regular import open_regular
from embedge.reasons import reason_of

_MAGIC = b"\x93NUMPY"
_NUMBERS = "fiu"  # kinds of dtype
MOST_BYTES = 2**30


class NpyError(ValueError):
    """Why a file does not hold the array: goes on in a sentence after its path."""


def read_npy(
    path: Path, shape: Sequence[int | None], *, follow_links: bool = False
) -> np.ndarray[Any, Any]:
    """The array in a file: of a float or whole-number type, as it was saved.

    Args:
        path: the file.
        shape: what the array must have; None for a size that is not known.
        follow_links: take the file that a link leads to; otherwise a link is refused.

    Raises:
        NpyError: the file cannot be read, is damaged, or holds something else.
    """
    try:
        with open_regular(path, follow_links=follow_links) as stream:
            return _read(stream, shape)
    except OSError as error:
        raise NpyError(f"cannot be read: {error.strerror or error}") from None


def _read(stream: Any, shape: Sequence[int | None]) -> np.ndarray[Any, Any]:
    start = stream.read(len(_MAGIC))
    stream.seek(0)
    if start != _MAGIC:
        raise NpyError("is not a .npy array")
    header = np.lib.format
    try:
        version = header.read_magic(stream)
        read = header.read_array_header_1_0 if version == (1, 0) else header.read_array_header_2_0
        found, by_columns, dtype = read(stream)
    # What stands in the header is a Python literal, and each way to be wrong has an error class.
    except Exception as error:
        raise NpyError(f"is a damaged .npy array: {reason_of(error)}") from None
    if dtype.kind not in _NUMBERS or dtype.hasobject:
        raise NpyError(f"holds {dtype}, not numbers")
    if any(not 0 <= size < MOST_BYTES for size in found):
        raise NpyError(f"is a damaged .npy array: its shape is {found}")
    expected = ["n" if size is None else str(size) for size in shape]
    if len(found) != len(shape) or any(
        size not in (None, given) for size, given in zip(shape, found, strict=True)
    ):
        raise NpyError(f"holds an array {found}, not ({', '.join(expected)})")
    size = math.prod(found) * dtype.itemsize  # bytes; Python's numbers do not overflow
    there = os.fstat(stream.fileno()).st_size - stream.tell()
    if size > there:
        raise NpyError(f"is cut short: {there:,} bytes of {size:,} are there")
    if size > MOST_BYTES:
        raise NpyError(f"is larger than {MOST_BYTES // 2**20} MiB")
    data = stream.read(size)
    if len(data) != size:
        raise NpyError("was cut short while it was read")
    flat = np.frombuffer(data, dtype)
    return flat.reshape(found[::-1]).T if by_columns else flat.reshape(found)
