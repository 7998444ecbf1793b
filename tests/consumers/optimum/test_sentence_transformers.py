"""Sentence Transformers, with torch and with its ONNX backend; prompts of queries and documents."""

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from consumers.consumed import GRAPHS, LEAST, PLAIN, TEXTS, least_cosine, model


@pytest.mark.parametrize("name", PLAIN)
def test_torch(name: str) -> None:
    about = model(name)
    embedder = SentenceTransformer(str(about.hub), device="cpu")
    check(embedder, name, "fp32")
    assert embedder.similarity_fn_name == "cosine"


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("precision", GRAPHS)
@pytest.mark.parametrize("name", PLAIN)
def test_onnx(name: str, precision: str, side: str) -> None:
    embedder = SentenceTransformer(
        str(model(name).hub),
        backend="onnx",
        device="cpu",
        model_kwargs={
            "file_name": f"onnx/{GRAPHS[precision]}.onnx",
            "provider": "CPUExecutionProvider",
        },
    )
    embedder.tokenizer.padding_side = side
    check(embedder, name, precision)


@pytest.mark.parametrize("name", ["mini", "bert"])
def test_onnx_takes_the_fp32_graph_by_itself(name: str) -> None:
    embedder = SentenceTransformer(str(model(name).hub), backend="onnx", device="cpu")
    check(embedder, name, "fp32")


def check(embedder: SentenceTransformer, name: str, precision: str) -> None:
    about = model(name)
    queries, documents = embedder.encode_query(TEXTS), embedder.encode_document(TEXTS)
    assert least_cosine(queries, about.expected("query", precision)) >= LEAST[precision]
    assert least_cosine(documents, about.expected("document", precision)) >= LEAST[precision]
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    if about.prompt("query") != about.prompt("document"):
        as_queries = least_cosine(documents, about.expected("query", precision))
        assert least_cosine(documents, about.expected("document", precision)) > as_queries
    default = about.expected("document", precision) if about.default_prompt == "document" else None
    if default is not None:
        assert least_cosine(embedder.encode(TEXTS), default) >= LEAST[precision]
