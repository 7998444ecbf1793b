"""Clients of OpenAI's API, pointed at the server."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import openai
import pytest

from clients.served import KEY, MODEL, TEXTS
from embedge import Embedder

Same = Callable[[Any, Any], bool]


@pytest.fixture
def sdk(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)


@pytest.mark.parametrize("form", [None, "float", "base64"])
def test_openai(sdk: openai.OpenAI, library: Embedder, same: Same, form: Any) -> None:
    options = {} if form is None else {"encoding_format": form}  # the SDK asks for base64 itself
    answer = sdk.embeddings.create(model=MODEL, input=TEXTS, **options)
    rows = [one.embedding for one in answer.data]
    if form == "base64":
        import base64

        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]  # type: ignore
    assert same(rows, library.encode(TEXTS))
    assert answer.model == MODEL
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > len(TEXTS)


def test_openai_async(url: str, library: Embedder, same: Same) -> None:
    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY) as sdk:
            calls = [sdk.embeddings.create(model=MODEL, input=[text]) for text in TEXTS * 20]
            return [answer.data[0].embedding for answer in await asyncio.gather(*calls)]

    assert same(asyncio.run(ask()), np.tile(library.encode(TEXTS), (20, 1)))


def test_openai_names_the_task(sdk: openai.OpenAI, library: Embedder, same: Same) -> None:
    by_name = sdk.embeddings.create(model=f"{MODEL}:retrieval.query", input=TEXTS)
    assert same([one.embedding for one in by_name.data], library.encode_query(TEXTS))
    extra = sdk.embeddings.create(
        model=MODEL, input=TEXTS, dimensions=64, extra_body={"task": "retrieval.passage"}
    )
    expected = library.encode_document(TEXTS, truncate_dim=64)
    assert same([one.embedding for one in extra.data], expected)


def test_openai_errors(url: str, sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"input\[1\] is an empty string"):
        sdk.embeddings.create(model=MODEL, input=["a", ""])
    with pytest.raises(openai.NotFoundError, match="not served here"):
        sdk.embeddings.create(model="text-embedding-3-small", input="a")
    with pytest.raises(openai.AuthenticationError, match="API key"):
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong").embeddings.create(
            model=MODEL, input="a"
        )


def test_openai_lists_models(sdk: openai.OpenAI) -> None:
    names = [model.id for model in sdk.models.list()]
    assert {MODEL, f"{MODEL}:retrieval.query"} <= set(names)
    assert sdk.models.retrieve(MODEL).id == MODEL


def test_langchain(url: str, library: Embedder, same: Same) -> None:
    from langchain_openai import OpenAIEmbeddings

    embeddings = OpenAIEmbeddings(
        model=MODEL, base_url=f"{url}/v1", api_key=KEY, check_embedding_ctx_length=False
    )
    assert same(embeddings.embed_documents(TEXTS), library.encode(TEXTS))
    assert same(embeddings.embed_query(TEXTS[0]), library.encode(TEXTS[0]))
    assert same(asyncio.run(embeddings.aembed_documents(TEXTS)), library.encode(TEXTS))


def test_llama_index(url: str, library: Embedder, same: Same) -> None:
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    model = OpenAILikeEmbedding(model_name=MODEL, api_base=f"{url}/v1", api_key=KEY)
    assert same(model.get_text_embedding_batch(TEXTS), library.encode(TEXTS))
    assert same(model.get_query_embedding(TEXTS[0]), library.encode(TEXTS[0]))


def test_haystack(url: str, library: Embedder, same: Same) -> None:
    from haystack import Document
    from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
    from haystack.utils import Secret

    options = {"api_key": Secret.from_token(KEY), "api_base_url": f"{url}/v1"}
    query = OpenAITextEmbedder(model=f"{MODEL}:retrieval.query", **options)
    assert same(query.run(TEXTS[0])["embedding"], library.encode_query(TEXTS[0]))
    passages = OpenAIDocumentEmbedder(model=f"{MODEL}:retrieval.passage", **options)
    found = passages.run([Document(content=text) for text in TEXTS])["documents"]
    assert same([one.embedding for one in found], library.encode_document(TEXTS))


def test_chroma(url: str, library: Embedder, same: Same, monkeypatch: pytest.MonkeyPatch) -> None:
    from chromadb.utils.embedding_functions import OpenAIEmbeddingFunction

    monkeypatch.setenv("CHROMA_OPENAI_API_KEY", KEY)
    function = OpenAIEmbeddingFunction(model_name=MODEL, api_base=f"{url}/v1")
    many = [f"{text} {number}" for number in range(1000) for text in TEXTS]  # in one request
    assert same(function(many), library.encode(many))


def test_litellm(url: str, library: Embedder, same: Same) -> None:
    import litellm

    answer = litellm.embedding(
        model=f"openai/{MODEL}", input=TEXTS, api_base=f"{url}/v1", api_key=KEY
    )
    assert same([one["embedding"] for one in answer.data], library.encode(TEXTS))
    answer = litellm.embedding(
        model=f"jina_ai/{MODEL}", input=TEXTS, api_base=f"{url}/v1", api_key=KEY, dimensions=64
    )
    assert same([one["embedding"] for one in answer.data], library.encode(TEXTS, truncate_dim=64))
