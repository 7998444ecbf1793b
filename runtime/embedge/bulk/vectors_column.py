"""Vectors (n, width) as one Arrow column: a fixed-size list, null where a row has no vector.

pyarrow is imported by those who call it: the rest of the room does not need it.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


def vectors_type(dtype: np.dtype[Any], width: int) -> "pa.DataType":
    """The type of such a column: `fixed_size_list<float>[256]`, or of int8 or uint8."""
    import pyarrow as pa

    return pa.list_(pa.field("item", pa.from_numpy_dtype(dtype), nullable=False), width)


def vectors_column(rows: NDArray[Any], missing: NDArray[np.bool_]) -> "pa.Array":
    """The column.

    Args:
        rows: float32, int8 or uint8 (n, width).
        missing: (n,), where a row is null.
    """
    import pyarrow as pa

    kind = vectors_type(rows.dtype, rows.shape[1])
    values = pa.array(np.ascontiguousarray(rows).reshape(-1))
    mask = pa.array(missing) if missing.any() else None
    return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=mask)
