"""Bodies that nobody means, sent to every route that takes one: an answer always, never a 500."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedge.server.app import DIALECTS
from support.serving import Client, open_pack, serving
from support.tiny import IMAGE, write_pack

ROUTES = [route for dialect in DIALECTS for route in dialect.routes if route.method == "POST"]
# Names that mean something somewhere, and some that do not.
NAMES = sorted(
    {
        name
        for route in ROUTES
        if isinstance(route.request, type) and issubclass(route.request, msgspec.Struct)
        for name in route.request.__struct_fields__
    }
    | {"image", "url", "bytes", "text", "source_sentence", "sentences", "parameters", "", "x"}
)
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "tiny",
            "retrieval.query",
            "float",
            "base64",
            "data:image/png;base64,AAAA",
            "https://a",
            "8",
        ]
    ),
)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts, st.just("x" * 300)
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = write_pack(tmp_path_factory.mktemp("packs") / "tiny", image=IMAGE)
    with serving({"tiny": open_pack(folder)}, accept_token_ids=True) as (found, _):
        yield found


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies)
def test_a_body_of_known_names_and_any_values(client: Client, path: str, body: Any) -> None:
    # Most bodies lack what the route needs: give half of them a text.
    if len(body) % 2:
        body = {"input": "a", "inputs": "a", "text": "a"} | body
    reply = client.post(path, json.dumps(body).encode())
    assert reply.status in (200, 400, 404, 413, 422, 424), (reply.status, body)
    assert isinstance(reply.json(), (dict, list))


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"\x00",
        b"[" * 200_000,
        b'{"inputs":' * 50_000,
        b'{"input":"a","input":7}',
        b'\xef\xbb\xbf{"input":"a","inputs":"a","text":"a"}',
        b'{"input":"' + b"a" * 300_000 + b'"}',
        b'{"inputs":["\\u0000"],"input":["\\u0000"],"text":"\\u0000"}',
        b"9" * 5000,
    ],
)
def test_a_body_of_any_bytes(client: Client, path: str, body: bytes) -> None:
    reply = client.ask("POST", path, body)
    assert reply.status in (200, 400, 404, 413, 422, 424), reply


@pytest.mark.parametrize(
    "path",
    [
        "/%00",
        "/..%2f..%2fetc/passwd",
        "/tiny:",
        "/:retrieval/embed",
        "/tiny:retrieval/",
        "//",
        "/v1/models/%ff",
        "/v1/models/..",
        "/v1/models?x=%zz&model=%ff",
        "/" + "a" * 5000,
    ],
)
def test_paths_of_any_bytes(client: Client, path: str) -> None:
    assert client.get(path).status in (200, 400, 404, 405)
