"""LlamaIndex: both sides, batches, images, an index that is searched, and what is written."""

import asyncio
import io
import json
import pickle
from pathlib import Path

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode

from embedge import Embedder, PackError, TextError
from embedge.integrations.llama_index import EmbedgeEmbedding, EmbedgeMultiModalEmbedding
from integrations.texts import QUERY, TEXTS


@pytest.mark.parametrize("given", [None, "embedder"])
def test_queries_and_texts(given: str | None, library: Embedder) -> None:
    embedding = EmbedgeEmbedding(library if given else None)
    query = embedding.get_query_embedding(QUERY)
    assert query == library.encode_query(QUERY).tolist()
    assert query != library.encode_document(QUERY).tolist()
    assert embedding.get_text_embedding(QUERY) == library.encode_document(QUERY).tolist()
    expected = library.encode_document(TEXTS).tolist()
    assert embedding.get_text_embedding_batch(TEXTS) == expected
    assert embedding.get_text_embedding_batch([]) == []
    aggregated = embedding.get_agg_embedding_from_queries([QUERY, QUERY])
    assert aggregated == pytest.approx(query)


def test_a_small_batch_size_changes_nothing(library: Embedder) -> None:
    embedding = EmbedgeEmbedding(embed_batch_size=2, truncate_dim=64)
    expected = library.encode_document(TEXTS * 2, truncate_dim=64).tolist()
    assert embedding.get_text_embedding_batch(TEXTS * 2) == expected
    assert asyncio.run(embedding.aget_text_embedding_batch(TEXTS * 2)) == expected
    assert EmbedgeEmbedding().embed_batch_size == 512


def test_beside_the_event_loop(library: Embedder) -> None:
    embedding = EmbedgeEmbedding()

    async def embed() -> tuple:
        return await asyncio.gather(
            embedding.aget_query_embedding(QUERY), embedding.aget_text_embedding(QUERY)
        )

    query, text = asyncio.run(embed())
    assert query == library.encode_query(QUERY).tolist()
    assert text == library.encode_document(QUERY).tolist()


def test_an_index_embeds_nodes_as_texts_and_questions_as_queries(library: Embedder) -> None:
    embedding = EmbedgeEmbedding(library)
    nodes = [TextNode(text=text, id_=str(n)) for n, text in enumerate(TEXTS[:2])]
    index = VectorStoreIndex(nodes, embed_model=embedding)
    first = index.as_retriever(similarity_top_k=1).retrieve(QUERY)[0]
    scores = library.similarity(library.encode_query(QUERY), library.encode_document(TEXTS[:2]))
    assert first.node.text == TEXTS[0]
    assert first.score == pytest.approx(float(scores.max()), abs=1e-5)


def test_a_step_of_a_pipeline(library: Embedder) -> None:
    pipeline = IngestionPipeline(transformations=[EmbedgeEmbedding()])
    (node,) = pipeline.run(documents=[Document(text=TEXTS[0])])
    assert node.embedding == library.encode_document(TEXTS[0]).tolist()


def test_written_read_and_pickled(library: Embedder) -> None:
    embedding = EmbedgeEmbedding(task="clustering", truncate_dim=64)
    embedding.get_query_embedding(QUERY)
    data = json.loads(embedding.to_json())
    assert data["class_name"] == "EmbedgeEmbedding"
    assert (data["pack"], data["task"], data["truncate_dim"]) == (None, "clustering", 64)
    expected = library.encode_query(QUERY, task="clustering", truncate_dim=64).tolist()
    for again in (
        EmbedgeEmbedding.from_dict(data),
        pickle.loads(pickle.dumps(embedding)),
        EmbedgeEmbedding(**{name: value for name, value in data.items() if name != "class_name"}),
    ):
        assert again.get_query_embedding(QUERY) == expected
    assert set(embedding.to_payload()) == set(MockEmbedding(embed_dim=1).to_payload())


def test_images(pictures: tuple[Path, list[Path]]) -> None:
    pack, paths = pictures
    embedding = EmbedgeMultiModalEmbedding(pack)
    with Embedder(pack) as embedder:
        expected = embedder.encode_image(paths).tolist()
        query = embedder.encode_query("ab").tolist()
    names = [str(path) for path in paths]
    assert embedding.get_image_embedding_batch(names) == expected
    assert embedding.get_image_embedding(names[0]) == expected[0]
    assert embedding.get_image_embedding(io.BytesIO(paths[1].read_bytes())) == expected[1]
    assert asyncio.run(embedding.aget_image_embedding(names[1])) == expected[1]
    assert asyncio.run(embedding.aget_image_embedding_batch(names)) == expected
    assert embedding.get_query_embedding("ab") == query
    assert embedding.model_name == "pack"


def test_errors() -> None:
    with pytest.raises(TextError, match="item 1: is int, not str"):
        EmbedgeEmbedding().get_text_embedding_batch(["good", 3])
    with pytest.raises(PackError, match="no image tower"):
        EmbedgeMultiModalEmbedding().get_image_embedding("a.png")
    with pytest.raises(ValueError, match="truncate_dims"):
        EmbedgeEmbedding(truncate_dims=3)
    with pytest.raises(ValueError, match="frozen"):
        EmbedgeEmbedding().task = "clustering"
    with pytest.raises(ValueError, match="embed_batch_size"):
        EmbedgeEmbedding(embed_batch_size=0)
