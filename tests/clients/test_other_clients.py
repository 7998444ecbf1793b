"""Clients of Jina's API and of Text Embeddings Inference, pointed at the server."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from clients.served import KEY, MODEL, TEXTS
from embedge import Embedder

Same = Callable[[Any, Any], bool]


def test_haystack_jina(url: str, library: Embedder, same: Same) -> None:
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.embedders.jina import (
        JinaDocumentEmbedder,
        JinaTextEmbedder,
    )

    options: dict[str, Any] = {
        "api_key": Secret.from_token(KEY),
        "model": MODEL,
        "base_url": f"{url}/v1/embeddings",
    }
    query = JinaTextEmbedder(task="retrieval.query", **options)
    assert same(query.run(TEXTS[0])["embedding"], library.encode_query(TEXTS[0]))
    passages = JinaDocumentEmbedder(task="retrieval.passage", dimensions=64, **options)
    found = passages.run([Document(content=text) for text in TEXTS])["documents"]
    expected = library.encode_document(TEXTS, truncate_dim=64)
    assert same([one.embedding for one in found], expected)


def test_haystack_jina_says_what_is_wrong(url: str) -> None:
    from haystack.utils import Secret
    from haystack_integrations.components.embedders.jina import JinaTextEmbedder

    wrong = JinaTextEmbedder(
        api_key=Secret.from_token(KEY), model="nix", base_url=f"{url}/v1/embeddings"
    )
    with pytest.raises(RuntimeError, match="not served here"):
        wrong.run("a")


def test_llama_index_jina(url: str, library: Embedder, same: Same) -> None:
    from llama_index.embeddings.jinaai import JinaEmbedding

    expected = library.encode_document(TEXTS)
    for form in ("float", "binary", "ubinary"):
        model = JinaEmbedding(
            api_key=KEY, model=MODEL, task="retrieval.passage", encoding_documents=form
        )
        model._api.api_url = f"{url}/v1/embeddings"  # there is no argument for it
        found = model.get_text_embedding_batch(TEXTS)
        assert same(found, expected if form == "float" else expected > 0)


def test_llama_index_tei(url: str, library: Embedder, same: Same) -> None:
    from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

    passages = TextEmbeddingsInference(
        model_name=MODEL, base_url=f"{url}/retrieval.passage", auth_token=KEY
    )
    # It puts an instruction of its own before a text, "" for a name that it does not know.
    found = passages.get_text_embedding_batch(TEXTS)
    assert same(found, library.encode_document(TEXTS))
    query = TextEmbeddingsInference(
        model_name=MODEL, base_url=f"{url}/retrieval.query", auth_token=KEY
    )
    assert same(query.get_query_embedding(TEXTS[0]), library.encode_query(TEXTS[0]))


def test_haystack_tei_wants_vectors_as_they_are(url: str, library: Embedder, same: Same) -> None:
    from haystack.utils import Secret
    from haystack_integrations.components.embedders.huggingface_api import (
        HuggingFaceAPITextEmbedder,
    )

    embedder = HuggingFaceAPITextEmbedder(
        api_type="text_embeddings_inference",
        api_params={"url": url},
        token=Secret.from_token(KEY),
    )
    found = embedder.run(TEXTS[0])["embedding"]
    assert same(found, library.encode(TEXTS[0], normalize=False))


def test_chroma_tei(url: str, library: Embedder, same: Same, monkeypatch: Any) -> None:
    from chromadb.utils.embedding_functions import HuggingFaceEmbeddingServer

    monkeypatch.setenv("CHROMA_KEY_OF_THE_TESTS", KEY)
    function = HuggingFaceEmbeddingServer(
        url=f"{url}/retrieval.passage/embed", api_key_env_var="CHROMA_KEY_OF_THE_TESTS"
    )
    assert same(function(TEXTS), library.encode_document(TEXTS))


def test_huggingface_hub(url: str, library: Embedder, same: Same) -> None:
    from huggingface_hub import AsyncInferenceClient, InferenceClient

    client = InferenceClient(model=url, token=KEY)
    assert same(client.feature_extraction(TEXTS[0]), library.encode(TEXTS[:1]))
    found = client.feature_extraction(
        TEXTS[0],
        prompt_name="retrieval.query",
        normalize=False,
        truncate=True,
        truncation_direction="right",
    )
    assert same(found, library.encode_query(TEXTS[:1], normalize=False))
    cosines = client.sentence_similarity(TEXTS[0], other_sentences=TEXTS[1:])
    vectors = library.encode(TEXTS)
    assert cosines == pytest.approx((vectors[1:] @ vectors[0]).tolist(), abs=1e-6)

    async def ask() -> Any:
        async with AsyncInferenceClient(model=url, token=KEY) as client:
            return await client.feature_extraction(TEXTS[0])

    assert same(asyncio.run(ask()), library.encode(TEXTS[:1]))


def test_langchain_community_jina(
    url: str, library: Embedder, same: Same, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_community.embeddings import jina

    monkeypatch.setattr(jina, "JINA_API_URL", f"{url}/v1/embeddings")
    embeddings = jina.JinaEmbeddings(jina_api_key=KEY, model_name=MODEL)
    assert same(embeddings.embed_documents(TEXTS), library.encode(TEXTS))
    with pytest.raises(RuntimeError, match="not served here"):
        jina.JinaEmbeddings(jina_api_key=KEY, model_name="nix").embed_query("a")
