"""Weaviate's inference container, so that text2vec-transformers takes this server for one.

    inferenceUrl: http://HOST:8080

Weaviate says whether a text is a query or a passage; an owner who wants another task puts it into
the URL (http://HOST:8080/clustering), which then decides alone. `pooling_strategy` is what Weaviate
sends always, and belongs to other models: a pack's pooling is part of its graphs. A text that is
too long is cut, as the container does.
"""

from typing import NamedTuple

import msgspec

from embedge.server import answers
from embedge.server.decoding import decode
from embedge.server.dialect import Answer, Ask, Route, Service
from embedge.server.exchange import exchange
from embedge.server.models import Work
from embedge.server.refusals import Kind, Refusal
from embedge.server.work import Done

TASKS = {"query": "retrieval.query", "passage": "retrieval.passage"}


class Config(msgspec.Struct):
    """How to embed."""

    pooling_strategy: str | None = None
    task_type: str | None = None
    dimensions: int | None = None


class VectorsRequest(msgspec.Struct):
    """The body of POST /vectors: one text, or several."""

    text: str | None = None
    texts: list[str] | None = None
    config: Config | None = None


class VectorsResponse(msgspec.Struct):
    """The answer of POST /vectors: for one text, or for several."""

    dims: int
    text: str | None = None
    vector: list[float] | None = None
    vectors: list[list[float]] | None = None


class _Asked(NamedTuple):
    """What a body asks for, decoded and checked."""

    work: Work
    text: str | None  # None: there are several


def read(ask: Ask, service: Service) -> _Asked:
    """Reads a body of /vectors.

    Raises:
        Refusal: something in it cannot be done.
    """
    body = decode(ask.body, VectorsRequest)
    texts = body.texts if body.texts else [body.text]
    if texts == [None]:
        raise Refusal(Kind.EMPTY, "the body has neither text nor texts", "text")
    config = body.config or Config()
    kind = config.task_type or None
    if kind is not None and kind not in TASKS:
        raise Refusal(
            Kind.INVALID, f"task_type {kind[:80]!r} is neither query nor passage", "task_type"
        )
    model, task = service.models.find((ask.model,))
    work = model.work(
        [text for text in texts if text is not None],
        task=ask.task or task or (TASKS[kind] if kind else None),
        dimensions=config.dimensions or None,
        on_overflow="truncate",
    )
    return _Asked(work, None if body.texts else body.text)


def write(asked: _Asked, done: Done) -> Answer:
    """The answer of /vectors."""
    headers = answers.truncation_headers(done)
    width = done.vectors.shape[1]
    if asked.text is None:
        return answers.json_answer({"vectors": list(done.vectors), "dims": width}, 200, headers)
    found = {"text": asked.text, "vector": done.vectors[0], "dims": width, "dim": width}
    return answers.json_answer(found, 200, headers)


async def meta(ask: Ask, service: Service) -> Answer:
    """GET /meta: the pack."""
    model, _ = service.models.find((ask.model,))
    manifest = model.embedder.manifest
    found = {
        "model": model.name,
        "_name_or_path": manifest.model_id,
        "model_type": manifest.family,
        "dimensions": manifest.dimension,
        "max_length": model.max_length,
        "tasks": list(model.tasks),
    }
    return answers.json_answer(found)


async def live(ask: Ask, service: Service) -> Answer:
    """GET /.well-known/live: whether the server works."""
    if not service.healthy():
        raise Refusal(Kind.UNAVAILABLE, "the server does not work; its log says why")
    return Answer(body=b"", status=204)


async def ready(ask: Ask, service: Service) -> Answer:
    """GET /.well-known/ready: whether it takes requests."""
    if not service.ready:
        raise Refusal(Kind.UNAVAILABLE, "the server is not ready", retry_after=1)
    return Answer(body=b"", status=204)


class Weaviate:
    """The dialect."""

    name = "weaviate"
    routes = (
        *(
            Route(
                "POST",
                path,
                exchange(read, write),
                summary="Vectors of texts (Weaviate's text2vec-transformers)",
                request=VectorsRequest,
                answer=VectorsResponse,
            )
            for path in ("/vectors", "/vectors/")
        ),
        Route("GET", "/meta", meta, summary="The pack"),
        *(
            Route("GET", f"/.well-known/{name}", handle, summary=summary, open=True, empty=True)
            for name, handle, summary in (
                ("live", live, "Whether the server works"),
                ("ready", ready, "Whether it takes requests"),
            )
        ),
    )

    @staticmethod
    def error(refusal: Refusal, request_id: str) -> Answer:
        """See `Dialect.error`."""
        return answers.json_answer(
            {"error": refusal.message, "request_id": request_id},
            refusal.kind.status,
        )
