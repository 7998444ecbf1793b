"""How a linear and an embedding table are written: one module a precision."""

from embedge_export.precision.floats import Float16, Float32
from embedge_export.precision.int4 import Int4
from embedge_export.precision.int8 import Int8
from embedge_export.precision.precision import Precision, Refinable

PRECISIONS: dict[str, Precision] = {p.name: p for p in (Float32(), Float16(), Int8(), Int4())}

__all__ = ["PRECISIONS", "Precision", "Refinable"]
