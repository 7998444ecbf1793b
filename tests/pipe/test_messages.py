"""Lines as requests, and answers as lines."""

import base64
import json

import numpy as np
import pytest

from embedge.errors import TextError
from embedge.pipe.messages import Cancel, Embed, RequestError, error_line, read, vectors_line


def request(**fields: object) -> Embed:
    found = read(json.dumps({"id": 1, "texts": ["a"], **fields}).encode())
    assert isinstance(found, Embed)
    return found


def test_requests_keep_what_encode_takes() -> None:
    found = request(texts="one", task="clustering", truncate_dim=32, progress=True)
    assert (found.items, found.images, found.progress) == (["one"], False, True)
    assert found.options == {"task": "clustering", "truncate_dim": 32}
    assert read(b'{"cancel": "a"}') == Cancel("a")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON in UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "must be an object"),
        (b'{"texts": ["a"]}', "id must be"),
        (b'{"id": true, "texts": ["a"]}', "id must be"),
        (b'{"id": 1}', "either texts or images"),
        (b'{"id": 1, "texts": [], "images": []}', "either texts or images"),
        (b'{"id": 1, "texts": {"a": 1}}', "texts must be a list"),
        (b'{"id": 1, "texts": [], "tasks": "x"}', "'tasks' is not known"),
        (b'{"id": 1, "images": [], "prompt": "x"}', "'prompt' is not known"),
        (b'{"id": 1, "images": [], "side": "query"}', "for texts"),
        (b'{"id": 1, "texts": [], "side": "left"}', "side is"),
        (b'{"id": 1, "texts": [], "side": "query", "prompt_name": "x"}', "leave out prompt_name"),
        (b'{"id": 1, "texts": [], "embedding_type": "int8"}', "embedding_type is one of"),
        (b'{"id": 1, "texts": [], "encoding_format": "hex"}', "encoding_format is"),
        (b'{"id": 1, "texts": [], "progress": "yes"}', "progress must be true or false"),
        (b'{"cancel": 1, "id": 2}', "cancelling is"),
        (b'{"cancel": null}', "cancelling is"),
    ],
)
def test_what_is_no_request_is_named(line: bytes, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        read(line)
    assert caught.value.id == (1 if line.startswith(b'{"id": 1') else None)


def test_vectors_come_back_bit_for_bit() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    answer = json.loads(vectors_line(request(), rows, {1: "no text"}))
    assert answer["embeddings"][1] is None
    assert answer["errors"] == [{"index": 1, "message": "no text"}]
    assert np.array_equal(np.array(answer["embeddings"][2], np.float32), rows[2])
    answer = json.loads(vectors_line(request(encoding_format="base64"), rows, {}))
    assert "errors" not in answer
    for row, text in zip(rows, answer["embeddings"], strict=True):
        assert np.array_equal(np.frombuffer(base64.b64decode(text), "<f4"), row)


def test_errors_have_a_type_and_a_sentence() -> None:
    assert json.loads(error_line(TextError([(0, "is empty")]), "q"))["error"]["type"] == "TextError"
    unexpected = json.loads(error_line(KeyError(), None))
    assert unexpected == {"id": None, "error": {"type": "KeyError", "message": "KeyError"}}
    assert json.loads(error_line(RequestError("x"), 1))["error"]["type"] == "OptionError"
