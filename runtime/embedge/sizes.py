"""Sizes in bytes: read as people write them, written as people read them."""

import math
import re

from embedge.errors import OptionError
from embedge.options import shown, whole_number

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_WRITTEN = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*([KMGT]?)(IB|B)?", re.IGNORECASE | re.ASCII)
_FORMS = 'a whole number of bytes, or a size such as "500MB", "1.5GB" or "2GiB"'


def byte_count(value: object, name: str) -> int:
    """Bytes from a number or a text: 1e9, "1GB" and "1000 MB" are the same.

    kB, MB, GB and TB are powers of 1000; KiB, MiB, GiB and TiB, and K, M, G and T alone, as Docker
    and systemd take them, are powers of 1024. Upper and lower case are the same.

    Args:
        value: what was passed.
        name: of the option, for the message.

    Raises:
        OptionError: it is no such size, or less than one byte.
    """
    if isinstance(value, str):
        found = _WRITTEN.fullmatch(value.strip())
        if found is None or (not found[2] and (found[3] or "").upper() == "IB"):
            raise OptionError(f"{name} is {shown(value)}; it must be {_FORMS}")
        base = 1000 if (found[3] or "").upper() == "B" else 1024
        plain = not found[2] and "." not in found[1]  # exact, however large
        unit = base ** _POWERS[found[2].upper()]
        number: object = int(found[1]) if plain else int(float(found[1]) * unit)
    elif isinstance(value, float) and math.isfinite(value) and value.is_integer():  # 1e9
        number = int(value)
    else:
        number = value
    if isinstance(number, (float, bool)) or not hasattr(number, "__index__"):
        raise OptionError(f"{name} is {shown(value)}; it must be {_FORMS}")
    return whole_number(number, name)


def size_text(size: float) -> str:
    """Bytes for people: 1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
