"""POST /v1/embeddings over a socket: what every kind of client sends, and what it needs back."""

import base64
import io
import re
from typing import Any

import numpy as np
import openai
import pytest

from embedge import Embedder
from embedge.errors import PackError
from embedge.pack.files import default_folder
from support.serving import Client, open_pack, serving
from support.tiny import DIMENSION, write_pack

# One library answers for encode's default task and for encode_query's, each compared on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::embedge.TaskWarning")

RED = (255, 51, 0)


def raw(text: str, *, task: int = 1, prompt: str = "D: ") -> np.ndarray[Any, Any]:
    """The tiny pack's vector, before it is normalized."""
    sent = f"{prompt}{text}".encode()
    return np.array([sum(sent), len(sent), task, -1, 0.5, -0.5, 0, 1], np.float32)


def unit(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def image_bytes(color: tuple[int, int, int] = RED, size: int = 8) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (size, size), color).save(stream, "PNG")
    return stream.getvalue()


IMAGE_64 = base64.b64encode(image_bytes()).decode()
IMAGE_URI = f"data:image/png;base64,{IMAGE_64}"
IMAGE_VECTOR = unit(np.array([1, 0.2, 0, 1, 0, 0, 0, 1], np.float32))


def same(found: Any, expected: Any) -> bool:
    return np.allclose(np.array(found, np.float32), expected, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------ inputs


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("ab", ["ab"]),
        (["ab"], ["ab"]),
        ({"text": "ab"}, ["ab"]),
        (["ab", {"text": "c"}], ["ab", "c"]),
        ([""], [""]),  # pymilvus probes the width so
    ],
)
def test_inputs(server: Client, given: Any, texts: list[str]) -> None:
    reply = server.embed(given, model="tiny")
    assert same(reply.vectors, [unit(raw(text)) for text in texts])
    body = reply.json()
    assert body["object"] == "list"
    assert body["model"] == "tiny"
    assert [one["index"] for one in body["data"]] == list(range(len(texts)))
    assert {one["object"] for one in body["data"]} == {"embedding"}
    tokens = sum(len(raw_text) + 3 for raw_text in texts)
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


@pytest.mark.parametrize(
    "item",
    [
        {"image": IMAGE_64},
        {"image": IMAGE_URI},
        {"url": IMAGE_URI},
        {"bytes": IMAGE_64},
        IMAGE_URI,
    ],
)
def test_images(server: Client, item: Any) -> None:
    reply = server.embed([item, "ab", item], model="tiny")
    assert same(reply.vectors, [IMAGE_VECTOR, unit(raw("ab")), IMAGE_VECTOR])
    usage = reply.json()["usage"]
    assert usage == {"prompt_tokens": 5, "total_tokens": 8005, "image_tokens": 8000}


def test_an_openai_client_sends_images_as_data_uris(server: Client) -> None:
    reply = server.embed([IMAGE_URI], model="tiny", encoding_format="float")
    assert same(reply.vectors, [IMAGE_VECTOR])


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({"image": "/etc/passwd"}, "neither a URL, nor a data URI, nor base64"),
        ({"image": "file:///etc/passwd"}, "neither a URL"),
        ({"image": "https://example.org/a.png"}, "--allow-urls"),
        (
            {"image": base64.b64encode(b"no image").decode()},
            "is not an image that can be read here",
        ),
        ({"pdf": "JVBERi0="}, "PDF"),
        ({"text": "a", "image": IMAGE_64}, "one of text, image"),
        ({}, "one of text, image"),
        (7, "input[1]"),
    ],
)
def test_items_that_cannot_be_embedded_are_named(server: Client, item: Any, why: str) -> None:
    reply = server.embed(["a", item], model="tiny", task="text-matching")
    assert reply.status == 422
    assert why in reply.json()["detail"]
    assert "input[1]" in reply.json()["detail"]


