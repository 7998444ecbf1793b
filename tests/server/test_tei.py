"""Text Embeddings Inference's routes over a socket."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embedge import Embedder, __version__
from embedge.texts.tokens import TruncationWarning
from support.serving import Client, Reply, open_pack, serving
from support.tiny import DIMENSION, EOS, write_pack

# One library answers for encode's default task and for encode_query's, each compared on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::embedge.TaskWarning")

LIMIT = 64  # tokens, as tiny packs have it


@pytest.fixture(scope="module")
def library(tiny_folder: Path) -> Iterator[Embedder]:
    with open_pack(tiny_folder) as embedder:
        yield embedder


def embed(client: Client, inputs: Any, path: str = "/embed", **fields: Any) -> Reply:
    return client.post(path, {"inputs": inputs, **fields})


def vectors(reply: Reply) -> np.ndarray[Any, Any]:
    assert reply.status == 200, reply.body
    return np.array(reply.json(), np.float32)


def same(found: np.ndarray[Any, Any], expected: Any) -> bool:
    return bool(found.shape == expected.shape and found.tobytes() == expected.tobytes())


# ------------------------------------------------------------------ /embed


@pytest.mark.parametrize("path", ["/embed", "/", "/invocations"])
@pytest.mark.parametrize("inputs", ["ab", ["ab"], ["a", "bc", "äß"]])
def test_vectors_are_nested_and_the_librarys_bits(
    server: Client, library: Embedder, path: str, inputs: Any
) -> None:
    texts = [inputs] if isinstance(inputs, str) else inputs
    assert same(vectors(embed(server, inputs, path)), library.encode(texts))


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"normalize": False}, {"normalize": False}),
        ({"normalize": None}, {}),
        ({"normalize": False, "dimensions": 3}, {"normalize": False, "truncate_dim": 3}),
        ({"dimensions": 3}, {"truncate_dim": 3}),
        ({"dimensions": None}, {}),
        ({"dimensions": DIMENSION}, {}),
        ({"prompt_name": "query"}, {"prompt_name": "query"}),
        ({"prompt_name": "retrieval"}, {"task": "retrieval"}),
        ({"task": "retrieval"}, {"task": "retrieval"}),
        ({"truncate": True, "truncation_direction": "Right"}, {}),
        ({"truncate": False, "truncation_direction": "Left"}, {}),
        ({"parameters": {"unknown": 1}}, {}),
    ],
)
def test_fields(server: Client, library: Embedder, fields: Any, options: Any) -> None:
    assert same(
        vectors(embed(server, ["ab", "c"], **fields)), library.encode(["ab", "c"], **options)
    )


def test_a_prompt_name_that_is_a_task_means_the_task(server: Client, library: Embedder) -> None:
    found = vectors(embed(server, "ab", prompt_name="retrieval.query"))
    assert same(found, library.encode_query(["ab"]))


@pytest.mark.parametrize(
    "path", ["/retrieval.query/embed", "/retrieval.query/", "/embed?task=retrieval.query"]
)
def test_the_task_in_the_address(server: Client, library: Embedder, path: str) -> None:
    assert same(vectors(embed(server, ["ab"], path)), library.encode_query(["ab"]))


def test_long_texts_are_cut_unless_the_client_says_otherwise(
    server: Client, library: Embedder
) -> None:
    long = "x" * LIMIT
    reply = embed(server, ["a", long])
    with pytest.warns(TruncationWarning):
        assert same(vectors(reply), library.encode(["a", long]))
    assert reply.headers["x-embedge-truncated"] == "1"
    reply = embed(server, ["a", long], truncate=False)
    assert (reply.status, reply.json()["error_type"]) == (422, "Validation")
    assert reply.json()["error"] == (
        f"Input validation error: `inputs` must have less than {LIMIT} tokens. "
        f"Given: {LIMIT + 3} (inputs[1])"
    )


def test_headers_say_what_was_computed(server: Client) -> None:
    headers = embed(server, ["ab", "c"]).headers
    assert headers["x-compute-type"] == "cpu"
    assert headers["x-compute-characters"] == "3"
    assert headers["x-compute-tokens"] == "9"  # "D: " before each
    for name in ("compute", "total", "tokenization", "queue", "inference"):
        assert headers[f"x-{name}-time"].isdecimal()


def test_vectors_as_bytes(server: Client, library: Embedder) -> None:
    reply = server.ask(
        "POST", "/embed", {"inputs": ["ab", "c"]}, {"Accept": "application/octet-stream"}
    )
    assert reply.body == library.encode(["ab", "c"]).astype("<f4").tobytes()


def test_an_image_is_a_data_uri(server: Client, library: Embedder) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 51, 0)).save(stream, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    found = vectors(embed(server, [uri, "ab"]))
    assert same(found[:1], library.encode_image([stream.getvalue()]))
    assert same(found[1:], library.encode(["ab"]))


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("body", "status", "kind", "says"),
    [
        ({"inputs": ""}, 400, "Empty", "`inputs` cannot be empty"),
        ({"inputs": []}, 400, "Empty", "`inputs` cannot be empty"),
        ({"inputs": ["a", ""]}, 400, "Empty", "inputs[1]"),
        ({"inputs": ["a", 1]}, 422, "Validation", "inputs[1]"),
        ({"inputs": [1, 2]}, 422, "Validation", "--accept-token-ids"),
        ({"inputs": ["a", [1]]}, 422, "Validation", "--accept-token-ids"),
        ({"inputs": {"text": "a"}}, 422, "Validation", "inputs"),
        ({"inputs": None}, 422, "Validation", "inputs"),
        ({"input": "a"}, 422, "Validation", "inputs"),
        ({"inputs": "a", "dimensions": 0}, 422, "Validation", "dimensions is 0"),
        ({"inputs": "a", "dimensions": 9}, 422, "Validation", "1 to 8"),
        ({"inputs": "a", "dimensions": "3"}, 422, "Validation", "dimensions"),
        ({"inputs": "a", "prompt_name": "nix"}, 422, "Validation", "'nix'"),
        ({"inputs": "a", "task": "nix"}, 422, "Validation", "'nix'"),
        ({"inputs": "a", "model": "nix"}, 404, "Validation", "'nix'"),
        ({"inputs": "a", "truncation_direction": "left"}, 422, "Validation", "right end"),
        ({"inputs": "a", "truncation_direction": "up"}, 422, "Validation", "'up'"),
        (
            {"inputs": "a", "task": "retrieval", "prompt_name": "text-matching"},
            422,
            "Validation",
            "",
        ),
        ({"inputs": ["a"] * 8193}, 422, "Validation", "batch size 8193 > maximum allowed batch"),
        (b"{", 400, "Validation", "not JSON"),
        (b"[]", 422, "Validation", "object"),
    ],
)
def test_errors(server: Client, body: Any, status: int, kind: str, says: str) -> None:
    reply = server.post("/embed", body)
    assert (reply.status, reply.json()["error_type"]) == (status, kind), reply.body
    assert reply.headers["content-type"] == "application/json"
    assert says in reply.json()["error"]


@pytest.mark.parametrize("path", ["/embed_all", "/embed_sparse", "/predict", "/rerank"])
def test_what_embedding_models_do_not_do_is_a_424(server: Client, path: str) -> None:
    reply = embed(server, "a", path)
    assert (reply.status, reply.json()["error_type"]) == (424, "Backend")


def test_a_key_is_needed_and_the_error_is_json(tiny_folder: Path) -> None:
    with serving({"tiny": open_pack(tiny_folder)}, keys=("secret-key",)) as (client, _):
        reply = embed(client, "a")
        assert (reply.status, reply.json()["error_type"]) == (401, "Unauthorized")
        assert client.get("/info").status == 401
        assert client.get("/ping").status == 200
        good = client.ask("POST", "/embed", {"inputs": "a"}, {"Authorization": "Bearer secret-key"})
        assert good.status == 200


def test_too_large_a_body_is_a_413_in_the_same_form(tiny_folder: Path) -> None:
    with serving({"tiny": open_pack(tiny_folder)}, body_bytes=1000) as (client, _):
        reply = embed(client, "a" * 1000)
        assert (reply.status, reply.json()["error_type"]) == (413, "Validation")


def test_several_packs_are_told_apart_by_the_address(tiny_folder: Path, library: Embedder) -> None:
    packs = {"one": open_pack(tiny_folder), "two": open_pack(tiny_folder)}
    with serving(packs) as (client, _):
        reply = embed(client, "a")
        assert reply.status == 422
        assert "one, two" in reply.json()["error"]
        for path in ("/two/embed", "/embed?model=two", "/two:text-matching/embed"):
            assert same(vectors(embed(client, "a", path)), library.encode(["a"]))
        assert client.get("/two/info").json()["served_model_name"] == "two"


# ------------------------------------------------------------------ token ids


def test_token_ids_run_as_they_are_where_the_owner_allows_them(
    tiny_folder: Path, library: Embedder
) -> None:
    with serving({"tiny": open_pack(tiny_folder)}, accept_token_ids=True) as (client, _):
        expected = library.encode(["ab", "c"], prompt="")
        assert same(vectors(embed(client, [97, 98])), expected[:1])  # one text
        assert same(vectors(embed(client, [[97, 98], [99]])), expected)
        assert same(
            vectors(embed(client, ["ab", [99]], prompt_name="text-matching")),
            np.vstack([library.encode(["ab"]), expected[1:]]),
        )
        lists: list[Any] = [[[]], [[-1]], [[97] * (LIMIT + 1)]]
        for bad in lists:
            assert embed(client, bad).status in (400, 422)


def test_tokenize_shows_what_embed_would_run(server: Client) -> None:
    reply = server.post("/tokenize", {"inputs": "aä"})
    assert [one["id"] for one in reply.json()[0]] == [68, 58, 32, 97, 195, 164]
    assert reply.json()[0][3] == {"id": 97, "text": "a", "special": False, "start": 3, "stop": 4}
    reply = server.post("/tokenize", {"inputs": ["a", "bc"], "prompt_name": "query"})
    assert ["".join(one["text"] for one in row) for row in reply.json()] == ["Q: a", "Q: bc"]


def test_special_tokens_have_no_place(tmp_path: Path) -> None:
    folder = write_pack(tmp_path / "eos", eos=True)
    with serving({"eos": open_pack(folder)}) as (client, _):
        row = client.post("/tokenize", {"inputs": "a"}).json()[0]
        end = {"id": EOS, "text": "<eos>", "special": True, "start": None, "stop": None}
        assert row[-1] == end
        body = {"inputs": "a", "add_special_tokens": False}
        assert client.post("/tokenize", body).json()[0] == row[:-1]
        assert client.post("/decode", {"ids": [97, EOS]}).json() == ["a"]
        body = {"ids": [[97, EOS], [98]], "skip_special_tokens": False}
        assert client.post("/decode", body).json() == ["a <eos>", "b"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/tokenize", {"inputs": ""}, 400),
        ("/tokenize", {"inputs": []}, 400),
        ("/tokenize", {"inputs": [1]}, 422),
        ("/tokenize", {"inputs": "x" * 300_000}, 422),
        ("/tokenize", {"inputs": ["x" * 200_000] * 6}, 422),
        ("/decode", {"ids": []}, 400),
        ("/decode", {"ids": [-1]}, 422),
        ("/decode", {"ids": [2**40]}, 422),
        ("/decode", {"ids": [[97], 98]}, 422),
        ("/decode", {"ids": "ab"}, 422),
    ],
)
def test_tokens_that_cannot_be_had(server: Client, path: str, body: Any, status: int) -> None:
    reply = server.post(path, body)
    assert (reply.status, bool(reply.json()["error"])) == (status, True)


# ------------------------------------------------------------------ the other routes


@pytest.mark.parametrize("path", ["/similarity", "/"])
def test_similarity(server: Client, library: Embedder, path: str) -> None:
    body: dict[str, Any] = {"inputs": {"source_sentence": "ab", "sentences": ["c", "ab"]}}
    vectors = library.encode(["ab", "c", "ab"])
    found = server.post(path, body).json()
    np.testing.assert_allclose(found, library.similarity(vectors[:1], vectors[1:])[0], rtol=1e-6)
    body["parameters"] = {"prompt_name": "query", "truncate": True}
    vectors = library.encode(["ab", "c", "ab"], prompt_name="query")
    found = server.post(path, body).json()
    np.testing.assert_allclose(found, library.similarity(vectors[:1], vectors[1:])[0], rtol=1e-6)


def test_similarity_to_nothing_is_empty(server: Client) -> None:
    body = {"inputs": {"source_sentence": "ab", "sentences": []}}
    assert server.post("/similarity", body).status == 400


def test_vertex_holds_bodies_of_embed(server: Client, library: Embedder) -> None:
    instances = [{"inputs": "ab", "dimensions": 3}, {"inputs": ["a", "c"], "normalize": False}]
    found = server.post("/vertex", {"instances": instances}).json()["predictions"]
    assert same(np.array(found[0], np.float32), library.encode(["ab"], truncate_dim=3))
    assert same(np.array(found[1], np.float32), library.encode(["a", "c"], normalize=False))


@pytest.mark.parametrize(
    "bad", [{"inputs": ""}, {"inputs": ["a", "x" * LIMIT], "truncate": False}, {"dimensions": 1}]
)
def test_vertex_says_which_instance_is_bad(server: Client, bad: Any) -> None:
    reply = server.post("/vertex", {"instances": [{"inputs": "a"}, bad]})
    assert reply.status in (400, 422)
    assert "instances[1]" in reply.json()["error"]


def test_info(server: Client, library: Embedder) -> None:
    found = server.get("/info").json()
    assert found["model_id"] == library.manifest.model_id
    assert found["model_dtype"] == "float32"
    assert found["served_model_name"] == "tiny"
    assert found["model_type"] == {"embedding": {"pooling": library.manifest.pooling}}
    assert found["max_input_length"] == LIMIT
    assert found["max_client_batch_size"] == 8192
    assert found["auto_truncate"] is True
    assert found["version"] == __version__


@pytest.mark.parametrize("path", ["/ping", "/"])
def test_a_probe_is_answered_with_nothing(server: Client, path: str) -> None:
    reply = server.get(path)
    assert (reply.status, reply.body) == (200, b"")
