"""transformers without a model's own code: the plain network and its tokenizer."""

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from consumers.consumed import LEAST, PLAIN, TEXTS, least_cosine, model, pooled


@pytest.mark.parametrize("name", PLAIN)
def test_auto_model(name: str) -> None:
    about = model(name)
    tokenizer = AutoTokenizer.from_pretrained(about.hub)
    network, loading = AutoModel.from_pretrained(about.hub, output_loading_info=True)
    assert not [key for key in loading["missing_keys"] if not key.startswith("pooler.")]
    for side in ("right", "left"):
        tokenizer.padding_side = side
        for kind in ("query", "document"):
            texts = [about.prompt(kind) + text for text in TEXTS]
            feed = tokenizer(texts, padding=True, return_tensors="pt")
            if side == "left" and about.name in ("bert", "distilbert"):
                continue  # transformers counts positions from the padded row's start
            with torch.no_grad():
                rows = network.eval()(**feed).last_hidden_state
            vectors = pooled(rows, feed["attention_mask"], about.pooling)
            assert least_cosine(vectors, about.expected(kind)) >= LEAST["fp32"]