# ------------------------------------------------------------------ fields of Jina's API


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"task": None, "late_chunking": False, "dimensions": None, "embedding_type": None},
        {"task": "", "normalized": True, "truncate": None},
        {"task": "text-matching", "user": "someone", "of_another_time": {"x": [1]}},
        {"dimensions": DIMENSION},
        {"dimensions": str(DIMENSION), "encoding_type": "float"},
    ],
)
def test_fields_that_leave_the_meaning_as_it_is(server: Client, fields: Any) -> None:
    assert same(server.embed("ab", model="tiny", **fields).vectors, [unit(raw("ab"))])


@pytest.mark.parametrize(
    ("fields", "vector"),
    [
        ({"task": "retrieval"}, unit(raw("ab", task=0))),
        ({"task": "retrieval.query"}, unit(raw("ab", task=0, prompt="Q: "))),
        ({"task": "retrieval.passage"}, unit(raw("ab", task=0))),
        ({"model": "tiny:retrieval.query"}, unit(raw("ab", task=0, prompt="Q: "))),
        ({"normalized": False}, raw("ab")),
        ({"dimensions": "2"}, unit(raw("ab")[:2])),
        ({"dimensions": 3, "normalized": False}, raw("ab")[:3]),
    ],
)
def test_fields_that_change_the_vector(server: Client, fields: Any, vector: Any) -> None:
    assert same(server.embed("ab", **{"model": "tiny", **fields}).vectors, [vector])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"task": "dancing"}, "task"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": DIMENSION + 1}, "dimensions"),
        ({"dimensions": "wide"}, "dimensions"),
        ({"dimensions": 1.5}, "dimensions"),
        ({"embedding_type": "int8"}, "embedding_type"),
        ({"embedding_type": "float", "encoding_type": "binary"}, "embedding_type"),
        ({"embedding_type": "binary", "dimensions": 7}, "dimensions"),
        ({"late_chunking": True}, "late_chunking"),
        ({"return_multivector": True}, "return_multivector"),
        ({"normalized": "yes"}, "normalized"),
        ({"model": "tiny:retrieval.query", "task": "text-matching"}, "task"),
    ],
)
def test_fields_that_cannot_be_done_are_refused(server: Client, fields: Any, field: str) -> None:
    reply = server.embed("ab", **{"model": "tiny", "task": "text-matching", **fields})
    assert reply.status == 422
    body = reply.json()
    assert field in body["detail"]
    assert [one["field"] for one in body["errors"]] == [field]


@pytest.mark.parametrize("name", ["embedding_type", "encoding_type", "encoding_format"])
def test_types_of_vectors(server: Client, name: str) -> None:
    expected = unit(raw("ab"))
    bits = np.packbits(expected > 0)
    several = {name: ["float", "base64", "binary", "ubinary"]}
    (forms,) = server.embed("ab", model="tiny", task=None, **several).vectors
    assert same(forms["float"], expected)
    assert same(np.frombuffer(base64.b64decode(forms["base64"]), "<f4"), expected)
    assert forms["ubinary"] == bits.tolist()
    assert forms["binary"] == [int(bit) - 128 for bit in bits]
    for one, form in forms.items():
        alone = server.embed("ab", model="tiny", task=None, **{name: one})
        assert alone.vectors == [form]


def test_too_long_is_refused_unless_truncation_is_asked_for(server: Client) -> None:
    long = "x" * 100
    reply = server.embed(["a", long], model="tiny", task="text-matching")
    assert reply.status == 422
    assert "input[1] has 103 tokens, and tiny takes 64" in reply.json()["detail"]
    cut = server.embed(["a", long], model="tiny", truncate=True)
    assert same(cut.vectors[1], unit(raw("x" * 61)))
    assert cut.headers["x-embedge-truncated"] == "1"
    assert cut.json()["usage"]["truncated"] == 1
    assert cut.json()["usage"]["prompt_tokens"] == 4 + 64


# ------------------------------------------------------------------ OpenAI's API


def test_base64_is_what_the_sdks_decode() -> None:
    from embedge.server.answers import base64_of

    assert base64_of(np.array([1, 2, 3], np.float32)) == "AACAPwAAAEAAAEBA"


