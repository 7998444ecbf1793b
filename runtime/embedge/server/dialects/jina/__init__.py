"""The hosted Jina API: /v1/embeddings, /v1/classify, /v1/models.

As its OpenAPI document states it, and with every other spelling that its clients send: the type of
the vectors under three names, `dimensions` as a string, images as URL, data URI or bare base64,
under "image", "url" or "bytes", or as a plain string that is a data URI.

What this server cannot do is refused, not ignored: late chunking, vectors of every token, PDFs.
Two things differ from the hosted API: a text that is too long is a 422 with its index, and an
image always counts as what the network sees of it (one square), whatever its size.
"""

from embedge.server import answers, speaker
from embedge.server.dialect import Answer, Route
from embedge.server.dialects.jina.catalog import models, one_model
from embedge.server.dialects.jina.classification import ClassifyRequest, ClassifyResponse, classify
from embedge.server.dialects.jina.embeddings import EmbeddingsRequest, EmbeddingsResponse, embed
from embedge.server.refusals import Kind, Refusal

# What the hosted API answers with, where it is not the kind's own status.
STATUS = {
    Kind.INVALID: 422,
    Kind.EMPTY: 422,
    Kind.TOO_LONG: 422,
    Kind.TOO_MANY: 422,
    Kind.UNSUPPORTED: 422,
    Kind.UNKNOWN_MODEL: 400,
}


class Jina:
    """The dialect."""

    name = speaker.JINA
    routes = (
        *(
            Route(
                "POST",
                path,
                embed,
                summary="Vectors of texts and images (Jina)",
                request=EmbeddingsRequest,
                answer=EmbeddingsResponse,
            )
            for path in ("/v1/embeddings", "/embeddings")
        ),
        Route(
            "POST",
            "/v1/classify",
            classify,
            summary="Zero-shot classification of texts and images",
            request=ClassifyRequest,
            answer=ClassifyResponse,
        ),
        Route("GET", "/v1/models", models, summary="The packs that are served"),
        Route("GET", "/models", models, summary="The packs that are served"),
        Route("GET", "/v1/models/{id}", one_model, summary="One of them"),
    )

    @staticmethod
    def error(refusal: Refusal, request_id: str) -> Answer:
        """See `Dialect.error`."""
        return answers.error_answer(refusal, request_id, status=STATUS.get(refusal.kind))
