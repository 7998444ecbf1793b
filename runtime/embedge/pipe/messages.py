"""What stands on a line: requests as they are read, answers as they are written.

Pure functions on bytes and arrays. A request is checked whole before any of it is run, and what is
wrong is said with the name of the field.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

from numpy.typing import NDArray

from embedge.errors import EmbedgeError, OptionError
from embedge.reasons import one_line, reason_of
from embedge.vectors import json_numbers

Id: TypeAlias = str | int

# Fields of a request that are arguments of `Embedder.encode` and its relatives.
_FOR_BOTH = ("task", "truncate_dim", "normalize", "embedding_type")
_FOR_TEXTS = ("prompt_name", "prompt", "max_length", "on_overflow")
_OWN = ("id", "texts", "images", "side", "encoding_format", "progress")
_SIDES = ("query", "document")
_FORMATS = ("float", "base64")
# The others need ranges, which would be those of one request's texts.
_TYPES = ("float32", "binary", "ubinary")


@dataclass(frozen=True, slots=True)
class Embed:
    """A request for vectors."""

    id: Id
    items: Sequence[Any]
    images: bool  # else texts
    side: str | None
    options: Mapping[str, Any]  # of `Embedder.encode`
    as_base64: bool
    progress: bool


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stops a request."""

    id: Id


class RequestError(OptionError):
    """A line that is no request; `.id` is the request's, where the line has one."""

    def __init__(self, message: str, id: Id | None = None) -> None:
        self.id = id
        super().__init__(message)


def read(line: bytes) -> Embed | Cancel:
    """One line as a request.

    Raises:
        RequestError: it is none.

    >>> read(b'{"cancel": 7}')
    Cancel(id=7)
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # of bytes that are not UTF-8, too
        raise RequestError(f"a line is not JSON in UTF-8: {reason_of(error)}") from None
    if not isinstance(value, dict):
        raise RequestError('a line must be an object: {"id": 1, "texts": ["…"]}')
    if "cancel" in value:
        if value.keys() != {"cancel"} or not _is_id(value["cancel"]):
            raise RequestError('cancelling is {"cancel": ID}, with the id of a request')
        return Cancel(value["cancel"])
    name = value.get("id")
    if not _is_id(name):
        raise RequestError("id must be a string or a whole number; the answer repeats it")
    try:
        return _embed(name, value)
    except OptionError as error:
        raise RequestError(str(error), name) from None


def _is_id(value: object) -> TypeGuard[Id]:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _embed(name: Id, value: dict[str, Any]) -> Embed:
    images = "images" in value
    if images == ("texts" in value):
        raise OptionError("give either texts or images, a list of strings")
    items = value["images" if images else "texts"]
    if isinstance(items, str):
        items = [items]
    if not isinstance(items, list):
        raise OptionError(f"{'images' if images else 'texts'} must be a list of strings")
    known = (*_OWN, *_FOR_BOTH, *(() if images else _FOR_TEXTS))
    for field in value:
        if field not in known:
            others = ", ".join(field for field in known if field != "id")
            raise OptionError(f"{field!r} is not known for this request; there are: {others}")
    side, form = value.get("side"), value.get("encoding_format", "float")
    if side is not None and (side not in _SIDES or images):
        raise OptionError('side is "query" or "document", and for texts')
    if side is not None and "prompt_name" in value:
        raise OptionError("side chooses the prompt; leave out prompt_name")
    if form not in _FORMATS:
        raise OptionError('encoding_format is "float" or "base64"')
    if value.get("embedding_type", "float32") not in _TYPES:
        raise OptionError(f"embedding_type is one of: {', '.join(_TYPES)}")
    for field in ("progress", "normalize"):
        if not isinstance(value.get(field, True), bool):
            raise OptionError(f"{field} must be true or false")
    options = {field: value[field] for field in (*_FOR_BOTH, *_FOR_TEXTS) if field in value}
    return Embed(
        name, items, images, side, options, form == "base64", value.get("progress") is True
    )


def vectors_line(request: Embed, rows: NDArray[Any], bad: Mapping[int, str]) -> str:
    """The answer: a vector for each item, null for those that have none.

    Args:
        request: what was asked.
        rows: (n, d).
        bad: why an item has no vector, by its index.
    """
    if request.as_base64:
        little = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
        shown = [f'"{base64.b64encode(row.tobytes()).decode("ascii")}"' for row in little]
    else:
        shown = [f"[{json_numbers(row)}]" for row in rows]
    for index in bad:
        shown[index] = "null"
    line = f'{{"id": {json.dumps(request.id)}, "embeddings": [{", ".join(shown)}]'
    if bad:
        errors = [{"index": index, "message": bad[index]} for index in sorted(bad)]
        line += f', "errors": {json.dumps(errors)}'
    return line + "}"


def progress_line(request: Embed, done: int, total: int) -> str:
    """So many items of a request are done."""
    return json.dumps({"id": request.id, "progress": {"done": done, "total": total}})


def error_line(error: Exception, id: Id | None) -> str:
    """A request that has no vectors, and why; the type is the name of embedge's error."""
    ours = isinstance(error, EmbedgeError)
    name = "OptionError" if isinstance(error, RequestError) else type(error).__name__
    message = one_line(error) if ours else reason_of(error)
    return json.dumps({"id": id, "error": {"type": name, "message": message}})