@pytest.mark.parametrize("form", [None, "float", "base64"])
def test_the_official_sdk(server: Client, form: Any) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
    fields = {} if form is None else {"encoding_format": form}
    with client:
        answer = client.embeddings.create(model="tiny", input=["ab", "c"], **fields)
    found: list[Any] = [one.embedding for one in answer.data]
    if form == "base64":  # asked for by name, it is left as it came
        found = [np.frombuffer(base64.b64decode(str(one)), "<f4") for one in found]
    assert same(found, [unit(raw("ab")), unit(raw("c"))])
    assert answer.usage.prompt_tokens == 9


def test_the_official_sdk_reads_errors(server: Client) -> None:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
    with client:
        with pytest.raises(openai.NotFoundError, match="'gpt' is not served here"):
            client.embeddings.create(model="gpt", input="a")
        with pytest.raises(openai.BadRequestError, match=r"input\[1\] is an empty string"):
            client.embeddings.create(model="tiny", input=["a", ""])
        with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
            client.embeddings.create(model="tiny", input=[[1, 2], [3]])
        with pytest.raises(openai.BadRequestError, match="Please reduce your prompt"):
            client.embeddings.create(model="tiny", input="x" * 100)


def test_floats_unless_base64_is_asked_for(server: Client) -> None:
    assert isinstance(server.embed("a", model="tiny", user="u").vectors[0], list)


@pytest.mark.parametrize("given", [[], ["a", 7], ["a", ""], "", [1, 2], [[1, 2]]])
def test_inputs_that_openai_refuses(server: Client, given: Any) -> None:
    reply = server.embed(given, model="tiny", encoding_format="float")
    assert reply.status == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == "input"


def test_token_ids_where_the_owner_allows_them(tiny_folder: Any) -> None:
    ids = list(b"ab")
    with serving({"tiny": open_pack(tiny_folder)}, accept_token_ids=True) as (client, _):
        expected = unit(raw("ab", prompt=""))
        assert same(client.embed(ids, model="tiny").vectors, [expected])
        assert same(client.embed([ids, ids, [99]], model="tiny").vectors[:2], [expected] * 2)
        for bad in ([ids, []], [ids, [-1]], [ids, [10**9 * 5]], [[97] * 65]):
            reply = client.embed(bad, model="tiny")
            assert reply.status == 400, bad


# ------------------------------------------------------------------ both


def test_raw_float32(server: Client) -> None:
    reply = server.post(
        "/v1/embeddings", {"input": ["ab", "c"], "model": "tiny"}, accept="application/octet-stream"
    )
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["x-embedge-dimensions"] == str(DIMENSION)
    assert same(np.frombuffer(reply.body, "<f4").reshape(2, -1), [unit(raw("ab")), unit(raw("c"))])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"model":"tiny"}',
        b'{"input":null}',
        b'{"input":"\xff"}',
        b'{"input":"\\ud800"}',
        b'{"input":' + b"[" * 100_000,
        b'{"x":' + b"[" * 100_000,
        b'{"input":"a","model":7}',
        b'{"input":"a","dimensions":1e400}',
        b'{"input":"a","dimensions":123456789012345678901234567890}',
    ],
)
@pytest.mark.parametrize("openai_sdk", [False, True])
def test_errors_have_what_every_client_reads(server: Client, body: bytes, openai_sdk: bool) -> None:
    headers = {"user-agent": "OpenAI/Python 3"} if openai_sdk else {}
    reply = server.ask("POST", "/v1/embeddings", body, headers)
    assert reply.status in ((400,) if openai_sdk else (400, 422))
    found = reply.json()
    assert isinstance(found["detail"], str)
    assert found["error"]["message"] == found["detail"] == found["message"]
    assert found["request_id"] == reply.headers["x-request-id"]


def test_classify(server: Client) -> None:
    body = {"input": ["ab", {"text": "zz"}], "labels": ["ab", "zz"], "model": "tiny"}
    reply = server.post("/v1/classify", body)
    first, second = reply.json()["data"]
    assert first["prediction"] == "ab"
    assert second["prediction"] == "zz"
    for one in (first, second):
        assert one["object"] == "classification"
        assert sum(label["score"] for label in one["predictions"]) == pytest.approx(1)
        assert one["score"] == max(label["score"] for label in one["predictions"])
    grouped = server.post("/v1/classify", body | {"labels": {"g": ["ab", "zz"], "h": ["c"]}})
    assert grouped.json()["data"][0]["prediction"] == {"g": "ab", "h": "c"}
    bad: list[Any] = [[], {}, {"g": []}, None, ["x"] * 513]
    for labels in bad:
        assert server.post("/v1/classify", body | {"labels": labels}).status == 422


