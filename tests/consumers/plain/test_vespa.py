"""Vespa's `hugging-face-embedder`: its rules for a graph, followed step by step.

Vespa is not run here. It gives one text a run, asks for input_ids and attention_mask (and for
token_type_ids where a graph has three inputs), and reads `last_hidden_state` in three dimensions,
which it pools by the mean or by the first token itself.
"""

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from consumers.consumed import LEAST, MODELS, TEXTS, least_cosine, model, pooled

POOLED_BY_VESPA = ("mean_tokens", "cls_token")


@pytest.mark.parametrize("name", MODELS)
def test_shapes(name):
    session = onnxruntime.InferenceSession(str(model(name).hub / "onnx/model.onnx"))
    assert [value.name for value in session.get_inputs()] == ["input_ids", "attention_mask"]
    shapes = {value.name: value.shape for value in session.get_outputs()}
    batch, sequence, width = shapes["last_hidden_state"]
    assert (batch, sequence) == ("batch", "sequence")
    assert isinstance(width, int)


@pytest.mark.parametrize("name", [n for n in MODELS if model(n).pooling in POOLED_BY_VESPA])
def test_what_it_pools_is_the_vector(name):
    about = model(name)
    session = onnxruntime.InferenceSession(str(about.hub / "onnx/model.onnx"))
    tokenizer = Tokenizer.from_file(str(about.hub / "tokenizer.json"))
    found = []
    for text in TEXTS:
        ids = np.array([tokenizer.encode(about.prompt("query") + text).ids], np.int64)
        mask = np.ones_like(ids)
        (rows,) = session.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": mask})
        found.append(pooled(rows, mask, about.pooling)[0])
    assert least_cosine(found, about.expected("query")) >= LEAST["fp32"]
