"""The column that is embedded: what each row of it gives, or the reason why it gives nothing.

`Column` is what every format asks; `TextColumn` answers for texts, `image_column` for images. Takes
Arrow arrays and JSON values. Opens no data set.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from embedge.bulk.records import MAX_TEXT_BYTES, not_utf8, too_long, why_not_text
from embedge.parts.chunks import Items
from embedge.parts.inputs import Input
from embedge.texts.checks import clean


class Column(Protocol):
    """A column, and how its values are read."""

    @property
    def name(self) -> str:
        """Of the column."""

    @property
    def holds(self) -> str:
        """What it holds, as messages call it."""

    @property
    def option(self) -> str:
        """Of the command line, which names the column."""

    @property
    def rows(self) -> int:
        """Of a file that are read at once, so that what they hold fits into memory."""

    def fits(self, kind: pa.DataType) -> bool:
        """Whether a column of this type may hold them."""

    def is_bulky(self, kind: pa.DataType) -> bool:
        """Whether a column of this type is left out of the parts unless it is asked for."""

    def from_arrow(self, values: Any, source: Input) -> Items:
        """What each value of an array gives.

        Args:
            values: of a type that fits.
            source: the file that they stand in.
        """

    def from_json(self, values: list[Any], source: Input) -> Items:
        """What each JSON value gives; see `from_arrow`."""


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of texts."""

    name: str
    holds: str = "texts"
    option: str = "--column"
    rows: int = 1024

    def fits(self, kind: pa.DataType) -> bool:
        """Strings, bytes, dictionaries of them, and nothing but null."""
        return is_string(kind) or is_bytes(kind) or pa.types.is_null(kind)

    def is_bulky(self, kind: pa.DataType) -> bool:
        """Texts are written beside their vectors."""
        return False

    def from_arrow(self, values: Any, source: Input) -> Items:
        """The text of each value."""
        return texts_of(values)

    def from_json(self, values: list[Any], source: Input) -> Items:
        """The text of each value."""
        pairs = [self._text(value) for value in values]
        return [text for text, _ in pairs], [reason for _, reason in pairs]

    def _text(self, value: object) -> tuple[str | None, str | None]:
        if value is None:
            return None, "is null"
        if not isinstance(value, str):
            return None, f'"{self.name}" is not a string'
        reason = why_not_text(value)
        return (None, reason) if reason else (clean(value), None)


def texts_of(values: Any) -> tuple[list[str | None], list[str | None]]:
    """The text of each value of an array of strings or bytes, or the reason why it has none."""
    texts: list[str | None] = []
    reasons: list[str | None] = []
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string(values.type):
        # Where a file says that bytes are UTF-8, nothing has checked it.
        values = values.cast(pa.binary())
    elif pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.large_binary())
    for value in values.to_pylist():
        text, reason = _decoded(value)
        texts.append(text)
        reasons.append(reason)
    return texts, reasons


def is_string(kind: pa.DataType) -> bool:
    """Whether a type is one of strings, or of a dictionary of them."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a type is one of bytes, or of a dictionary of them."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary))


def _decoded(value: bytes | None) -> tuple[str | None, str | None]:
    if value is None:
        return None, "is null"
    if len(value) > MAX_TEXT_BYTES:
        return None, too_long()
    try:
        return value.decode("utf-8", "strict"), None
    except UnicodeDecodeError as error:
        return None, not_utf8(error)
