"""fastembed's custom models: a hub folder's graphs, and a pack's; also with several processes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

from consumers.consumed import GRAPHS, HEADED, LEAST, MODELS, TEXTS, least_cosine, model
from embedge import read_manifest


def opened(name: str, folder: Path, graph: str, data: list[str], dimension: int) -> TextEmbedding:
    """The graph's own pooling is taken: `sentence_embedding`, float32 (texts, dimension)."""
    TextEmbedding.add_custom_model(
        model=name,
        pooling=PoolingType.DISABLED,
        normalization=True,
        sources=ModelSource(hf="local/folder"),  # asked for, and not used
        dim=dimension,
        model_file=graph,
        additional_files=data,
        output_name="sentence_embedding",
    )
    return TextEmbedding(name, specific_model_path=str(folder), threads=1)


@pytest.mark.parametrize("precision", GRAPHS)
@pytest.mark.parametrize("name", [*MODELS, *HEADED])
def test_hub_folder(name: str, precision: str) -> None:
    about, stem = model(name), f"onnx/{GRAPHS[precision]}.onnx"
    expected = about.expected("document", precision)
    embedder = opened(
        f"hub/{name}-{precision}", about.hub, stem, [f"{stem}_data"], expected.shape[1]
    )
    documents = [about.prompt("document") + text for text in TEXTS]
    found = np.stack(list(embedder.embed(documents, batch_size=3)))
    assert least_cosine(found, expected) >= LEAST[precision]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_two_processes_give_the_same() -> None:
    about = model("small")
    expected = np.tile(about.expected("query"), (20, 1))
    data, width = ["onnx/model.onnx_data"], expected.shape[1]
    embedder = opened("hub/parallel", about.hub, "onnx/model.onnx", data, width)
    texts = [about.prompt("query") + text for text in TEXTS] * 20
    found = np.stack(list(embedder.embed(texts, batch_size=8, parallel=2)))
    assert least_cosine(found, expected) >= LEAST["fp32"]


def test_a_tokenizer_that_pads_on_the_left(tmp_path: Path) -> None:
    about = model("small")
    folder = shutil.copytree(about.hub, tmp_path / "left")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "left"}))
    data, expected = ["onnx/model.onnx_data"], about.expected("query")
    embedder = opened("hub/left", folder, "onnx/model.onnx", data, expected.shape[1])
    texts = [about.prompt("query") + text for text in TEXTS]
    assert least_cosine(np.stack(list(embedder.embed(texts))), expected) >= 0.99999


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_pack(precision: str, tmp_path: Path) -> None:
    """A pack has no tokenizer_config.json, which fastembed asks for: one is put beside a copy."""
    about = model("small")
    pack = shutil.copytree(about.pack, tmp_path / "pack")
    shutil.copy(about.hub / "tokenizer_config.json", pack)
    manifest = read_manifest(pack)
    graph = manifest.graph(task=manifest.default_task, precision=precision)
    embedder = opened(f"pack/{precision}", pack, graph.file, list(graph.data), manifest.dimension)
    texts = [about.prompt("query") + text for text in TEXTS]
    found = np.stack(list(embedder.embed(texts)))
    assert least_cosine(found, about.expected("query", precision)) >= LEAST[precision]
