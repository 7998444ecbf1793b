"""Pieces of answers that several protocols share: vectors as JSON or bytes, and errors.

Pure functions on arrays and refusals; orjson writes rows of float32 as they are, with the fewest
digits that give the same float32 again.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from embedge.server.dialect import RAW, Answer
from embedge.server.refusals import Kind, Refusal
from embedge.server.work import Done

# Jina's codes, where the hosted API has one.
_CODES = {
    Kind.UNAUTHORIZED: "AUTH_INVALID_API_KEY",
    Kind.FORBIDDEN: "AUTHZ_FORBIDDEN",
    Kind.UNKNOWN_MODEL: "INPUT_MODEL_NOT_FOUND",
    Kind.NOT_FOUND: "RESOURCE_NOT_FOUND",
    Kind.OVERLOADED: "RATE_CONCURRENCY_LIMIT_EXCEEDED",
    Kind.INTERNAL: "INTERNAL_ERROR",
    Kind.UNAVAILABLE: "SERVICE_UNAVAILABLE",
    Kind.TIMEOUT: "SERVICE_TIMEOUT",
}
# OpenAI's, in `error.code`; the others have none there.
_OPENAI_CODES = {
    Kind.UNAUTHORIZED: "invalid_api_key",
    Kind.UNKNOWN_MODEL: "model_not_found",
    Kind.TOO_LONG: "context_length_exceeded",
    Kind.OVERLOADED: "rate_limit_exceeded",
}
_OPENAI_TYPES = {
    Kind.OVERLOADED: "requests",
    Kind.INTERNAL: "server_error",
    Kind.UNAVAILABLE: "server_error",
}


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A value as JSON; contiguous NumPy arrays may stand in it."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Answer(body=body, status=status, headers=headers or {})


def entries(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """The `data` of an answer of /v1/embeddings; a row is a vector in the form that was asked."""
    return [
        {"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)
    ]


def base64_of(vector: NDArray[np.float32]) -> str:
    """A vector as OpenAI's and Jina's clients decode it: little-endian float32, padded base64."""
    return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode("ascii")


def raw_answer(done: Done) -> Answer:
    """The vectors as bytes: float32, little-endian, row after row; the shape is in the headers."""
    rows, width = done.vectors.shape
    headers = {
        "x-embedge-rows": str(rows),
        "x-embedge-dimensions": str(width),
        "x-embedge-dtype": "float32",
        "x-embedge-tokens": str(done.prompt_tokens),
        **truncation_headers(done),
    }
    body = done.vectors.astype("<f4", copy=False).tobytes()
    return Answer(body=body, media_type=RAW, headers=headers)


def truncation_headers(done: Done) -> dict[str, str]:
    """Says that texts were cut, which the vectors do not show."""
    return {"x-embedge-truncated": str(len(done.truncated))} if done.truncated else {}


def usage(done: Done) -> dict[str, int]:
    """Tokens as Jina's and OpenAI's APIs count them; how many texts were cut, if some were."""
    counts = {"prompt_tokens": done.prompt_tokens, "total_tokens": done.total_tokens}
    if done.image_tokens:
        counts["image_tokens"] = done.image_tokens
    if done.truncated:
        counts["truncated"] = len(done.truncated)
    return counts


def error_answer(refusal: Refusal, request_id: str, *, status: int | None = None) -> Answer:
    """An error that the clients of every protocol of /v1/embeddings can read, whoever asks.

    Jina's read a string `detail` and nothing else, whatever the status; OpenAI's SDKs and Weaviate
    read `error.message`; those of Text Embeddings Inference a flat `message`. One body has all.
    """
    message = refusal.message
    kind = _OPENAI_TYPES.get(refusal.kind, "invalid_request_error")
    body: dict[str, Any] = {
        "detail": message,
        "code": _CODES.get(refusal.kind, "INPUT_INVALID"),
        "request_id": request_id,
        "error": {
            "message": message,
            "type": kind,
            "param": refusal.field,
            "code": _OPENAI_CODES.get(refusal.kind),
        },
        "message": message,
        "type": kind,
    }
    if refusal.field is not None:
        body["errors"] = [
            {"field": where, "message": message, "type": refusal.kind.code}
            for where in (
                [f"{refusal.field}[{item}]" for item in refusal.items[:100]] or [refusal.field]
            )
        ]
    return json_answer(body, status or refusal.kind.status)


def refusal_headers(refusal: Refusal) -> dict[str, str]:
    """Retry-After, where it helps to try again; Allow; how to come in."""
    headers = {}
    if refusal.retry_after is not None:
        headers["retry-after"] = str(refusal.retry_after)
    if refusal.allow:
        headers["allow"] = ", ".join(refusal.allow)
    if refusal.kind is Kind.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return headers
