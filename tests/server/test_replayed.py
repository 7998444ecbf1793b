"""Request bodies of real programs, replayed: the bytes that each of them puts on the wire.

The packs are tiny, and as wide as the models whose names they have, so that a body that names a
width can be sent as it is. A remote image stands in the bodies as a data URI.
"""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embedge import Embedder
from support import tiny
from support.serving import Client, Reply, open_pack, serving

# One library answers for encode's default task and for encode_query's, each compared on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::embedge.TaskWarning")

TEXT, CLIP = "jina-embeddings-v5-text-small", "jina-clip-v2"
WIDTH = 1024
MORE = WIDTH - tiny.DIMENSION
TASKS = ("retrieval", "text-matching", "clustering", "classification")


def write_wide_pack(folder: Path, **options: Any) -> Path:
    """A tiny pack of 1,024 dimensions, all but the first few of them zero."""
    with pytest.MonkeyPatch.context() as patch:
        narrow = tiny.write_image_graph

        def widen(folder: Path, name: str, *, constant: Any) -> None:
            narrow(folder, name, constant=[*constant, *[0.0] * (MORE)])

        patch.setattr(tiny, "write_image_graph", widen)
        constants = (-1, 0.5, -0.5, 0, 1, *[0.0] * (MORE))
        patch.setattr(tiny, "DIMENSION", WIDTH)
        return tiny.write_pack(
            folder, constants=constants, matryoshka_dimensions=(64, 768, WIDTH), **options
        )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("wide")
    text, clip = f"jinaai/{TEXT}", f"jinaai/{CLIP}"
    return {
        "text": write_wide_pack(place / "text", tasks=TASKS, model_id=text, default_task=TASKS[1]),
        "clip": write_wide_pack(
            place / "clip",
            tasks=("retrieval",),
            model_id=clip,
            prompts={"query": "Q: "},
            default_prompt=None,
            image=tiny.IMAGE,
        ),
    }


@pytest.fixture(scope="module")
def wide(folders: dict[str, Path]) -> Iterator[Client]:
    packs = {name: open_pack(folder) for name, folder in folders.items()}
    with serving(packs) as (client, _):
        yield client


@pytest.fixture(scope="module")
def text(folders: dict[str, Path]) -> Iterator[Embedder]:
    with open_pack(folders["text"]) as embedder:
        yield embedder


@pytest.fixture(scope="module")
def clip(folders: dict[str, Path]) -> Iterator[Embedder]:
    with open_pack(folders["clip"]) as embedder:
        yield embedder


