"""A hub folder's graphs beside those of the pack: the same vectors, and for int8 the same bits."""

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from consumers.consumed import GRAPHS, MODELS, TEXTS, least_cosine, model
from embedge import read_manifest


@pytest.mark.parametrize("precision", GRAPHS)
@pytest.mark.parametrize("name", MODELS)
def test_the_pooled_output_is_that_of_the_pack(name, precision):
    about = model(name)
    manifest = read_manifest(about.pack)
    pack = about.pack / manifest.graph(task=manifest.default_task, precision=precision).file
    hub = about.hub / f"onnx/{GRAPHS[precision]}.onnx"
    sessions = [onnxruntime.InferenceSession(str(path)) for path in (pack, hub)]
    tokenizer = Tokenizer.from_file(str(about.hub / "tokenizer.json"))
    for text in TEXTS:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        one, other = (session.run(["sentence_embedding"], feed)[0] for session in sessions)
        if precision == "int8":
            print(name, np.abs(one - other).max(), np.array_equal(one, other))
        assert least_cosine(one, other) > 0.999999
