"""/v1/embeddings: bodies into work, and vectors into answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from embedge.options import shown
from embedge.server import answers
from embedge.server.decoding import decode
from embedge.server.dialect import Answer, Ask, Service
from embedge.server.exchange import exchange
from embedge.server.models import Model, Work
from embedge.server.pictures import is_picture, picture_of
from embedge.server.refusals import Kind, Refusal
from embedge.server.work import Done, Item
from embedge.vectors import quantize

# The names that clients give a type of vectors, and what it is.
TYPES = {name: name for name in ("float", "base64", "binary", "ubinary")} | {"bit": "binary"}


class Document(msgspec.Struct):
    """An item as an object: one of its fields."""

    text: str | None = None
    image: str | None = None
    url: str | None = None
    bytes: str | None = None
    pdf: str | None = None


Input = str | Document | list[str | Document]


class EmbeddingsRequest(msgspec.Struct):
    """The body of POST /v1/embeddings."""

    input: Input
    model: str | None = None
    task: str | None = None
    dimensions: int | str | None = None
    embedding_type: str | list[str] | None = None
    encoding_type: str | list[str] | None = None
    encoding_format: str | list[str] | None = None
    normalized: bool | None = None
    truncate: bool | None = None
    late_chunking: bool | None = None
    return_multivector: bool | None = None
    return_tokenized_input: bool | None = None


class Usage(msgspec.Struct):
    """Tokens of a request."""

    prompt_tokens: int
    total_tokens: int
    image_tokens: int = 0
    truncated: int = 0


class Embedding(msgspec.Struct):
    """One vector: numbers, base64, or an object of several types."""

    object: str
    index: int
    embedding: list[float] | str | dict[str, list[float] | str]


class EmbeddingsResponse(msgspec.Struct):
    """The answer of POST /v1/embeddings."""

    object: str
    model: str
    data: list[Embedding]
    usage: Usage


class _Asked(NamedTuple):
    """What a body asks for, decoded and checked."""

    work: Work
    model: str  # as the client calls it
    types: list[str]


def read(ask: Ask, service: Service) -> _Asked:
    """Reads a body of /v1/embeddings.

    Raises:
        Refusal: something in it cannot be done.
    """
    body = decode(ask.body, EmbeddingsRequest)
    for name in ("late_chunking", "return_multivector", "return_tokenized_input"):
        if getattr(body, name):
            raise Refusal(
                Kind.UNSUPPORTED, f"{name} is not done here; leave it out, or false", field=name
            )
    model, task = service.models.find((ask.model, body.model), (ask.task, body.task))
    work = model.work(
        items_of(body.input, model),
        task=task,
        dimensions=_dimensions(body.dimensions),
        normalize=body.normalized is not False,
        on_overflow="truncate" if body.truncate else "error",
    )
    types = _types(body)
    if work.text.width % 8 and {"binary", "ubinary"} & set(types):
        raise Refusal(
            Kind.INVALID,
            f"dimensions is {work.text.width}, and binary vectors need a multiple of 8",
            field="dimensions",
        )
    return _Asked(work, body.model or model.name, types)


def items_of(given: Input, model: Model) -> list[Item]:
    """The items of an input; a string that is an image's data URI is one where the pack sees."""
    several = given if isinstance(given, list) else [given]
    if not several:
        raise Refusal(Kind.EMPTY, "input is an empty list", field="input")
    items: list[Item] = []
    for index, one in enumerate(several):
        if isinstance(one, str):
            if not (model.takes_images and is_picture(one)):
                items.append(one)
                continue
            source: str = one
        else:
            held = {name: getattr(one, name) for name in one.__struct_fields__}
            held = {name: value for name, value in held.items() if value is not None}
            if len(held) != 1 or "pdf" in held:
                what = "a PDF, which is not read here" if "pdf" in held else f"of {sorted(held)}"
                raise Refusal(
                    Kind.INVALID,
                    f"input[{index}] is {what}; an item has one of text, image, url, bytes",
                    field="input",
                    items=(index,),
                )
            if one.text is not None:
                items.append(one.text)
                continue
            (source,) = held.values()
        try:
            items.append(picture_of(source))
        except ValueError as error:
            raise Refusal(
                Kind.INVALID, f"input[{index}] {error}", field="input", items=(index,)
            ) from None
    return items


def write(asked: _Asked, done: Done) -> Answer:
    """The answer of /v1/embeddings."""
    forms = {name: _FORMS[name](done.vectors) for name in asked.types}
    if len(forms) == 1:
        (rows,) = forms.values()
    else:
        rows = [dict(zip(forms, row, strict=True)) for row in zip(*forms.values(), strict=True)]
    return answers.json_answer(
        {
            "model": asked.model,
            "object": "list",
            "usage": answers.usage(done),
            "data": answers.entries(rows),
        },
        headers=answers.truncation_headers(done),
    )


def _dimensions(given: int | str | None) -> int | None:
    if isinstance(given, str):
        if not (given.isascii() and given.isdecimal() and len(given) < 10):
            raise Refusal(
                Kind.INVALID, f"dimensions is {shown(given)}, not a number", field="dimensions"
            )
        return int(given)
    return given


def _types(body: EmbeddingsRequest) -> list[str]:
    """The types of vectors, each once; the first is the only one where one was named."""
    found: list[list[str]] = []
    for name in ("embedding_type", "encoding_type", "encoding_format"):
        given = getattr(body, name)
        if given is None:
            continue
        several = [given] if isinstance(given, str) else given
        for one in several:
            if one not in TYPES:
                raise Refusal(
                    Kind.INVALID,
                    f"{name} {shown(one)} is unknown; choose of float, base64, binary, ubinary",
                    field=name,
                )
        if several:
            found.append(list(dict.fromkeys(TYPES[one] for one in several)))
    if any(one != found[0] for one in found):
        raise Refusal(
            Kind.INVALID,
            "embedding_type, encoding_type and encoding_format differ; leave out all but one",
            field="embedding_type",
        )
    return found[0] if found else ["float"]


_FORMS: Mapping[str, Callable[[NDArray[np.float32]], Sequence[Any]]] = {
    "float": lambda vectors: list(vectors),
    "base64": lambda vectors: [answers.base64_of(row) for row in vectors],
    "binary": lambda vectors: list(quantize(vectors, "binary")),
    "ubinary": lambda vectors: list(quantize(vectors, "ubinary")),
}


embed = exchange(read, write)