def test_models(server: Client) -> None:
    ids = [one["id"] for one in server.get("/v1/models").json()["data"]]
    assert "tiny" in ids
    assert "tests/tiny:retrieval.query" in ids
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any")
    with client:
        assert {one.id for one in client.models.list()} == set(ids)
        assert client.models.retrieve("tests/tiny").id == "tests/tiny"
    assert server.get("/v1/models/jinaai/tiny").json()["context_length"] == 64
    assert server.get("/v1/models/other").status in (400, 404)


# ------------------------------------------------------------------ the same bits as the library


def test_int8_vectors_have_the_librarys_bits_whatever_they_ran_with() -> None:
    """Many clients at once, texts of all lengths: each vector is what `encode` gives."""
    from concurrent.futures import ThreadPoolExecutor

    try:
        default_folder()
    except PackError:
        pytest.skip("there is no default pack; `make default` makes it")
    words = re.findall(r"\w+", "The train from Zürich leaves the café at seven, and is always late")
    texts = [" ".join(words[: 1 + n % len(words)] * (1 + n % 3)) for n in range(36)]
    with Embedder() as library:
        query = library.encode_query(texts)
        matching = library.encode(texts, truncate_dim=64)
    groups = [texts[start : start + 1 + start % 5] for start in range(30)]

    with serving({"mini": Embedder()}) as (client, _):

        def one(start: int) -> bool:
            group = groups[start]
            asked = {"task": "retrieval.query", "embedding_type": "base64"}
            queries = client.embed(group, **asked).vectors
            found = np.array([np.frombuffer(base64.b64decode(row), "<f4") for row in queries])
            floats = np.array(client.embed(group, dimensions=64).vectors, np.float32)
            until = start + len(group)
            return np.array_equal(found, query[start:until]) and np.array_equal(
                floats, matching[start:until]
            )

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(one, range(len(groups))))


def test_several_packs(tiny_folder: Any, tmp_path: Any) -> None:
    other = write_pack(tmp_path / "b", tasks=("separation",), model_id="jinaai/b-model")
    with serving({"a": open_pack(tiny_folder), "b": open_pack(other)}) as (client, _):
        reply = client.embed("x")
        assert reply.status == 422
        assert "model is missing" in reply.json()["detail"]
        passage = unit(raw("ab", task=0))
        for name in ("b", "b-model", "jina-ai/b-model", "jinaai/b-model", "jinaai/b"):
            assert same(client.embed("ab", model=name).vectors, [passage]), name
        assert same(client.embed("ab", model="b", task="clustering").vectors, [passage])
        assert same(client.post("/b/v1/embeddings", {"input": "ab"}).vectors, [passage])
        assert same(client.post("/v1/embeddings?model=b", {"input": "ab"}).vectors, [passage])
        query = unit(raw("ab", task=0, prompt="Q: "))
        for path in (
            "/a:retrieval.query/v1/embeddings",
            "/retrieval.query/v1/embeddings?model=a",
            "/v1/embeddings?model=a&task=retrieval.query",
            "/embeddings?model=a:retrieval.query",
        ):
            assert same(client.post(path, {"input": "ab"}).vectors, [query]), path
        assert client.post("/b/v1/embeddings", {"input": "ab", "model": "a"}).status == 422
        assert client.post("/a/v1/embeddings?model=b", {"input": "ab"}).status == 422
        assert client.post("/c/v1/embeddings", {"input": "ab"}).status == 404
        assert "image" in client.embed({"image": IMAGE_64}, model="b").json()["detail"]
        # A pack with no image tower takes a data URI for the text that it is.
        assert client.embed("data:image/png;base64,AAAA", model="b").status == 200