def png(color: tuple[int, int, int] = (255, 51, 0)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(stream, "PNG")
    return stream.getvalue()


PNG_64 = base64.b64encode(png()).decode()
PNG_URI = f"data:image/png;base64,{PNG_64}"


def send(client: Client, body: str | bytes, path: str = "/v1/embeddings") -> Reply:
    raw = body.encode() if isinstance(body, str) else body
    reply = client.ask("POST", path, raw, {"Content-Type": "application/json"})
    assert reply.status == 200, reply.body
    return reply


def same(reply: Reply, expected: np.ndarray[Any, Any]) -> bool:
    """Whether the answer's lists of numbers, or base64, are the library's bits."""
    rows = [
        np.frombuffer(base64.b64decode(row), "<f4") if isinstance(row, str) else row
        for row in reply.vectors
    ]
    return np.array(rows, np.float32).tobytes() == np.asarray(expected, np.float32).tobytes()


# ------------------------------------------------------------------ what Jina publishes


def test_the_request_of_the_v5_release(wide: Client, text: Embedder) -> None:
    body = """{
    "model": "jina-embeddings-v5-text-small",
    "task": "retrieval.query",
    "dimensions": 1024,
    "input": ["What is knowledge distillation?"]
  }"""
    expected = text.encode_query(["What is knowledge distillation?"])
    assert same(send(wide, body), expected)


def test_the_request_of_the_model_card_with_several_texts(wide: Client, text: Embedder) -> None:
    body = """{
    "model": "jina-embeddings-v5-text-small",
    "task": "text-matching",
    "dimensions": 1024,
    "normalized": true,
    "embedding_type": "float",
    "input": [
      {"text": "A beautiful sunset over the beach"},
      {"text": "غروب جميل على الشاطئ"},
      {"text": "海滩上美丽的日落"}
    ]
  }"""
    texts = [one["text"] for one in json.loads(body)["input"]]
    assert same(send(wide, body), text.encode(texts, task="text-matching"))


def test_images_to_a_text_model_are_refused_with_a_detail(wide: Client) -> None:
    body = {"model": TEXT, "input": [{"image": PNG_64}]}
    reply = wide.post("/v1/embeddings", body)
    assert reply.status == 422
    assert "embeds texts only" in reply.json()["detail"]


def test_the_request_of_the_clip_announcement(wide: Client, clip: Embedder) -> None:
    body = """{
  "model": "jina-clip-v2",
  "dimensions": "768",
  "normalized": true,
  "encoding_type": "float",
  "input": [
    {"text": "A beautiful sunset over the beach"},
    {"text": "Un beau coucher de soleil sur la plage"},
    {"url": "A DATA URI"},
    {"bytes": "BASE64"}
  ]
}"""
    body = body.replace("A DATA URI", PNG_URI).replace("BASE64", PNG_64)
    texts = ["A beautiful sunset over the beach", "Un beau coucher de soleil sur la plage"]
    reply = send(wide, body)
    expected = [
        *clip.encode(texts, truncate_dim=768),
        *clip.encode_image([png(), png()], truncate_dim=768),
    ]
    assert same(reply, np.stack(expected))
    assert reply.json()["usage"]["image_tokens"] == 8000  # 4,000 each


def test_the_request_of_the_api_page(wide: Client, clip: Embedder) -> None:
    body = {
        "model": "jina-clip-v2",
        "dimensions": 1024,
        "task": "retrieval.query",
        "normalized": True,
        "embedding_type": "float",
        "input": [{"text": "浜辺に沈む美しい夕日"}, {"image": PNG_64}],
    }
    expected = [
        clip.encode_query("浜辺に沈む美しい夕日"),
        clip.encode_image(png()),
    ]
    assert same(send(wide, json.dumps(body)), np.stack(expected))


# ------------------------------------------------------------------ Elasticsearch


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("retrieval.passage", {"document": True}),
        ("retrieval.query", {"query": True}),
        ("classification", {"task": "classification"}),
        ("clustering", {"task": "clustering"}),
        ("", {}),  # a template without a default
    ],
)
def test_elasticsearch_custom(
    wide: Client, text: Embedder, task: str, options: dict[str, Any]
) -> None:
    body = f'{{"model":"{TEXT}","input":["one","two"],"task":"{task}"}}'
    texts = ["one", "two"]
    if options.pop("query", False):
        expected = text.encode_query(texts)
    elif options.pop("document", False):
        expected = text.encode_document(texts)
    else:
        expected = text.encode(texts, **options)
    assert same(send(wide, body), expected)


@pytest.mark.parametrize("extra", ["", ',"encoding_format":"base64"', ',"dimensions":64'])
def test_elasticsearch_openai(wide: Client, text: Embedder, extra: str) -> None:
    body = f'{{"input":["one","two"],"model":"{TEXT}:retrieval.query","user":"me"{extra}}}'
    width = 64 if "dimensions" in extra else None
    reply = send(wide, body)
    assert same(reply, text.encode_query(["one", "two"], truncate_dim=width))
    assert all(isinstance(row, str) for row in reply.vectors) == ("base64" in extra)


def test_elasticsearch_openai_cuts_texts_by_itself(wide: Client) -> None:
    body = {"input": ["x" * 500], "model": TEXT, "encoding_format": "base64"}
    reply = wide.post("/v1/embeddings", body)
    assert reply.status == 400
    message = reply.json()["error"]["message"]
    assert "Please reduce your prompt; or completion length." in message


