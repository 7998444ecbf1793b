"""Text Embeddings Inference: its rules for a folder with a graph, followed step by step.

The server is not run here. What its ONNX Runtime backend asks of a folder, as of version 1.9: the
graph's place, fields of config.json, the pooling's flags, outputs in float32, and padding on the
side of tokenizer_config.json, in batches of at most 8.
"""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

from consumers.consumed import LEAST, MODELS, TEXTS, least_cosine, model, read

MOST_TEXTS = 8
FLAGS = ("pooling_mode_cls_token", "pooling_mode_mean_tokens", "pooling_mode_lasttoken")


class Tei:
    """A folder as the backend opens it; what it refuses raises."""

    def __init__(self, folder):
        graph = folder / "model.onnx"
        self.session = onnxruntime.InferenceSession(
            str(graph if graph.exists() else folder / "onnx/model.onnx")
        )
        config = read(folder / "config.json")
        for names in (("hidden_size", "n_embd"), ("num_hidden_layers", "n_layer")):
            if not any(isinstance(config.get(name), int) for name in names):
                raise KeyError(f"missing field `{names[0]}`")
        self.pad_token_id = config.get("pad_token_id") or config.get("eos_token_id") or 0
        self.left = read(folder / "tokenizer_config.json").get("padding_side") == "left"
        self.prompts = read(folder / "config_sentence_transformers.json")["prompts"]
        pooling = read(folder / "1_Pooling/config.json")
        assert sum(pooling[flag] for flag in FLAGS) == 1
        self.longest = read(folder / "sentence_bert_config.json")["max_seq_length"]
        assert 0 < self.longest <= config["max_position_embeddings"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        inputs = {value.name: value for value in self.session.get_inputs()}
        assert inputs.keys() == {"input_ids", "attention_mask"}
        assert all(value.type == "tensor(int64)" for value in inputs.values())
        assert all(value.type == "tensor(float)" for value in self.session.get_outputs())

    def embed(self, texts, prompt):
        vectors = []
        for start in range(0, len(texts), MOST_TEXTS):
            part = texts[start : start + MOST_TEXTS]
            rows = [self.tokenizer.encode(prompt + text).ids[: self.longest] for text in part]
            length = max(map(len, rows))
            ids = np.full((len(rows), length), self.pad_token_id, np.int64)
            mask = np.zeros_like(ids)
            for index, row in enumerate(rows):
                place = slice(length - len(row), None) if self.left else slice(len(row))
                ids[index, place], mask[index, place] = row, 1
            feed = {"input_ids": ids, "attention_mask": mask}
            vectors.append(self.session.run(["sentence_embedding"], feed)[0])
        found = np.concatenate(vectors)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "distilbert"])
def test_the_backend_loads_the_folder(name, side, tmp_path):
    about = model(name)
    folder = shutil.copytree(about.hub, tmp_path / "folder")
    settings = read(folder / "tokenizer_config.json") | {"padding_side": side}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tei = Tei(folder)
    assert tei.prompts == about.prompts  # what `prompt_name` of a request chooses from
    for kind in ("query", "document"):
        found = tei.embed(TEXTS * 3, about.prompt(kind))
        assert least_cosine(found, np.tile(about.expected(kind), (3, 1))) >= LEAST["fp32"]


def test_distilbert_calls_its_sizes_by_other_names():
    with pytest.raises(KeyError, match="hidden_size"):
        Tei(model("distilbert").hub)
