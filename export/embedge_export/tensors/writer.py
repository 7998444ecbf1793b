"""Writes a safetensors file one tensor at a time.

Takes shapes and a function that gives each tensor. Knows nothing of what a tensor means.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge_export.tensors.checkpoint import DTYPES


def write_file(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], NDArray[Any]],
    *,
    dtype: np.dtype[Any],
) -> None:
    """Writes a safetensors file one tensor at a time, so that one tensor is the peak of memory.

    `safetensors.numpy.save_file` wants them all at once.
    """
    spelling = next(name for name, known in DTYPES.items() if known == dtype)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for key, shape in shapes.items():
        end = offset + math.prod(shape) * dtype.itemsize
        header[key] = {"dtype": spelling, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format wants tensors aligned to 8 bytes
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for key, shape in shapes.items():
            array = read(key)
            assert (array.shape, array.dtype) == (shape, dtype), key
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
