"""/v1/classify: zero-shot classification, by the cosine of items and labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from embedge.server import answers
from embedge.server.decoding import decode
from embedge.server.dialect import Answer, Ask, Service
from embedge.server.dialects.jina.embeddings import Input, Usage, items_of
from embedge.server.models import Model
from embedge.server.refusals import Kind, Refusal
from embedge.vectors import similarity

MOST_LABELS = 512


class ClassifyRequest(msgspec.Struct):
    """The body of POST /v1/classify."""

    input: Input
    labels: list[str] | dict[str, list[str]] | None = None
    model: str | None = None
    classifier_id: str | None = None


class LabelScore(msgspec.Struct):
    """How well a label fits."""

    label: str
    score: float


class Classification(msgspec.Struct):
    """What one item is; objects by group where the labels came in groups."""

    object: str
    index: int
    prediction: str | dict[str, str]
    score: float | dict[str, float]
    predictions: list[LabelScore] | dict[str, list[LabelScore]]


class ClassifyResponse(msgspec.Struct):
    """The answer of POST /v1/classify."""

    data: list[Classification]
    usage: Usage


async def classify(ask: Ask, service: Service) -> Answer:
    """POST /v1/classify: which labels fit each item best, by the cosine of their vectors."""
    body = await service.off_loop(len(ask.body), decode, ask.body, ClassifyRequest)
    if body.classifier_id is not None or body.labels is None:
        raise Refusal(
            Kind.INVALID, "give labels: there are no trained classifiers here", field="labels"
        )
    groups = body.labels if isinstance(body.labels, dict) else {"": body.labels}
    labels = [label for group in groups.values() for label in group]
    if len(labels) > MOST_LABELS or not all(groups.values()) or not groups:
        raise Refusal(
            Kind.INVALID,
            f"there are {len(labels)} labels; give 1 to {MOST_LABELS}, and some in each group",
            field="labels",
        )
    model, task = service.models.find((ask.model, body.model), (ask.task,))
    if task is None and "classification" in model.tasks:
        task = "classification"
    items = await service.off_loop(len(ask.body), items_of, body.input, model)
    done = await service.embed(model.work([*items, *labels], task=task), ask)

    def write_classes() -> Answer:
        cosines = similarity(done.vectors[: len(items)], done.vectors[len(items) :])  # (n, labels)
        data = [_class(index, row, groups, model) for index, row in enumerate(cosines)]
        return answers.json_answer(
            {"usage": answers.usage(done), "data": data}, headers=answers.truncation_headers(done)
        )

    return await service.off_loop(len(items) * len(labels) * 16, write_classes)


def _class(
    index: int, cosines: NDArray[np.float32], groups: Mapping[str, Sequence[str]], model: Model
) -> dict[str, Any]:
    """The entry of one item; cosines (labels,) of all groups, one after the other."""
    image = model.embedder.manifest.image
    scale = image.logit_scale if image is not None and image.logit_scale else 1.0
    scores: dict[str, list[dict[str, Any]]] = {}
    start = 0
    for group, labels in groups.items():
        values = scale * cosines[start : start + len(labels)].astype(np.float64)
        odds = np.exp(values - values.max())
        shares = odds / odds.sum()
        scores[group] = [
            {"label": label, "score": float(share)}
            for label, share in zip(labels, shares, strict=True)
        ]
        start += len(labels)
    best = {group: max(found, key=lambda one: one["score"]) for group, found in scores.items()}
    entry: dict[str, Any] = {"object": "classification", "index": index}
    if list(groups) == [""]:
        return entry | {
            "prediction": best[""]["label"],
            "score": best[""]["score"],
            "predictions": scores[""],
        }
    return entry | {
        "prediction": {group: one["label"] for group, one in best.items()},
        "score": {group: one["score"] for group, one in best.items()},
        "predictions": scores,
    }