@pytest.mark.parametrize("path", ["/text/embed", "/text:retrieval.query/embed"])
def test_elasticsearch_hugging_face(wide: Client, text: Embedder, path: str) -> None:
    reply = send(wide, '{"inputs":["one","two"]}', path)
    texts = ["one", "two"]
    expected = text.encode_query(texts) if "query" in path else text.encode(texts)
    assert np.array(reply.json(), np.float32).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("fields", "task"),
    [
        ({"task": "retrieval.passage"}, "retrieval.passage"),
        ({"task": "separation"}, "clustering"),
        ({"task": "classification", "late_chunking": False}, "classification"),
        ({"dimensions": 64}, None),
    ],
)
def test_elasticsearch_jinaai(
    wide: Client, text: Embedder, fields: dict[str, Any], task: str | None
) -> None:
    body = {"input": ["one", "two"], "model": TEXT, "embedding_type": "float", **fields}
    expected = text.encode(["one", "two"], task=task, truncate_dim=fields.get("dimensions"))
    assert same(send(wide, json.dumps(body)), expected)


def test_elasticsearch_jinaai_multimodal(wide: Client, clip: Embedder) -> None:
    body = {
        "input": [{"text": "one"}, {"image": PNG_64}],
        "model": CLIP,
        "embedding_type": "float",
    }
    expected = np.stack([clip.encode("one"), clip.encode_image(png())])
    assert same(send(wide, json.dumps(body)), expected)


@pytest.mark.parametrize("kind", ["binary", "bit"])
def test_elasticsearch_jinaai_bits(wide: Client, text: Embedder, kind: str) -> None:
    body = {"input": ["one"], "model": TEXT, "embedding_type": kind, "task": "classification"}
    (row,) = send(wide, json.dumps(body)).vectors
    expected = text.encode("one", task="classification", embedding_type="binary")
    assert row == expected.tolist()


# ------------------------------------------------------------------ other engines, applications


def test_opensearch(wide: Client, text: Embedder) -> None:
    body = f'{{ "input": ["one","two"], "model": "{TEXT}", "task": "retrieval.passage" }}'
    assert same(send(wide, body), text.encode_document(["one", "two"]))


@pytest.mark.parametrize("task", [None, "retrieval.passage", "retrieval.query"])
def test_pymilvus_model(wide: Client, text: Embedder, task: str | None) -> None:
    body = {"input": ["one"], "model": TEXT, "task": task, "late_chunking": False}
    assert same(send(wide, json.dumps(body)), text.encode(["one"], task=task))


def test_pymilvus_model_probes_the_width_with_an_empty_text(wide: Client) -> None:
    body = {"input": [""], "model": TEXT, "task": None, "late_chunking": False}
    (row,) = send(wide, json.dumps(body)).vectors
    assert len(row) == WIDTH


def test_pymilvus_model_tei_names_no_model(folders: dict[str, Path], text: Embedder) -> None:
    with serving({"text": open_pack(folders["text"])}) as (client, _):
        assert same(send(client, '{"input": ["one"]}'), text.encode(["one"]))
        reply = client.post("/v1/embeddings", {"input": ["x" * 500]})
        assert isinstance(reply.json()["message"], str)


def test_milvus_function_tei(wide: Client, text: Embedder) -> None:
    body = '{"inputs":["one","two"],"truncate":true,"truncation_direction":"Right"}'
    reply = send(wide, body, "/text/embed")
    expected = text.encode(["one", "two"])
    assert np.array(reply.json(), np.float32).tobytes() == expected.tobytes()


def test_weaviate_text2vec_jinaai(wide: Client, text: Embedder, clip: Embedder) -> None:
    body = {"input": ["one"], "model": TEXT, "embedding_type": "float", "normalized": True}
    reply = send(wide, json.dumps(body))
    assert same(reply, text.encode(["one"]))
    assert reply.json()["data"][0]["index"] == 0
    body = {"input": [{"text": "one"}, {"image": PNG_64}], "model": CLIP, "embedding_type": "float"}
    body |= {"normalized": True, "task": "retrieval.passage"}
    expected = np.stack([clip.encode("one"), clip.encode_image(png())])
    assert same(send(wide, json.dumps(body)), expected)


