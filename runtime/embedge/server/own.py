"""Routes of the server itself: is it alive, ready, well; what it counts; what it can be asked.

None of them needs a key, so that probes need none. /openapi.json and /docs hold no more than the
protocols themselves.
"""

from embedge.server import answers, openapi
from embedge.server.dialect import Answer, Ask, Route, Service
from embedge.server.metrics import MEDIA_TYPE
from embedge.server.refusals import Refusal

NAME = "own"


async def live(ask: Ask, service: Service) -> Answer:
    """GET /live: the process answers."""
    return answers.json_answer({"status": "live"})


async def ready(ask: Ask, service: Service) -> Answer:
    """GET /ready: every task is warm, and requests are welcome."""
    if service.ready:
        return answers.json_answer({"status": "ready"})
    return answers.json_answer({"status": "not ready"}, 503)


async def health(ask: Ask, service: Service) -> Answer:
    """GET /health: the threads that run the networks are there and work."""
    if service.healthy():
        return answers.json_answer({"status": "ok"})
    return answers.json_answer({"status": "failed; the server's log says why"}, 503)


async def metrics(ask: Ask, service: Service) -> Answer:
    """GET /metrics: counters for Prometheus."""
    return Answer(body=service.metrics.text(), media_type=MEDIA_TYPE)


async def document(ask: Ask, service: Service) -> Answer:
    """GET /openapi.json."""
    return Answer(body=openapi.document(service.routes))


async def docs(ask: Ask, service: Service) -> Answer:
    """GET /docs: the same for people; one page with nothing loaded from elsewhere."""
    headers = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Answer(
        body=openapi.page(service.routes), media_type="text/html; charset=utf-8", headers=headers
    )


class Own:
    """The dialect of these routes."""

    name = NAME
    routes = (
        Route("GET", "/live", live, summary="Whether the process answers", open=True),
        Route("GET", "/ready", ready, summary="Whether all models are warm", open=True),
        Route("GET", "/health", health, summary="Whether the models work", open=True),
        Route("GET", "/metrics", metrics, summary="Counters for Prometheus", open=True),
        Route(
            "GET", "/openapi.json", document, summary="The API as an OpenAPI document", open=True
        ),
        Route("GET", "/docs", docs, summary="The API for people", open=True),
    )

    @staticmethod
    def error(refusal: Refusal, request_id: str) -> Answer:
        """See `Dialect.error`."""
        return answers.error_answer(refusal, request_id)
