"""The fields of a settings file as a table: what each of them does to the vectors.

A checkpoint's config.json has some sixty fields. Each is used, or may have only the values that the
writer writes, or changes no vector: a table says which, and a `Settings` reads by it. A field that
nobody thought of is so a missing line in a table, which the tests compare with transformers' own
classes, and not a line of code that nobody wrote. Knows no network.

Fields that no table names are ignored, as transformers ignores them: checkpoints carry notes of
the programs that made them, and a refusal would help nobody.
"""

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from embedge.errors import SourceError

# No size of a network is larger; ONNX Runtime counts in this many.
LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Used:
    """It goes into the network's record, which checks its type and range."""


@dataclass(frozen=True, slots=True)
class Only:
    """Any other value than these would give another network than the one that is written."""

    allowed: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Unused:
    """No value of it changes a vector."""

    why: str


Field = Used | Only | Unused
Fields = dict[str, Field]
USED = Used()


def only(*allowed: Any) -> Only:
    """The values that a field may have; leaving it out is always allowed."""
    return Only(allowed)


def unused(why: str, *names: str) -> dict[str, Field]:
    """Lines of a table for fields that change nothing, for one reason."""
    return dict.fromkeys(names, Unused(why))


def used(*names: str) -> dict[str, Field]:
    """Lines of a table for fields that are read."""
    return dict.fromkeys(names, USED)


class Settings:
    """A settings file's values, read by a table.

    Args:
        values: the parsed JSON object.
        fields: its table.
        file: what messages call the file.
        inside: the path of `values` within it, "vision_config." say.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        fields: Fields,
        *,
        file: str = "config.json",
        inside: str = "",
    ) -> None:
        self.values = values
        self._fields = fields
        self._place = f"{file}: {inside}"
        for name, field in fields.items():
            if isinstance(field, Only) and name in values:
                value = values[name]
                if not any(_same(value, allowed) for allowed in field.allowed):
                    choice = " or ".join(map(repr, field.allowed))
                    raise self.error(name, f"which is not supported; only {choice} is")

    def get(self, name: str) -> Any:
        """The value of a field that the table says is used, of any type; None if left out."""
        assert isinstance(self._fields.get(name), Used | Only), name
        return self.values.get(name)

    def size(self, name: str, default: int | None = None, *, most: int = LARGEST) -> int:
        """A positive whole number up to `most`."""
        value = self.get(name)
        if value is None:
            value = default
        if not is_whole(value) or value < 1:
            raise self.error(name, "it must be a positive whole number")
        if value > most:
            raise self.error(name, f"more than {most}, the most that is supported")
        return int(value)

    def number(self, name: str, *, below: float) -> float | None:
        """A number above 0 and below `below`; None if left out."""
        value = self.get(name)
        if value is None:
            return None
        if not is_number(value) or not 0 < value < below:
            raise self.error(name, f"it must lie between 0 and {below:g}")
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(name, "it must be true or false")
        return value

    def error(self, name: str, why: str) -> SourceError:
        """An error that names the file, the field and its value."""
        return SourceError(f"{self._place}{name} is {shown(self.values.get(name))}, {why}")


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a JSON value is a whole number; true and 3.0 are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a number; true, NaN and what no float can hold are not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**1000


def shown(value: object) -> str:
    """A JSON value for a message, cut short; no value is too long or too deep for it."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist = 4, 6, 6
_SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 80, 40, 80


def _same(value: object, allowed: object) -> bool:
    """Equal as JSON values: true is not 1, but 1 is 1.0."""
    if isinstance(value, bool) or isinstance(allowed, bool):
        return value is allowed
    if isinstance(allowed, Mapping | Sequence) and not isinstance(allowed, str):
        return type(value) is type(allowed) and value == allowed
    return value == allowed
