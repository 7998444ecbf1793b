"""Options that a caller passed, checked before any work: numbers, flags, names, callbacks.

Each check gives the value as a plain Python one, or an `OptionError` that names the option, shows
the value and says what may stand there. Whatever object comes (an array, a text of a megabyte), the
error is that one. Knows no pack.
"""

import operator
import threading
from collections.abc import Callable, Collection
from typing import Any

from embedge.errors import OptionError

# Where nothing else bounds a number: the most that 64 bits hold, and more than any machine has.
MOST = 2**63 - 1
_SHOWN = 80  # characters of a value in a message


def shown(value: object) -> str:
    """A value for a message: its repr, cut short."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an int of more digits than Python writes, or an object of its own mind
        text = f"of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def whole_number(value: object, name: str, *, least: int = 1, most: int = MOST) -> int:
    """A whole number as int; refuses what is none, or outside its bounds."""
    allowed = f"of {least} or more" if most == MOST else f"within {least} and {most}"
    number = None
    if not isinstance(value, bool) and hasattr(value, "__index__"):  # int, NumPy integers
        try:
            number = operator.index(value)
        except TypeError:  # an array
            number = None
    if number is not None and number > MOST:
        raise OptionError(f"{name} is more than 64 bits hold; it must be a whole number {allowed}")
    if number is None or not least <= number <= most:
        raise OptionError(f"{name} is {shown(value)}; it must be a whole number {allowed}")
    return number


def whole_number_of(text: str, name: str) -> int:
    """A whole number of 1 or more from a text, such as an environment variable's."""
    # Python refuses to read thousands of digits.
    digits = text.isdecimal() and len(text) <= len(str(MOST))
    return whole_number(int(text) if digits else text, name)


def flag(value: object, name: str) -> bool:
    """True or False; NumPy's, and 1 and 0, are as good."""
    numpys = type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
    if not numpys and not (isinstance(value, int) and value in (0, 1)):
        raise OptionError(f"{name} is {shown(value)}; it must be True or False")
    return bool(value)


def is_one_of(value: object, names: Collection[str]) -> bool:
    """Whether a value is a str and one of these names."""
    return isinstance(value, str) and value in names


def check_one_of(value: object, name: str, names: Collection[str]) -> None:
    """Refuses what is not one of the names that an option may have."""
    if not is_one_of(value, names):
        raise OptionError(f"{name} {shown(value)} is unknown; choose one of {', '.join(names)}")


def check_callback(value: Callable[..., Any] | None, call: str) -> None:
    """Refuses what cannot be called, rather than fail after the work.

    Args:
        value: what was passed; None is fine.
        call: how it will be called, e.g. "progress(done, total)".
    """
    if value is not None and not callable(value):
        name = call.partition("(")[0]
        raise OptionError(f"{name} is {shown(value)}; it must be callable as {call}, or None")


def check_cancel(value: threading.Event | None) -> None:
    """Refuses what has no `is_set()`; events of `threading` and `multiprocessing` have."""
    if value is not None and not callable(getattr(value, "is_set", None)):
        raise OptionError(f"cancel is {shown(value)}; it must be a threading.Event, or None")
