"""ModernBERT against transformers: the NumPy reference and packs, at all lengths of a window."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

import seeded
from embedge.engine.session import OnnxSession
from embedge_export.export import export_pack
from embedge_export.families.modernbert.truth import modernbert_vectors
from embedge_export.model import open_model
from embedge_export.source.folder import open_source
from reference import oracle

BARS = {"fp32": (0.999999, 1e-5), "fp16": (0.9999, 1e-2), "int8": (0.995, 0.1)}
# A token sees 8 to each side, or the real 64: a text is covered, has all scores, or is in blocks.
LENGTHS = (1, 2, 9, 10, 64, 65, 66, 200, 512, 513, 700)
SIZE = seeded.EncoderSize(hidden=256, layers=5, heads=4, intermediate=384)
KINDS = {
    "narrow": {},
    "real window": {"window": 128, "newer": True, "prefix": ""},
    "biases, cls": {"biases": True, "pooling": "cls_token"},
}


@pytest.fixture(scope="module", params=list(KINDS))
def folder(request, sources):
    name = request.param.replace(", ", "-").replace(" ", "-")
    return seeded.write_modernbert(
        sources / f"modernbert-{name}", size=SIZE, **KINDS[request.param]
    )


@pytest.fixture(scope="module")
def expected(folder):
    """Texts of every length, and transformers' vectors of each."""
    network = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    assert type(network).__name__ == "ModernBertModel"
    generator = np.random.default_rng(0)
    texts = [generator.integers(5, network.config.vocab_size, length) for length in LENGTHS]
    vectors = []
    for ids in texts:
        batch = torch.from_numpy(ids)[None]
        with torch.inference_mode():
            hidden = network(input_ids=batch, attention_mask=torch.ones_like(batch))
        rows = hidden.last_hidden_state[0]
        vectors.append((rows[0] if "cls" in folder.name else rows.mean(dim=0)).numpy())
    return texts, np.stack(vectors)


def test_reference(folder, expected, figures):
    texts, want = expected
    model = open_model(open_source(folder))
    got = modernbert_vectors(model.config, model.weights("base"), texts, head=model.source.head)
    cosine, difference = oracle.agreement(oracle.cut(got), oracle.cut(want))
    figures("NumPy reference, ModernBERT", cosine, difference)
    assert cosine >= 0.9999999
    assert difference <= 2e-6


def test_packs(folder, expected, figures):
    """All texts in one padded batch."""
    texts, want = expected
    pack = folder.with_name(folder.name + "-pack")
    export_pack(folder, out=pack, precisions=tuple(BARS), threads=1)
    ids = np.zeros((len(texts), max(LENGTHS)), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    for precision, (lowest, largest) in BARS.items():
        session = OnnxSession(pack / f"base.{precision}.onnx", device="cpu", threads=1)
        cosine, difference = oracle.agreement(oracle.cut(session.run(ids, mask)), oracle.cut(want))
        figures(f"{folder.name} {precision}", cosine, difference)
        assert cosine >= lowest
        assert difference <= largest
