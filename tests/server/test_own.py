"""The server's own routes: what it says of itself."""

import json
import re
from typing import Any

from embedge.server.app import DIALECTS
from support.serving import Client


def references(value: Any) -> set[str]:
    """All that a JSON document refers to within itself."""
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_the_document_describes_every_route(server: Client) -> None:
    document = server.get("/openapi.json").json()
    for dialect in DIALECTS:
        for route in dialect.routes:
            operation = document["paths"][route.path][route.method.lower()]
            assert ("requestBody" in operation) is (route.request is not None), route.path
            assert operation["summary"]
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known


def test_the_page_loads_nothing_from_elsewhere(server: Client) -> None:
    reply = server.get("/docs")
    page = reply.body.decode()
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert not re.search(r"https?://|<script|src=", page)
    assert all(route.path.split("{")[0] in page for one in DIALECTS for route in one.routes)


def test_an_answer_without_content_has_no_content_type(server: Client) -> None:
    reply = server.get("/.well-known/ready")
    assert reply.status == 204
    assert "content-type" not in reply.headers


def test_metrics_count_what_ran(server: Client) -> None:
    server.embed(["ab", "c" * 100], model="tiny", truncate=True)
    text = server.get("/metrics").body.decode()
    counts = dict(re.findall(r"^(\S+) (\S+)$", text, re.MULTILINE))
    assert float(counts['embedge_items_total{model="tiny",tower="text"}']) >= 2
    assert float(counts['embedge_tokens_total{model="tiny"}']) >= 69
    assert float(counts['embedge_truncations_total{model="tiny"}']) >= 1
    assert float(counts["embedge_ready"]) == 1
    assert float(counts['embedge_queue_tokens{model="tiny"}']) == 0
    assert float(counts["embedge_memory_bytes"]) > 1e6
    assert json.loads(server.get("/live").body) == {"status": "live"}
