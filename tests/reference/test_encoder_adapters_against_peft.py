"""Adapters of BERT-like encoders: merged folders against peft's own merge_and_unload."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoModelForSequenceClassification

import seeded
from embedge_export.merged import write_merged
from embedge_export.model import open_model, text_vectors
from embedge_export.source.folder import open_source

TARGETS = {
    "bert": ["query", "value", "dense"],  # the pooler's dense layer too, which no vector reads
    "xlm-roberta": ["query", "intermediate.dense"],
    "distilbert": ["q_lin", "v_lin", "lin1"],
}
CLASSES = {"network": AutoModel, "classifier": AutoModelForSequenceClassification}


@pytest.mark.parametrize("trained_as", CLASSES)
@pytest.mark.parametrize("kind", TARGETS)
def test_merged_weights_are_those_of_peft(kind, trained_as, tmp_path):
    folder = seeded.write_bert(tmp_path / "model", kind)
    AutoModel.from_pretrained(folder).save_pretrained(folder)  # with a pooler, as real ones have
    torch.manual_seed(0)
    network = CLASSES[trained_as].from_pretrained(folder).float()
    options = LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS[kind])
    model = get_peft_model(network, options)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.1)
    model.save_pretrained(tmp_path / "search")
    plain = CLASSES[trained_as].from_pretrained(folder).float()
    expected = PeftModel.from_pretrained(plain, tmp_path / "search").merge_and_unload()
    source = open_source(folder, adapters={"search": tmp_path / "search"})
    (merged,) = write_merged(source, tmp_path / "merged", dtype="float32")
    got = AutoModel.from_pretrained(merged).float().state_dict()
    state = getattr(expected, expected.base_model_prefix, expected).state_dict()
    differences = [np.abs((got[key] - value).numpy()).max() for key, value in state.items()]
    assert max(differences) <= 1e-6


def test_a_folder_that_sentence_transformers_saves_with_an_adapter(tmp_path):
    """A network with an adapter in it, saved: all settings, the adapter, and no config.json.

    Not by `add_adapter`: transformers 5.24 asks for a peft that is not released yet. What is saved
    has the same files.
    """
    base, saved = seeded.write_bert(tmp_path / "base", "bert"), tmp_path / "my-search"
    AutoModel.from_pretrained(base).save_pretrained(base)
    exact = {"dtype": torch.float32}
    model = SentenceTransformer(str(base), device="cpu", model_kwargs=exact)
    torch.manual_seed(0)
    lora = LoraConfig(r=4, lora_alpha=6, target_modules=["query", "value"])
    model[0].model = get_peft_model(model[0].model, lora)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.5)
    model.save_pretrained(str(saved))
    assert not (saved / "config.json").exists()
    source = open_source(saved)
    texts = ["a b", "the c of it"]
    opened = open_model(source)
    ids = [np.asarray(model.tokenizer(text)["input_ids"], np.int32) for text in texts]
    for weights, alike in ((opened.weights("my-search"), True), (opened.base, False)):
        vectors = text_vectors(opened, weights, ids)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = (vectors * model.encode(texts, normalize_embeddings=True)).sum(axis=1)
        assert (cosines > 0.99999).all() == alike
