"""What callers pass as texts, checked: plain `str` that can be encoded, or a reason why not.

Knows no tokenizer and no network.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from embedge.errors import TextError
from embedge.items import OnError


def check_texts(texts: object) -> tuple[list[str], bool]:
    """Refuses whatever is not text, all bad items at once.

    Args:
        texts: one str, or any ordered iterable of them; `numpy.str_` is a str.

    Returns:
        The texts as plain, encodable str, and whether it was one str.

    Raises:
        TextError: some items are not str.
    """
    bad: list[tuple[int, str]] = []
    items, single = take_texts(texts, lambda index, reason: bad.append((index, reason)))
    if bad:
        raise TextError(bad)
    return [item for item in items if item is not None], single


def take_texts(texts: object, on_error: OnError) -> tuple[list[str | None], bool]:
    """The same, with None for every item that is not str, after on_error(index, reason).

    Raises:
        TextError: it is not a list at all.
    """
    if isinstance(texts, str):
        return [clean(texts)], True
    if not isinstance(texts, Iterable) or isinstance(
        texts, (bytes, bytearray, memoryview, Mapping, Set)
    ):
        raise TextError([(0, f"texts is {_describe(texts)}, not a str or a list of str")])
    if isinstance(texts, np.ndarray) and texts.ndim != 1:
        raise TextError([(0, f"texts is an array of {texts.ndim} dimensions, not of 1")])
    items: list[str | None] = []
    for index, item in enumerate(texts):
        if isinstance(item, str):
            items.append(clean(item))
        else:
            items.append(None)
            on_error(index, f"is {_describe(item)}, not str")
    return items, False


def clean(text: str) -> str:
    """Plain str that can be encoded: lone surrogates become U+FFFD, pairs become characters.

    Such strings come from file names and broken JSON; the tokenizer would refuse the whole batch
    with a message about something else.
    """
    text = str.__str__(text)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _describe(item: Any) -> str:
    return "None" if item is None else type(item).__name__
