"""Sentence Transformers' ONNX backend on a hub folder, every precision, padding on either side."""

import pytest
from sentence_transformers import SentenceTransformer

from consumers.consumed import GRAPHS, HEADED, PLAIN, check_prompts, model


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("precision", GRAPHS)
@pytest.mark.parametrize("name", [*PLAIN, *HEADED])
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
    check_prompts(embedder, name, precision)


@pytest.mark.parametrize("name", ["mini", "bert"])
def test_it_takes_the_fp32_graph_by_itself(name: str) -> None:
    embedder = SentenceTransformer(str(model(name).hub), backend="onnx", device="cpu")
    check_prompts(embedder, name, "fp32")
