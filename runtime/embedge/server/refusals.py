"""Why a request was not carried out: a kind, a sentence, and where in the request.

Every part of the server raises a `Refusal`; a dialect turns it into its protocol's status and JSON.
Messages are for the client's developer: they hold no path of this machine, and no text of another
request.
"""

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from embedge.errors import (
    ClosedError,
    EmbedgeError,
    InputError,
    MemoryLimitError,
    NonFiniteError,
    PackError,
)


class Kind(Enum):
    """The kinds of refusals; the number is the HTTP status where a protocol has no other."""

    MALFORMED = ("malformed", 400)  # not JSON, or not of the shape that the protocol states
    INVALID = ("invalid", 400)  # a field's value cannot be meant, or would change the meaning
    EMPTY = ("empty", 400)  # nothing to embed, in a protocol that refuses that
    TOO_LONG = ("too_long", 400)  # a text has more tokens than the model takes
    TOO_MANY = ("too_many", 400)  # items of one request
    UNAUTHORIZED = ("unauthorized", 401)
    FORBIDDEN = ("forbidden", 403)
    UNKNOWN_MODEL = ("unknown_model", 404)
    NOT_FOUND = ("not_found", 404)  # no such path
    METHOD = ("method", 405)
    TIMEOUT = ("timeout", 408)  # the body took too long
    TOO_LARGE = ("too_large", 413)  # the body; a shorter one would be accepted
    UNSUPPORTED = ("unsupported", 424)  # this model cannot do it
    OVERLOADED = ("overloaded", 429)  # try again in `retry_after` seconds
    INTERNAL = ("internal", 500)
    UNAVAILABLE = ("unavailable", 503)  # not ready yet, or closing

    def __init__(self, code: str, status: int) -> None:
        self.code = code
        self.status = status


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 - what a client gets; a fault of the server is one of its kinds
    """A request that is not carried out.

    Attributes:
        kind: what sort of reason it is.
        message: one sentence or two: what is wrong, and what to do.
        field: the request's field that is meant, as the protocol names it.
        items: which items of the input, from 0.
        retry_after: seconds, for OVERLOADED and UNAVAILABLE.
        given: tokens of the first text that is too long; None where they were not counted.
        limit: tokens that a text may have.
        allow: methods that the path takes.
    """

    kind: Kind
    message: str
    field: str | None = None
    items: tuple[int, ...] = ()
    retry_after: int | None = None
    given: int | None = None
    limit: int | None = None
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        Exception.__init__(self, self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, one.name) for one in fields(self))


def refusal_of(error: Exception) -> Refusal:
    """What the client is told of an error of the library; of any other, only that there was one."""
    message = str(error).removesuffix(". Nothing was run").removesuffix(".")
    match error:
        case Refusal():
            return error
        case InputError():
            return Refusal(Kind.INVALID, message)
        case MemoryLimitError():
            return Refusal(Kind.INVALID, f"{message}; send shorter texts or fewer of them")
        case NonFiniteError():
            return Refusal(Kind.INTERNAL, message)
        case ClosedError():
            return Refusal(Kind.UNAVAILABLE, "the server is closing", retry_after=5)
        case PackError() | EmbedgeError():  # a file's path may stand in it; the log has it
            return Refusal(Kind.INTERNAL, "the model failed; the server's log says why")
    return Refusal(Kind.INTERNAL, "the server failed; its log says why")
