"""JSON bodies into a protocol's records, by msgspec; what does not fit is a `Refusal`."""

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from embedge.server.refusals import Kind, Refusal

T = TypeVar("T")

_WHERE = re.compile(r" - at `\$\.?(.*)`$")


def decode(body: bytes, kind: Callable[..., T]) -> T:
    """A body as a record of a class; unknown fields pass.

    Raises:
        Refusal: MALFORMED, it is not JSON; INVALID with the field, it is other JSON.
    """
    try:
        value: T = _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        message = str(error)
        found = _WHERE.search(message)
        field = found[1] if found and found[1] else None
        what = _WHERE.sub("", message).replace("`", "")
        what = f"{field}: {what[:1].lower()}{what[1:]}" if field else what
        raise Refusal(Kind.INVALID, what, field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = "it nests too deep" if isinstance(error, RecursionError) else str(error)
        raise Refusal(Kind.MALFORMED, f"the body is not JSON that can be read: {what}") from None
    return value


@functools.cache
def _decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)
