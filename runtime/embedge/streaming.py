"""Texts of any number to vectors, a row at a time: an iterable in, an iterator out.

Takes what embeds a list of texts; holds one window of texts and rows at a time. Knows no option.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from numpy.typing import NDArray

from embedge.errors import MemoryLimitError, TextError, TextTooLongError
from embedge.items import OnError
from embedge.windows import TEXTS, windows


class EncodeList(Protocol):
    """`Embedder.encode` with its other options bound."""

    def __call__(self, texts: list[str], /, *, on_error: OnError | None) -> NDArray[Any]:
        """Rows (n, d)."""


def rows_of(
    encode: EncodeList, texts: Iterable[str], *, on_error: OnError | None
) -> Iterator[NDArray[Any]]:
    """The vector (d,) of each text, in order. Indices of bad texts count from the first text.

    Raises:
        TextError, TextTooLongError, MemoryLimitError: as `encode` raises them.
    """
    first = 0  # index of the window's first text
    for window in windows(texts, TEXTS, size=_size):
        try:
            rows = encode(window, on_error=None if on_error is None else _shifted(on_error, first))
        except TextError as error:
            items = [(first + index, reason) for index, reason in error.items]
            raise TextError(items, error.vectors) from None
        except (TextTooLongError, MemoryLimitError) as error:
            if first == 0:
                raise
            raise type(error)(f"counted from text {first}: {error}") from None
        yield from rows
        first += len(window)


def _shifted(on_error: OnError, first: int) -> Callable[[int, str], None]:
    return lambda index, reason: on_error(first + index, reason)


def _size(text: object) -> int:
    return len(text) if isinstance(text, str) else 0  # what is no text is refused later
