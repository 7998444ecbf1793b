"""Optimum: the folder as the model cards of per-task repositories show it, and a pack's graph."""

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from optimum.onnxruntime import ORTModelForCustomTasks, ORTModelForFeatureExtraction
from transformers import AutoConfig, AutoTokenizer

from consumers.consumed import GRAPHS, LEAST, PLAIN, TEXTS, least_cosine, model, pooled
from embedge import read_manifest


@pytest.mark.parametrize("precision", GRAPHS)
def test_as_the_model_card_shows_it(precision: str) -> None:
    about = model("small")
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


@pytest.mark.parametrize("place", ["pack", "hub"])
@pytest.mark.parametrize("precision", GRAPHS)
@pytest.mark.parametrize("name", ["mini", "bert"])
def test_custom_tasks_gives_the_pooled_vectors(name: str, precision: str, place: str) -> None:
    """Of a hub folder, and of a pack, which has no config.json to be found by."""
    about = model(name)
    if place == "hub":
        network = ORTModelForCustomTasks.from_pretrained(
            about.hub, subfolder="onnx", file_name=f"{GRAPHS[precision]}.onnx"
        )
    else:
        manifest = read_manifest(about.pack)
        graph = manifest.graph(task=manifest.default_task, precision=precision)
        network = ORTModelForCustomTasks(
            config=AutoConfig.from_pretrained(about.hub),
            session=InferenceSession(str(about.pack / graph.file)),
        )
    tokenizer = AutoTokenizer.from_pretrained(about.hub)
    texts = [about.prompt("query") + text for text in TEXTS]
    inputs = tokenizer(texts, padding=True, return_tensors="np", return_token_type_ids=False)
    vectors = np.asarray(network(**inputs)["sentence_embedding"])
    assert least_cosine(vectors, about.expected("query", precision)) >= LEAST[precision]
