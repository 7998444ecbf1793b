"""/v1/models: what is served, by the names that clients choose from."""

from typing import Any

from embedge.server import answers
from embedge.server.dialect import Answer, Ask, Service
from embedge.server.models import Model


async def models(ask: Ask, service: Service) -> Answer:
    """GET /v1/models: all packs by the names that clients choose from, with each task and without.

    n8n keeps the ids that hold "embed", so the model's id is among them.
    """
    data = [
        describe(model, f"{name}:{task}" if task else name)
        for model in service.models.all
        for name in dict.fromkeys((model.name, model.embedder.manifest.model_id))
        if name in model.names
        for task in ("", *model.tasks)
    ]
    return answers.json_answer({"object": "list", "data": data})


async def one_model(ask: Ask, service: Service) -> Answer:
    """GET /v1/models/{id}: one of them, by any of its names."""
    name = ask.query["id"]
    model, _ = service.models.find((name,))
    return answers.json_answer(describe(model, name))


def describe(model: Model, name: str) -> dict[str, Any]:
    """A pack as the hosted API describes a model; the true limits, and no prices."""
    manifest = model.embedder.manifest
    return {
        "id": name,
        "object": "model",
        "owned_by": "embedge",
        "created": 0,
        "name": manifest.model_id,
        "description": f"{manifest.family}, {manifest.dimension} dimensions",
        "context_length": model.max_length,
        "max_output_length": 0,
        "input_modalities": ["text", "image"] if model.takes_images else ["text"],
        "output_modalities": ["embeddings"],
        "hugging_face_id": manifest.model_id if "/" in manifest.model_id else "",
        "quantization": model.embedder.precision,
        "pricing": {},
        "supported_features": [],
        "supported_sampling_parameters": [],
        "datacenters": [],
        "dimensions": manifest.dimension,
        "matryoshka_dimensions": list(manifest.matryoshka_dimensions),
        "tasks": list(model.tasks),
    }
