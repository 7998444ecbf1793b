"""The API as an OpenAPI document, and as a page: made from the routes and their records."""

import functools
import html
from collections.abc import Sequence
from typing import Any

import msgspec

from embedge import __version__
from embedge.server.dialect import JSON, Route

REFERENCE = "#/components/schemas/{name}"
ERROR = {
    "description": "An error, in the form of the protocol",
    "content": {"*/*": {"schema": {}}},
}


class ErrorInside(msgspec.Struct):
    """An error as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(msgspec.Struct):
    """An error of /v1/embeddings, /v1/classify and /v1/models."""

    detail: str
    code: str
    request_id: str
    error: ErrorInside
    message: str
    type: str


@functools.cache
def document(routes: tuple[Route, ...]) -> bytes:
    """The OpenAPI 3.1 document of some routes, as JSON."""
    kinds = [kind for route in routes for kind in (route.request, route.answer) if kind is not None]
    kinds = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operations = paths.setdefault(route.path, {})
        operation = operations.setdefault(route.method.lower(), _operation(route))
        if route.request is not None:
            content = operation["requestBody"]["content"]
            _either(content, schema_of[route.request])
        if route.answer is not None:
            _either(operation["responses"]["200"]["content"], schema_of[route.answer])
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "embedge", "version": __version__},
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _operation(route: Route) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "What was asked for"}
    if not route.empty:
        good["content"] = {} if route.answer is not None else {"*/*": {}}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "security": [{}] if route.open else [{"key": []}, {}],
        "responses": {
            "204" if route.empty else "200": good,
            "default": ERROR,
        },
    }
    if route.request is not None:
        operation["requestBody"] = {"required": True, "content": {}}
    _, brace, name = route.path.partition("{")
    if brace:
        operation["parameters"] = [
            {"name": name[:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return operation


def _either(content: dict[str, Any], schema: Any) -> None:
    """Adds a schema of a dialect to those of the others that share the path."""
    several = content.setdefault(JSON, {"schema": {"anyOf": []}})["schema"]["anyOf"]
    if schema not in several:
        several.append(schema)


def page(routes: Sequence[Route]) -> bytes:
    """The routes as HTML."""
    rows = "".join(
        f"<tr><td>{route.method}<td><code>{html.escape(route.path)}</code>"
        f"<td>{html.escape(route.summary)}<td>{'' if route.open else 'key, if the server has one'}"
        for route in routes
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>embedge {__version__}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 60em }}
td {{ padding: .2em 1em .2em 0; vertical-align: top }}</style>
<h1>embedge {__version__}</h1>
<p>The fields of requests and answers are in <a href="/openapi.json">/openapi.json</a>.
<table>{rows}</table></html>
""".encode()
