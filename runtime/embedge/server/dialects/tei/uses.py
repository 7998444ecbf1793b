"""/similarity, /vertex, and / which is one of them or /embed."""

import asyncio
import dataclasses
from collections.abc import Callable

import numpy as np

from embedge.server import answers
from embedge.server.decoding import decode
from embedge.server.dialect import Answer, Ask, Service
from embedge.server.dialects.tei.bodies import (
    RootRequest,
    Sentences,
    SimilarityParameters,
    SimilarityRequest,
    VertexRequest,
)
from embedge.server.dialects.tei.vectors import (
    Asked,
    asked_of,
    check_count,
    embed,
    headers_of,
    item_of,
    work_of,
)
from embedge.server.models import Work
from embedge.server.refusals import Refusal
from embedge.server.work import Done


async def similarity(ask: Ask, service: Service) -> Answer:
    """POST /similarity: the cosine of one text with each of several."""
    body = await service.off_loop(len(ask.body), decode, ask.body, SimilarityRequest)
    given = body.parameters or SimilarityParameters()
    model, task = service.models.find((ask.model,), (ask.task, given.task))
    texts = [body.inputs.source_sentence, *body.inputs.sentences]
    check_count(len(body.inputs.sentences), service)
    items = await service.off_loop(
        len(ask.body), lambda: [item_of(text, index, model) for index, text in enumerate(texts)]
    )
    work = work_of(
        model,
        items,
        task,
        given.prompt_name,
        truncate=given.truncate,
        direction=given.truncation_direction,
    )
    done = await service.embed(work, ask)
    asked = Asked(work, sum(map(len, texts)))

    def cosines() -> Answer:
        first, others = done.vectors[0], done.vectors[1:]
        found = np.einsum("nd,d->n", others, first, dtype=np.float64).astype(np.float32)
        return answers.json_answer(found, headers=headers_of(asked, done))

    return await service.off_loop(done.vectors.nbytes, cosines)


async def root(ask: Ask, service: Service) -> Answer:
    """POST /: /similarity if `inputs` is an object, else /embed."""
    body = await service.off_loop(len(ask.body), decode, ask.body, RootRequest)
    return await (similarity if isinstance(body.inputs, Sentences) else embed)(ask, service)


async def vertex(ask: Ask, service: Service) -> Answer:
    """POST /vertex: several bodies of /embed at once."""

    def read_all() -> list[Asked]:
        body = decode(ask.body, VertexRequest)
        found = [
            _in_instance(index, lambda one=one: asked_of(one, ask, service))  # type: ignore[misc]
            for index, one in enumerate(body.instances)
        ]
        check_count(sum(len(asked.work.items) for asked in found), service)
        return found

    async def one(index: int, work: Work) -> Done:
        try:
            return await service.embed(work, ask)
        except Refusal as refusal:
            raise _prefixed(index, refusal) from refusal

    several = await service.off_loop(len(ask.body), read_all)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(one(index, asked.work)) for index, asked in enumerate(several)
            ]
    except* Refusal as failed:
        first: BaseException = failed
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        refusal = first
    else:
        done = [task.result() for task in tasks]
        size = sum(part.vectors.nbytes for part in done)
        predictions = {"predictions": [list(part.vectors) for part in done]}
        return await service.off_loop(size, answers.json_answer, predictions)
    raise refusal


def _in_instance(index: int, function: Callable[[], Asked]) -> Asked:
    try:
        return function()
    except Refusal as refusal:
        raise _prefixed(index, refusal) from refusal


def _prefixed(index: int, refusal: Refusal) -> Refusal:
    return dataclasses.replace(refusal, message=f"instances[{index}]: {refusal.message}")
