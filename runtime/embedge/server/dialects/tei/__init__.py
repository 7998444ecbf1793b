"""Text Embeddings Inference, as its version 1.9 speaks: /embed, /similarity, /tokenize, /info.

Elasticsearch's service hugging_face, Haystack, LlamaIndex, Chroma, Milvus, Continue and
huggingface-hub's InferenceClient call it. A pack gives one vector a text and classifies nothing, so
the routes for tokens' vectors, sparse ones, rerankers and classifiers answer 424, as they do there.

Where it differs: a body may name a `task` and a `model`; `prompt_name` may be a task; there is one
limit of items for all; an error is JSON on every path.
"""

import re

from embedge import __version__
from embedge.server import answers
from embedge.server.dialect import Answer, Ask, Handler, Route, Service
from embedge.server.dialects.tei.bodies import (
    DecodeRequest,
    EmbedRequest,
    SimilarityRequest,
    SimpleToken,
    TokenizeRequest,
    VertexRequest,
    VertexResponse,
)
from embedge.server.dialects.tei.tokens import decode_ids, tokenize
from embedge.server.dialects.tei.uses import root, similarity, vertex
from embedge.server.dialects.tei.vectors import embed
from embedge.server.refusals import Kind, Refusal

# What it calls an error, and its status, where it is neither a Validation nor the kind's own.
TYPES = {
    Kind.EMPTY: "Empty",
    Kind.UNSUPPORTED: "Backend",
    Kind.INTERNAL: "Backend",
    Kind.OVERLOADED: "Overloaded",
    Kind.UNAVAILABLE: "Unhealthy",
    Kind.UNAUTHORIZED: "Unauthorized",
    Kind.FORBIDDEN: "Unauthorized",
}
STATUS = {
    Kind.INVALID: 422,
    Kind.TOO_LONG: 422,
    Kind.TOO_MANY: 422,
    Kind.INTERNAL: 424,
}
DTYPES = {"fp32": "float32", "fp16": "float16"}


async def info(ask: Ask, service: Service) -> Answer:
    """GET /info: the pack and the limits; clients batch by `max_client_batch_size`."""
    model, _ = service.models.find((ask.model,))
    manifest, embedder = model.embedder.manifest, model.embedder
    found = {
        "model_id": manifest.model_id,
        "model_sha": manifest.revision,
        "model_dtype": DTYPES.get(embedder.precision, embedder.precision),
        "served_model_name": model.name,
        "model_type": {"embedding": {"pooling": manifest.pooling}},
        "max_concurrent_requests": service.settings.connections,
        "max_input_length": model.max_length,
        "max_batch_tokens": embedder.encoder.limits().token_budget,
        "max_batch_requests": None,
        "max_client_batch_size": service.settings.items,
        "auto_truncate": True,
        "tokenization_workers": embedder.threads,
        "version": __version__,
        "sha": None,
        "docker_label": None,
    }
    return answers.json_answer(found)


async def ping(ask: Ask, service: Service) -> Answer:
    """GET /ping and /: whether the server works; nothing else."""
    if not service.healthy():
        raise Refusal(Kind.UNAVAILABLE, "the server does not work; its log says why")
    return Answer(body=b"", media_type="text/plain")


def _unsupported(why: str) -> Handler:
    """The handler of a route that no pack can serve."""

    async def refuse(ask: Ask, service: Service) -> Answer:
        raise Refusal(Kind.UNSUPPORTED, why)

    return refuse


def _embedding(path: str) -> Route:
    return Route(
        "POST",
        path,
        root if path == "/" else embed,
        summary="Vectors of texts (Text Embeddings Inference)",
        request=EmbedRequest,
        answer=list[list[float]],
    )


def _refused(path: str, why: str) -> Route:
    return Route("POST", path, _unsupported(why), summary="Not done by embedding models: 424")


class TextEmbeddingsInference:
    """The dialect."""

    name = "tei"
    routes = (
        _embedding("/embed"),
        _embedding("/"),
        _embedding("/invocations"),
        Route(
            "POST",
            "/similarity",
            similarity,
            summary="Cosines of one text with others",
            request=SimilarityRequest,
            answer=list[float],
        ),
        Route(
            "POST",
            "/tokenize",
            tokenize,
            summary="Tokens of texts",
            request=TokenizeRequest,
            answer=list[list[SimpleToken]],
        ),
        Route(
            "POST",
            "/decode",
            decode_ids,
            summary="Texts of tokens",
            request=DecodeRequest,
            answer=list[str],
        ),
        Route(
            "POST",
            "/vertex",
            vertex,
            summary="Several bodies of /embed",
            request=VertexRequest,
            answer=VertexResponse,
        ),
        Route("GET", "/info", info, summary="The pack and the limits"),
        *(
            Route("GET", path, ping, summary="Whether the server works", open=True)
            for path in ("/ping", "/")
        ),
        _refused("/embed_all", "packs give one vector a text, and none for each of its tokens"),
        _refused("/embed_sparse", "model is not a sparse embedding model"),
        _refused("/predict", "model is not a classifier model"),
        _refused("/rerank", "model is not a re-ranker model"),
    )

    @staticmethod
    def error(refusal: Refusal, request_id: str) -> Answer:
        """See `Dialect.error`."""
        message = refusal.message
        if refusal.kind is Kind.TOO_LONG and refusal.given is not None:
            where = re.match(r"instances\[\d+\]: |", message)
            message = (
                f"{where[0] if where else ''}Input validation error: `inputs` must have less than "
                f"{refusal.limit} tokens. Given: {refusal.given}"
            )
            message += f" (inputs[{refusal.items[0]}])" if refusal.items else ""
        elif refusal.field == "input":  # the words of the core, with this protocol's name for it
            message = re.sub(r"\binput\b(?=\[|$)", "inputs", message)
        return answers.json_answer(
            {
                "error": message,
                "error_type": TYPES.get(refusal.kind, "Validation"),
                "message": message,
                "request_id": request_id,
            },
            STATUS.get(refusal.kind, refusal.kind.status),
        )
