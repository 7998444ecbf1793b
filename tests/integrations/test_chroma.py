"""Chroma: documents and queries of a collection, kept on disk and opened again."""

from collections.abc import Callable
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.api.types import validate_embedding_function
from chromadb.utils.embedding_functions import config_to_embedding_function

from embedge import Embedder, PackError, TextError
from embedge.integrations.chroma import EmbedgeEmbeddingFunction
from integrations.texts import QUERY, TEXTS

IDS = [str(n) for n in range(len(TEXTS))]


def stored(collection: chromadb.Collection) -> np.ndarray:
    rows: np.ndarray = collection.get(IDS, include=["embeddings"])["embeddings"]
    return rows


def distances(collection: chromadb.Collection) -> list[float]:
    found = collection.query(query_texts=[QUERY], n_results=len(TEXTS))
    order = dict(zip(found["ids"][0], found["distances"][0], strict=True))
    return [order[name] for name in IDS]


def expected(library: Embedder) -> np.ndarray:
    scores = library.similarity(library.encode_query(QUERY), library.encode_document(TEXTS))
    return 1 - scores[0]  # Chroma's cosine distance


def test_the_protocol(library: Embedder) -> None:
    function = EmbedgeEmbeddingFunction()
    validate_embedding_function(function)
    assert not function.is_legacy()
    rows = function(TEXTS)
    assert np.array_equal(rows, library.encode_document(TEXTS))
    assert {(row.dtype, row.shape) for row in rows} == {(np.dtype(np.float32), (256,))}
    queries = function.embed_query(TEXTS)
    assert np.array_equal(queries, library.encode_query(TEXTS))
    assert not np.array_equal(queries, rows)
    assert function.embed_query([]) == []


@pytest.mark.parametrize("given", ["bundled", "folder", "embedder"])
def test_a_collection_is_reopened_without_the_function(
    given: str, library: Embedder, tmp_path: Path
) -> None:
    pack = {"bundled": None, "folder": library.folder, "embedder": library}[given]
    client = chromadb.PersistentClient(tmp_path / "chroma")
    collection = client.create_collection(
        "planets", embedding_function=EmbedgeEmbeddingFunction(pack)
    )
    collection.add(IDS, documents=TEXTS)
    assert np.allclose(stored(collection), library.encode_document(TEXTS), atol=1e-7)
    assert distances(collection) == pytest.approx(expected(library), abs=1e-5)
    assert collection.configuration["hnsw"]["space"] == "cosine"

    chromadb.api.client.SharedSystemClient.clear_system_cache()
    again = chromadb.PersistentClient(tmp_path / "chroma").get_collection("planets")
    kept = again.configuration["embedding_function"]
    assert type(kept) is EmbedgeEmbeddingFunction
    assert again.configuration["embedding_function"] is kept, "it would be opened for every call"
    assert distances(again) == pytest.approx(expected(library), abs=1e-5)
    again.add(["new"], documents=["Jupiter is large."])
    (row,) = again.get(["new"], include=["embeddings"])["embeddings"]
    assert np.allclose(row, library.encode_document("Jupiter is large."), atol=1e-7)


def test_the_options_are_kept(library: Embedder) -> None:
    function = EmbedgeEmbeddingFunction(task="clustering", truncate_dim=64, threads=1)
    config = {"name": function.name(), "config": function.get_config()}
    assert config["config"] == {
        "pack": None,
        "task": "clustering",
        "truncate_dim": 64,
        "max_length": None,
        "precision": "int8",
        "device": "auto",
        "threads": 1,
        "fingerprint": library.manifest.fingerprint("int8"),
    }
    again = config_to_embedding_function(config)
    rows = library.encode_document(TEXTS, task="clustering", truncate_dim=64)
    assert np.array_equal(again(TEXTS), rows)


def test_another_pack_in_its_place_is_refused(make_pack: Callable[..., Path]) -> None:
    config = EmbedgeEmbeddingFunction(make_pack("pack")).get_config()
    other = make_pack("other", prompts={"query": "Question: ", "document": "D: "})
    again = EmbedgeEmbeddingFunction.build_from_config({**config, "pack": str(other)})
    with pytest.raises(PackError, match="is another pack"):
        again(["a"])
    gone = EmbedgeEmbeddingFunction.build_from_config({**config, "pack": "no-such-folder"})
    with pytest.raises(PackError, match="no-such-folder"):
        gone(["a"])


def test_a_change_that_vectors_would_not_follow_is_refused() -> None:
    function = EmbedgeEmbeddingFunction(truncate_dim=64)
    old = function.get_config()
    function.validate_config_update(old, {**old, "threads": 1})
    for change in ({"truncate_dim": 32}, {"task": "clustering"}, {"pack": "elsewhere"}):
        with pytest.raises(ValueError, match=f"^{next(iter(change))} cannot change from"):
            function.validate_config_update(old, {**old, **change})


def test_images(pictures: tuple[Path, list[Path]]) -> None:
    pack, _ = pictures
    function = EmbedgeEmbeddingFunction(pack)
    images = [np.full((8, 8, 3), value, np.uint8) for value in (0, 255)]
    with Embedder(pack) as embedder:
        rows = embedder.encode_image(images)
    assert np.array_equal(function(images), rows)
    assert np.array_equal(function.embed_query(images), rows)
    client = chromadb.EphemeralClient()
    collection = client.create_collection("images", embedding_function=function)
    collection.add(["black", "white"], images=images)
    found = collection.query(query_images=images[1:], n_results=1)
    assert found["ids"] == [["white"]]


def test_errors() -> None:
    client = chromadb.EphemeralClient()
    collection = client.create_collection("errors", embedding_function=EmbedgeEmbeddingFunction())
    with pytest.raises(TextError, match="item 1: is int, not str"):
        EmbedgeEmbeddingFunction()(["good", 3])
    collection.add(["1"], documents=["good"])
    assert collection.count() == 1
