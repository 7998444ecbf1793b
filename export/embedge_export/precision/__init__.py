"""How a linear and an embedding table are written: one module a precision."""

from collections.abc import Sequence

from embedge.errors import OptionError
from embedge_export.precision.floats import Float16, Float32
from embedge_export.precision.int4 import Int4
from embedge_export.precision.int8 import Int8
from embedge_export.precision.precision import Precision, Refinable

PRECISIONS: dict[str, Precision] = {p.name: p for p in (Float32(), Float16(), Int8(), Int4())}

__all__ = ["PRECISIONS", "Precision", "Refinable", "choose_precisions"]


def choose_precisions(names: Sequence[str]) -> list[Precision]:
    """The precisions of these names, each once.

    Raises:
        OptionError: a name is unknown, or there is none.
    """
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or not names:
        raise OptionError(
            f"precision {', '.join(map(repr, unknown)) or 'list is empty'}: choose from "
            f"{', '.join(PRECISIONS)}"
        )
    return [PRECISIONS[name] for name in dict.fromkeys(names)]
