"""/embed: bodies into work, and vectors into answers; the other routes use its pieces."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from embedge.options import shown
from embedge.server import answers
from embedge.server.decoding import decode
from embedge.server.dialect import Answer, Ask, Service
from embedge.server.dialects.tei.bodies import EmbedRequest, Inputs
from embedge.server.exchange import exchange
from embedge.server.models import Model, Work
from embedge.server.pictures import is_picture, picture_of
from embedge.server.refusals import Kind, Refusal
from embedge.server.work import Done, Item, Spent, TokenIds


class Asked(NamedTuple):
    """What a body asks for, decoded and checked."""

    work: Work
    characters: int


def read(ask: Ask, service: Service) -> Asked:
    """Reads a body of /embed.

    Raises:
        Refusal: something in it cannot be done.
    """
    return asked_of(decode(ask.body, EmbedRequest), ask, service)


def write(asked: Asked, done: Done) -> Answer:
    """The answer of /embed: a list of vectors, also for one text."""
    return answers.json_answer(list(done.vectors), headers=headers_of(asked, done))


def asked_of(body: EmbedRequest, ask: Ask, service: Service) -> Asked:
    """What a decoded body of /embed asks for."""
    model, task = service.models.find((ask.model, body.model), (ask.task, body.task))
    items = items_of(body.inputs, model, service)
    characters = sum(len(item) for item in items if isinstance(item, str))
    work = work_of(
        model,
        items,
        task,
        body.prompt_name,
        truncate=body.truncate,
        direction=body.truncation_direction,
        dimensions=body.dimensions,
        normalize=body.normalize is not False,
    )
    return Asked(work, characters)


def work_of(
    model: Model,
    items: Sequence[Item],
    task: str | None,
    prompt_name: str | None,
    *,
    truncate: bool | None = None,
    direction: str | None = None,
    dimensions: int | None = None,
    normalize: bool = True,
) -> Work:
    """Items and how to embed them; without `truncate` a text that is too long is cut."""
    cut = truncate is not False
    direction = (direction or "right").lower()
    if direction not in ("right", "left"):
        raise Refusal(
            Kind.INVALID,
            f"truncation_direction {shown(direction)} is unknown; it is right",
            field="truncation_direction",
        )
    if direction == "left" and cut:
        raise Refusal(
            Kind.INVALID,
            "truncation_direction is left, and texts are cut at their right end only; cut them "
            "yourself, or send truncate: false",
            field="truncation_direction",
        )
    if prompt_name in model.tasks and prompt_name not in model.embedder.prompts:
        if task and task != prompt_name:
            raise Refusal(
                Kind.INVALID,
                f"prompt_name is the task {shown(prompt_name)}, and the request's task is "
                f"{shown(task)}; leave one out",
                field="prompt_name",
            )
        task, prompt_name = prompt_name, None
    return model.work(
        items,
        task=task,
        prompt_name=prompt_name,
        dimensions=dimensions,
        normalize=normalize,
        on_overflow="truncate" if cut else "error",
    )


def items_of(given: Inputs, model: Model, service: Service) -> list[Item]:
    """The items of `inputs`: a text, token ids of one text, or a list of either."""
    if isinstance(given, str):
        several: list[Any] = [given]
    elif given and all(isinstance(one, int) for one in given):
        several = [given]
    else:
        several = given
    check_count(len(several), service)
    items: list[Item] = []
    for index, one in enumerate(several):
        if isinstance(one, str):
            items.append(item_of(one, index, model))
        elif isinstance(one, int):
            raise Refusal(
                Kind.INVALID, f"inputs[{index}] is a number among texts", "inputs", (index,)
            )
        elif not service.settings.accept_token_ids:
            raise Refusal(
                Kind.INVALID,
                "inputs holds token ids: send texts, or start the server with --accept-token-ids "
                "if the ids are this model's own, special ones included",
                "inputs",
                (index,),
            )
        else:
            items.append(TokenIds(tuple(one)))
    return items


def item_of(text: str, index: int, model: Model) -> Item:
    """A text; an image, where it is the data URI of one and the pack takes images."""
    if not text:
        raise Refusal(Kind.EMPTY, f"`inputs` cannot be empty: inputs[{index}]", "inputs", (index,))
    if not (model.takes_images and is_picture(text)):
        return text
    try:
        return picture_of(text)
    except ValueError as error:
        raise Refusal(Kind.INVALID, f"inputs[{index}] {error}", "inputs", (index,)) from None


def check_count(count: int, service: Service) -> None:
    """Refuses no items, and too many."""
    if not count:
        raise Refusal(Kind.EMPTY, "`inputs` cannot be empty", "inputs")
    if count > service.settings.items:
        raise Refusal(
            Kind.TOO_MANY,
            f"batch size {count} > maximum allowed batch size {service.settings.items}",
            "inputs",
        )


def headers_of(asked: Asked, done: Done) -> dict[str, str]:
    """Where the time went, in milliseconds, and what was computed."""
    spent: Spent = done.spent
    total = _milliseconds(spent.preparing + spent.waiting + spent.running)
    return {
        "x-compute-type": asked.work.model.embedder.device,
        "x-compute-time": total,
        "x-compute-characters": str(asked.characters),
        "x-compute-tokens": str(done.prompt_tokens),
        "x-total-time": total,
        "x-tokenization-time": _milliseconds(spent.preparing),
        "x-queue-time": _milliseconds(spent.waiting),
        "x-inference-time": _milliseconds(spent.running),
        **answers.truncation_headers(done),
    }


def _milliseconds(seconds: float) -> str:
    return str(round(1000 * seconds))


embed = exchange(read, write)
