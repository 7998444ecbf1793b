"""Optimum: the folder as the model cards of per-task repositories show it, and a pack's graph."""

from pathlib import Path

import numpy as np
import pytest
import torch
from consumers.consumed import GRAPHS, LEAST, PLAIN, TEXTS, least_cosine, model, pooled
from optimum.onnxruntime import ORTModelForCustomTasks, ORTModelForFeatureExtraction
from transformers import AutoConfig, AutoTokenizer

from embedge import read_manifest


@pytest.mark.parametrize("precision", GRAPHS)
def test_as_the_model_card_shows_it(precision: str) -> None:
    about = model("mini")
    tokenizer = AutoTokenizer.from_pretrained(about.hub)
    network = ORTModelForFeatureExtraction.from_pretrained(
        about.hub,
        subfolder="onnx",
        file_name=f"{GRAPHS[precision]}.onnx",
        provider="CPUExecutionProvider",
    )
    texts = [about.prompt("query") + text for text in TEXTS]
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        rows = network(**inputs).last_hidden_state
    last = inputs["attention_mask"].sum(dim=1) - 1
    vectors = rows[torch.arange(rows.shape[0]), last]
    assert least_cosine(vectors, about.expected("query", precision)) >= LEAST[precision]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", PLAIN)
def test_feature_extraction(name: str, side: str) -> None:
    """A BERT tokenizer gives token_type_ids, which the graphs lack: Optimum leaves them out."""
    about = model(name)
    tokenizer = AutoTokenizer.from_pretrained(about.hub, padding_side=side)
    network = ORTModelForFeatureExtraction.from_pretrained(about.hub, subfolder="onnx")
    inputs = tokenizer(TEXTS, padding=True, return_tensors="np", return_token_type_ids=True)
    rows = network(**inputs).last_hidden_state
    assert not rows[inputs["attention_mask"] == 0].any()
    expected = about.expected("document")
    if about.prompt("document"):
        inputs = tokenizer(
            [about.prompt("document") + text for text in TEXTS], padding=True, return_tensors="np"
        )
        rows = network(**inputs).last_hidden_state
    vectors = pooled(rows, inputs["attention_mask"], about.pooling)
    assert least_cosine(vectors, expected) >= LEAST["fp32"]


@pytest.mark.parametrize("precision", GRAPHS)
@pytest.mark.parametrize("name", ["mini", "bert"])
def test_custom_tasks_runs_the_graph_of_a_pack(name: str, precision: str) -> None:
    """A pack's graph has one output; it runs as it is, with any config and right padding."""
    about = model(name)
    manifest = read_manifest(about.pack)
    graph = manifest.graph(task=manifest.default_task, precision=precision)
    network = ORTModelForCustomTasks.from_pretrained(
        about.pack, file_name=Path(graph.file).name, config=AutoConfig.from_pretrained(about.hub)
    )
    tokenizer = AutoTokenizer.from_pretrained(about.hub, padding_side="right")
    texts = [about.prompt("query") + text for text in TEXTS]
    inputs = tokenizer(
        texts, padding=True, return_tensors="np", return_token_type_ids=False
    )
    vectors = np.asarray(network(**inputs)["sentence_embedding"])
    assert least_cosine(vectors, about.expected("query", precision)) >= LEAST[precision]
