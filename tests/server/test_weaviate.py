"""Weaviate's inference container over a socket, with the bodies that Weaviate's server sends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge import Embedder
from support.serving import Client, Reply, open_pack, serving

# One library answers for encode's default task and for encode_query's, each compared on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::embedge.TaskWarning")


@pytest.fixture(scope="module")
def library(tiny_folder: Path) -> Iterator[Embedder]:
    with open_pack(tiny_folder) as embedder:
        yield embedder


def vectorize(client: Client, path: str = "/vectors", **config: Any) -> Reply:
    config = {"pooling_strategy": "masked_mean", **config}
    body = {"text": "ab", "dims": 0, "vector": None, "error": "", "config": config}
    return client.post(path, body)  # without a Content-Type


def vector(reply: Reply) -> bytes:
    assert reply.status == 200, reply.body
    return np.array(reply.json()["vector"], np.float32).tobytes()


@pytest.mark.parametrize("path", ["/vectors", "/vectors/"])
def test_queries_and_passages(server: Client, library: Embedder, path: str) -> None:
    query, passage = library.encode_query("ab"), library.encode_document("ab")
    assert vector(vectorize(server, path, task_type="query")) == query.tobytes()
    assert vector(vectorize(server, path, task_type="passage")) == passage.tobytes()


@pytest.mark.parametrize("config", [{}, {"task_type": ""}, {"task_type": None}])
def test_without_a_task_the_packs_default(server: Client, library: Embedder, config: Any) -> None:
    assert vector(vectorize(server, **config)) == library.encode("ab").tobytes()


def test_the_answer_has_all_fields(server: Client) -> None:
    body = vectorize(server, dimensions=3).json()
    assert set(body) == {"text", "dims", "dim", "vector"}
    assert (body["text"], body["dims"], len(body["vector"])) == ("ab", 3, 3)


def test_several_texts(server: Client, library: Embedder) -> None:
    config = {"task_type": "passage", "dimensions": 0}
    body = server.post("/vectors", {"texts": ["a", "bc"], "config": config}).json()
    assert body["dims"] == library.dimension
    found = np.array(body["vectors"], np.float32)
    assert found.tobytes() == library.encode_document(["a", "bc"]).tobytes()


def test_an_address_with_a_task_decides_alone(server: Client, library: Embedder) -> None:
    found = vector(vectorize(server, "/retrieval/vectors", task_type="query"))
    assert found == library.encode("ab", task="retrieval").tobytes()


def test_long_and_empty_texts_have_vectors(server: Client) -> None:
    reply = server.post("/vectors", {"text": "x" * 1000})
    assert (reply.status, reply.headers["x-embedge-truncated"]) == (200, "1")
    assert server.post("/vectors", {"text": ""}).status == 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "neither text nor texts"),
        ({"text": 1}, "text"),
        ({"text": "a", "config": {"task_type": "other"}}, "'other'"),
        ({"text": "a", "config": {"dimensions": 9}}, "1 to 8"),
        (b"{", "not JSON"),
    ],
)
def test_errors(server: Client, body: Any, says: str) -> None:
    reply = server.post("/vectors", body)
    assert reply.status == 400
    assert says in reply.json()["error"]


def test_weaviate_waits_until_it_is_ready(server: Client) -> None:
    for path in ("/.well-known/live", "/.well-known/ready"):
        reply = server.get(path)
        assert (reply.status, reply.body) == (204, b"")
        assert not {"content-type", "content-length"} & set(reply.headers)


def test_probes_need_no_key(tiny_folder: Path) -> None:
    with serving({"tiny": open_pack(tiny_folder)}, keys=("secret-key",)) as (client, server):
        assert client.get("/.well-known/ready").status == 204
        assert vectorize(client).status == 401
        server.service.draining = True
        reply = client.get("/.well-known/ready")
        assert (reply.status, bool(reply.json()["error"])) == (503, True)
        assert client.get("/.well-known/live").status == 204


def test_meta(server: Client, library: Embedder) -> None:
    found = server.get("/meta").json()
    assert found["dimensions"] == library.dimension
    assert "retrieval.query" in found["tasks"]
