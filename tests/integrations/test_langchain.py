"""LangChain's own tests of an embedding model, and what they leave open."""

import asyncio
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from embedge import Embedder, OptionError, TextError
from embedge.integrations.langchain import EmbedgeEmbeddings
from integrations.texts import QUERY, TEXTS


class Options:
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return EmbedgeEmbeddings

    @property
    def embedding_model_params(self) -> dict:
        return {"task": "retrieval", "truncate_dim": 64}


class TestUnit(Options, EmbeddingsUnitTests):
    pass


class TestIntegration(Options, EmbeddingsIntegrationTests):
    pass


def test_documents_and_queries(library: Embedder) -> None:
    embeddings = EmbedgeEmbeddings()
    documents, query = embeddings.embed_documents(TEXTS), embeddings.embed_query(QUERY)
    assert documents == library.encode_document(TEXTS).tolist()
    assert query == library.encode_query(QUERY).tolist()
    assert query != library.encode_document(QUERY).tolist()
    assert type(query[0]) is float
    assert embeddings.embed_documents([]) == []


def test_beside_the_event_loop(library: Embedder) -> None:
    embeddings = EmbedgeEmbeddings(library)

    async def embed() -> tuple:
        return await asyncio.gather(
            embeddings.aembed_documents(TEXTS), embeddings.aembed_query(QUERY)
        )

    documents, query = asyncio.run(embed())
    assert documents == library.encode_document(TEXTS).tolist()
    assert query == library.encode_query(QUERY).tolist()


def test_a_task_that_is_cancelled_ends_the_run(library: Embedder) -> None:
    embeddings = EmbedgeEmbeddings(library)
    minutes_of_work = [f"A text of some words, number {n}. " * 10 for n in range(100_000)]

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(embeddings.aembed_documents(minutes_of_work), 0.5)

    begun = time.monotonic()
    asyncio.run(leave())  # waits for the threads that it started
    assert time.monotonic() - begun < 20


def test_a_vector_store_finds_with_the_prompt_of_queries(library: Embedder) -> None:
    store = InMemoryVectorStore(EmbedgeEmbeddings(library))
    store.add_documents([Document(text) for text in TEXTS[:2]])
    ((found, score),) = store.similarity_search_with_score(QUERY, k=1)
    scores = library.similarity(library.encode_query(QUERY), library.encode_document(TEXTS[:2]))
    assert found.page_content == TEXTS[0]
    assert score == pytest.approx(float(scores.max()), abs=1e-6)


def test_threads_pickle_and_repr(library: Embedder) -> None:
    embeddings = EmbedgeEmbeddings(task="clustering")
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(embeddings.embed_query, TEXTS * 4))
    assert rows == library.encode_query(TEXTS * 4, task="clustering").tolist()
    again = pickle.loads(pickle.dumps(embeddings))
    assert again.embed_query(QUERY) == embeddings.embed_query(QUERY)
    assert repr(embeddings) == "EmbedgeEmbeddings(task='clustering')"


def test_errors() -> None:
    embeddings = EmbedgeEmbeddings()
    with pytest.raises(TextError, match="item 1: is int, not str"):
        embeddings.embed_documents(["good", 3])
    with pytest.raises(ValueError, match="pass a list of str"):
        embeddings.embed_documents("one text")
    with pytest.raises(OptionError, match="'nonsense' is not in this pack"):
        EmbedgeEmbeddings(task="nonsense").embed_query("a")
    assert np.shape(embeddings.embed_query("")) == (256,)
