"""Haystack: components alone, in pipelines, in YAML."""

import asyncio
import gc
import weakref
from pathlib import Path

import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from embedge import Embedder, ImageError, PackError
from embedge.integrations.haystack import (
    EmbedgeDocumentEmbedder,
    EmbedgeDocumentImageEmbedder,
    EmbedgeTextEmbedder,
)
from integrations.texts import QUERY, TEXTS

COMPONENTS = [EmbedgeTextEmbedder, EmbedgeDocumentEmbedder, EmbedgeDocumentImageEmbedder]


def test_a_query(library: Embedder) -> None:
    result = EmbedgeTextEmbedder().run(QUERY)
    assert result["embedding"] == library.encode_query(QUERY).tolist()
    assert result["embedding"] != library.encode_document(QUERY).tolist()
    assert result["meta"] == {"model": "embedge-mini"}
    assert asyncio.run(EmbedgeTextEmbedder(library).run_async(QUERY)) == result


def test_documents_are_copied_with_their_vectors(library: Embedder) -> None:
    documents = [Document(content=text, meta={"n": n}) for n, text in enumerate(TEXTS)]
    result = EmbedgeDocumentEmbedder().run(documents)
    expected = library.encode_document(TEXTS).tolist()
    assert [one.embedding for one in result["documents"]] == expected
    assert [(one.id, one.meta) for one in result["documents"]] == [
        (one.id, one.meta) for one in documents
    ]
    assert all(one.embedding is None for one in documents)
    again = asyncio.run(EmbedgeDocumentEmbedder(library).run_async(documents))
    assert again == result
    assert EmbedgeDocumentEmbedder().run([])["documents"] == []


def test_fields_of_meta_stand_before_the_content(library: Embedder) -> None:
    embedder = EmbedgeDocumentEmbedder(
        meta_fields_to_embed=["title", "none", "year"], embedding_separator=" | "
    )
    document = Document(content="Venus is hot.", meta={"title": "Venus", "year": 1962})
    (result,) = embedder.run([document])["documents"]
    text = "Venus | 1962 | Venus is hot."
    assert result.embedding == library.encode_document(text).tolist()


def test_pipelines_index_and_search(library: Embedder) -> None:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    written = EmbedgeDocumentEmbedder().run([Document(content=text) for text in TEXTS[:2]])
    store.write_documents(written["documents"])
    search = Pipeline()
    search.add_component("embedder", EmbedgeTextEmbedder())
    search.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=1))
    search.connect("embedder.embedding", "retriever.query_embedding")
    (found,) = search.run({"embedder": {"text": QUERY}})["retriever"]["documents"]
    scores = library.similarity(library.encode_query(QUERY), library.encode_document(TEXTS[:2]))
    assert found.content == TEXTS[0]
    assert found.score == pytest.approx(float(scores.max()), abs=1e-5)


def test_a_pipeline_with_an_event_loop(library: Embedder) -> None:
    pipeline = Pipeline()
    pipeline.add_component("embedder", EmbedgeTextEmbedder(truncate_dim=64))
    result = asyncio.run(pipeline.run_async({"embedder": {"text": QUERY}}))
    expected = library.encode_query(QUERY, truncate_dim=64).tolist()
    assert result["embedder"]["embedding"] == expected


@pytest.mark.parametrize("kind", COMPONENTS)
def test_yaml(kind: type, library: Embedder) -> None:
    pipeline = Pipeline()
    pipeline.add_component("one", kind(task="clustering", truncate_dim=64))
    pipeline.add_component("two", kind(library, max_length=9))
    # Haystack imports modules that a file names only where the program says that it trusts them.
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["embedge.integrations.haystack"])
    assert again.dumps() == pipeline.dumps()
    one, two = again.get_component("one"), again.get_component("two")
    assert type(one) is kind
    assert one.to_dict()["init_parameters"]["task"] == "clustering"
    assert two.to_dict()["init_parameters"]["precision"] == library.precision == "int8"