def test_weaviate_text2vec_openai_reads_float_lists(wide: Client, text: Embedder) -> None:
    reply = send(wide, json.dumps({"input": ["one"], "model": TEXT}))
    assert isinstance(reply.vectors[0], list)
    assert same(reply, text.encode(["one"]))


def test_weaviate_text2vec_transformers(wide: Client, text: Embedder) -> None:
    body = {
        "text": "one",
        "dims": 0,
        "vector": None,
        "error": "",
        "config": {"pooling_strategy": "masked_mean", "task_type": "query", "dimensions": None},
    }
    reply = wide.ask("POST", "/text/vectors", json.dumps(body).encode())
    assert reply.status == 200
    found = np.array(reply.json()["vector"], np.float32)
    assert found.tobytes() == text.encode_query("one").tobytes()


@pytest.mark.parametrize(
    ("fields", "is_query"),
    [({}, None), ({"task": "retrieval.query"}, True), ({"task": "retrieval.passage"}, False)],
)
def test_open_webui(
    wide: Client, text: Embedder, fields: dict[str, str], is_query: bool | None
) -> None:
    body = {"input": ["one", "two"], "model": TEXT, **fields}
    encode = {None: text.encode, True: text.encode_query, False: text.encode_document}[is_query]
    assert same(send(wide, json.dumps(body)), encode(["one", "two"]))


def test_dify_jina(wide: Client, text: Embedder, clip: Embedder) -> None:
    reply = send(wide, json.dumps({"model": TEXT, "input": [{"text": "ping"}]}))
    assert same(reply, text.encode(["ping"]))
    assert reply.json()["usage"]["total_tokens"] == len("D: ping")
    body = {"model": CLIP, "input": [{"image": PNG_64}], "task": "retrieval.passage"}
    assert same(send(wide, json.dumps(body)), clip.encode_image([png()]))


def test_dify_openai_compatible(wide: Client, text: Embedder) -> None:
    body = {"input": ["one"], "model": TEXT, "encoding_format": "float"}
    reply = send(wide, json.dumps(body))
    assert same(reply, text.encode(["one"]))
    assert reply.json()["model"] == TEXT


def test_vespa_wants_base64_and_dimensions(wide: Client, text: Embedder) -> None:
    body = {"input": "one", "model": TEXT, "dimensions": WIDTH, "encoding_format": "base64"}
    reply = send(wide, json.dumps(body))
    assert isinstance(reply.vectors[0], str)
    assert same(reply, text.encode(["one"]))


def test_haystack_sends_images_as_plain_strings(wide: Client, clip: Embedder) -> None:
    assert same(
        send(wide, json.dumps({"input": [PNG_URI], "model": CLIP})), clip.encode_image([png()])
    )


def test_continue_reads_info_then_embeds(wide: Client) -> None:
    found = wide.get("/text/info").json()
    assert found["model_id"] == f"jinaai/{TEXT}"
    assert found["max_client_batch_size"] >= 1
    reply = wide.post("/text/embed", {"inputs": [""]})
    assert reply.json()["error_type"] == "Empty"


def test_n8n_finds_a_model_whose_name_holds_embed(wide: Client) -> None:
    names = [one["id"] for one in wide.get("/v1/models").json()["data"]]
    assert any("embed" in name for name in names)


def test_a_jina_client_reads_a_detail_from_every_error(wide: Client) -> None:
    for body in (b"{", b"[]", b'{"input": 1}', b'{"input": "a", "model": "nix"}', b'{"input": []}'):
        reply = wide.post("/v1/embeddings", body)
        assert reply.status >= 400
        assert isinstance(reply.json()["detail"], str)
