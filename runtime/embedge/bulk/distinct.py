"""Equal items once: what is embedded of a batch in which texts or images come again."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def distinct(values: Sequence[Item]) -> tuple[list[Item], list[int]]:
    """The values that differ, in the order of their first rows, and which of them each row has.

    Only `str` and `bytes` are compared.

    >>> distinct(["a", "b", "a"])
    (['a', 'b'], [0, 1, 0])
    """
    items: list[Item] = []
    places: list[int] = []
    seen: dict[Item, int] = {}
    for value in values:
        if isinstance(value, (str, bytes)):
            place = seen.setdefault(value, len(items))
        else:
            place = len(items)  # an array can't be looked up; what is no text is refused
        if place == len(items):
            items.append(value)
        places.append(place)
    return items, places