def test_yaml_keeps_what_is_their_own() -> None:
    documents = EmbedgeDocumentEmbedder(meta_fields_to_embed=["title"], embedding_separator=" ")
    again = EmbedgeDocumentEmbedder.from_dict(documents.to_dict())
    assert (again.meta_fields_to_embed, again.embedding_separator) == (["title"], " ")
    images = EmbedgeDocumentImageEmbedder(file_path_meta_field="path", root_path="photos")
    again = EmbedgeDocumentImageEmbedder.from_dict(images.to_dict())
    assert (again.file_path_meta_field, again.root_path) == ("path", "photos")


def test_warm_up(library: Embedder, pictures: tuple[Path, list[Path]]) -> None:
    for kind in COMPONENTS[:2]:
        kind().warm_up()
    EmbedgeDocumentImageEmbedder(pictures[0]).warm_up()
    with pytest.raises(PackError, match="no image tower"):
        EmbedgeDocumentImageEmbedder(library).warm_up()


def test_a_closed_pipeline_lets_go_of_its_pack_and_opens_it_again(make_pack) -> None:
    pipeline, pack = Pipeline(), make_pack()
    pipeline.add_component("embedder", EmbedgeTextEmbedder(pack))
    before = pipeline.run({"embedder": {"text": QUERY}})
    component = pipeline.get_component("embedder")
    held = weakref.ref(component._model.embedder)
    pipeline.close()
    gc.collect()
    assert held() is None
    assert pipeline.run({"embedder": {"text": QUERY}}) == before
    with Embedder(pack) as own:
        EmbedgeTextEmbedder(own).close()
        own.encode("is still open")


def test_images(pictures: tuple[Path, list[Path]], tmp_path: Path) -> None:
    pack, paths = pictures
    with Embedder(pack) as embedder:
        expected = embedder.encode_image(paths).tolist()
    documents = [Document(content="a caption", meta={"file_path": path.name}) for path in paths]
    component = EmbedgeDocumentImageEmbedder(pack, root_path=str(paths[0].parent))
    result = component.run(documents)
    assert [one.embedding for one in result["documents"]] == expected
    assert result["documents"][0].meta["embedding_source"] == {
        "type": "image",
        "file_path_meta_field": "file_path",
    }
    assert documents[0].meta == {"file_path": "0.png"}
    assert asyncio.run(component.run_async(documents)) == result
    whole = [Document(meta={"path": str(path)}) for path in paths]
    component = EmbedgeDocumentImageEmbedder(pack, file_path_meta_field="path")
    assert [one.embedding for one in component.run(whole)["documents"]] == expected
    (tmp_path / "page.pdf").write_bytes(b"%PDF-1.4")
    with pytest.raises(ImageError, match=r"item 1: .*page\.pdf"):
        component.run([whole[0], Document(meta={"path": str(tmp_path / "page.pdf")})])


def test_an_image_outside_the_root_is_refused(pictures: tuple[Path, list[Path]]) -> None:
    pack, paths = pictures
    component = EmbedgeDocumentImageEmbedder(pack, root_path=str(paths[0].parent / "inside"))
    for name in ("../0.png", str(paths[0])):
        with pytest.raises(ValueError, match="leads out of"):
            component.run([Document(meta={"file_path": name})])
    with pytest.raises(ValueError, match="its meta has no 'file_path'"):
        component.run([Document(content="a")])


def test_the_wrong_component() -> None:
    with pytest.raises(TypeError, match="use EmbedgeDocumentEmbedder"):
        EmbedgeTextEmbedder().run([Document(content="a")])
    for kind in COMPONENTS[1:]:
        for wrong in ("a", ["a"], Document(content="a")):
            with pytest.raises(TypeError, match="use EmbedgeTextEmbedder"):
                kind().run(wrong)
