"""OpenAI's /v1/embeddings, as its SDKs speak it.

Vectors are lists of numbers unless base64 is asked for, which the SDKs do by themselves. Token ids
(langchain-openai sends them by default) are refused unless the owner allows them: those of another
tokenizer look valid here, and mean other words.
"""

from typing import Any, NamedTuple

import msgspec

from embedge.options import shown
from embedge.server import answers, speaker
from embedge.server.decoding import decode
from embedge.server.dialect import Answer, Ask, Route, Service
from embedge.server.exchange import exchange
from embedge.server.models import Model, Work
from embedge.server.pictures import is_picture, picture_of
from embedge.server.refusals import Kind, Refusal
from embedge.server.work import Done, Item, TokenIds

FORMATS = ("float", "base64")
# By these words Elasticsearch knows that a shorter text would be accepted.
SHORTEN = "Please reduce your prompt; or completion length."


class EmbeddingsRequest(msgspec.Struct):
    """The body of POST /v1/embeddings."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    dimensions: int | None = None
    encoding_format: str | None = None
    user: str | None = None


class Usage(msgspec.Struct):
    """Tokens of a request."""

    prompt_tokens: int
    total_tokens: int


class Embedding(msgspec.Struct):
    """One vector: numbers, or base64 of little-endian float32."""

    object: str
    index: int
    embedding: list[float] | str


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
    base64: bool


def read(ask: Ask, service: Service) -> _Asked:
    """Reads a body of /v1/embeddings.

    Raises:
        Refusal: something in it cannot be done.
    """
    body = decode(ask.body, EmbeddingsRequest)
    form = body.encoding_format or "float"
    if form not in FORMATS:
        raise Refusal(
            Kind.INVALID,
            f"Invalid value for 'encoding_format' = {form[:80]}. Supported values: "
            f"{list(FORMATS)}.",
            field="encoding_format",
        )
    model, task = service.models.find((ask.model, body.model), (ask.task,))
    items = items_of(body.input, model, ids=service.settings.accept_token_ids)
    work = model.work(items, task=task, dimensions=body.dimensions)
    return _Asked(work, body.model or model.name, form == "base64")


def items_of(given: str | list[str | int | list[int]], model: Model, *, ids: bool) -> list[Item]:
    """The items of an input.

    Args:
        given: as it stands in the body.
        model: whether it takes images.
        ids: whether lists of token ids are accepted.
    """
    several: list[Any] = [given] if isinstance(given, str) else given
    if not several:
        raise _invalid("an empty list")
    if all(isinstance(one, int) for one in several):
        several = [several]  # one text
    items: list[Item] = []
    for index, one in enumerate(several):
        if isinstance(one, str):
            if not one:
                raise _invalid(f"input[{index}] is an empty string", index)
            items.append(_item(one, index, model))
        elif isinstance(one, int):
            raise _invalid(f"input[{index}] is a number among texts", index)
        elif not ids:
            raise Refusal(
                Kind.INVALID,
                "input holds token ids, which another tokenizer made: send texts "
                "(langchain-openai: check_embedding_ctx_length=False), or start the server with "
                "--accept-token-ids if they are this model's own",
                field="input",
                items=(index,),
            )
        else:
            items.append(TokenIds(tuple(one)))
    return items


def write(asked: _Asked, done: Done) -> Answer:
    """The answer of /v1/embeddings."""
    rows: list[Any] = list(done.vectors)
    if asked.base64:
        rows = [answers.base64_of(row) for row in rows]
    return answers.json_answer(
        {
            "object": "list",
            "data": answers.entries(rows),
            "model": asked.model,
            "usage": answers.usage(done),
        },
        headers=answers.truncation_headers(done),
    )


def _item(text: str, index: int, model: Model) -> Item:
    if not (model.takes_images and is_picture(text)):
        return text
    try:
        return picture_of(text)
    except ValueError as error:
        raise _invalid(f"input[{index}] {error}", index) from None


def _invalid(why: str, *items: int) -> Refusal:
    return Refusal(Kind.INVALID, f"'$.input' is invalid: {shown(why)[1:-1]}.", "input", items)


class OpenAI:
    """The dialect."""

    name = speaker.OPENAI
    routes = tuple(
        Route(
            "POST",
            path,
            exchange(read, write),
            summary="Vectors of texts (OpenAI)",
            request=EmbeddingsRequest,
            answer=EmbeddingsResponse,
        )
        for path in ("/v1/embeddings", "/embeddings")
    )

    @staticmethod
    def error(refusal: Refusal, request_id: str) -> Answer:
        """See `Dialect.error`."""
        if refusal.kind is Kind.TOO_LONG:
            longer = f"{refusal.message}. {SHORTEN}"
            refusal = Refusal(refusal.kind, longer, refusal.field, refusal.items)
        status = 400 if refusal.kind is Kind.UNSUPPORTED else None
        return answers.error_answer(refusal, request_id, status=status)
