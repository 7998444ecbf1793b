"""transformers without a model's own code, and Sentence Transformers: the plain network.

Run with transformers 4.57 and Sentence Transformers 5, as Optimum needs them, and with the newest.
"""

import importlib.metadata

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from consumers.consumed import (
    HEADED,
    LEAST,
    MODELS,
    PLAIN,
    TEXTS,
    check_prompts,
    least_cosine,
    model,
    pooled,
)

OLD = importlib.metadata.version("transformers").startswith("4.")
# These count positions from the start of a padded row.
RIGHT_ONLY = ("bert", "distilbert")
NETWORKS = PLAIN if OLD else MODELS


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", NETWORKS)
def test_auto_model(name: str, side: str) -> None:
    if side == "left" and name in RIGHT_ONLY:
        pytest.skip("transformers' own vectors depend on this side's padding")
    about = model(name)
    tokenizer = AutoTokenizer.from_pretrained(about.hub, padding_side=side)
    network, loading = AutoModel.from_pretrained(about.hub, output_loading_info=True)
    assert not [key for key in loading["missing_keys"] if not key.startswith("pooler.")]
    for kind in ("query", "document"):
        texts = [about.prompt(kind) + text for text in TEXTS]
        feed = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            rows = network.eval()(**feed).last_hidden_state
        vectors = pooled(rows, feed["attention_mask"], about.pooling)
        assert least_cosine(vectors, about.expected(kind)) >= LEAST["fp32"]


@pytest.mark.parametrize("name", [*NETWORKS, *HEADED])
def test_sentence_transformers(name: str) -> None:
    embedder = SentenceTransformer(str(model(name).hub), device="cpu")
    assert embedder.similarity_fn_name == "cosine"
    check_prompts(embedder, name, "fp32")
    lengths = np.linalg.norm(embedder.encode(TEXTS), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
