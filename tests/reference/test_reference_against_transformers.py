"""The NumPy reference, which every export is gated against, against transformers itself."""

import json

import numpy as np
import pytest
import torch

import seeded
from embedge_export.families.decoder.truth import network_vectors
from embedge_export.families.register import family_of
from embedge_export.head.head import LAST_TOKEN, Head
from embedge_export.tensors.checkpoint import open_weights
from embedge_export.tensors.lora import MergedWeights, load_adapter
from reference import oracle

KINDS = ("v5", "nano", "qwen3", "qwen2", "llama", "eurobert", "outliers")
LENGTHS = (1, 2, 7, 64, 700)


@pytest.fixture(scope="module", params=KINDS)
def case(request, sources):
    """A tiny source, its transformers network, and the reference's view of the same folder."""
    folder = sources / f"reference-{request.param}"
    adapter = None
    if request.param in ("v5", "nano"):
        write = seeded.write_v5_text_small if request.param == "v5" else seeded.write_v5_text_nano
        write(folder)
        network = oracle.open_v5(folder)
        network.set_adapter("clustering")
        adapter = load_adapter(folder / "adapters" / "clustering", open_weights(folder))
    elif request.param == "outliers":
        seeded.write_decoder(folder, "llama", size="demo", outliers=True)
        network = oracle.open_decoder(folder)
    elif request.param == "eurobert":
        seeded.write_eurobert(folder)
        network = oracle.open_decoder(folder)
    else:
        seeded.write_decoder(folder, request.param)
        network = oracle.open_decoder(folder)
    base = open_weights(folder)
    settings = json.loads((folder / "config.json").read_text())
    config = family_of(settings).read(settings, base)
    return network, config, MergedWeights(base, adapter)


def test_vectors_before_normalizing(case, request, figures):
    """Alone in transformers, side by side in the reference, at every length up to 700 tokens."""
    network, config, weights = case
    generator = np.random.default_rng(0)
    texts = [generator.integers(0, config.vocab_size, length) for length in LENGTHS]
    got = network_vectors(config, weights, texts, head=Head(config.hidden_size, (LAST_TOKEN,)))
    assert got.dtype == np.float32
    for ids, vector in zip(texts, got, strict=True):
        batch = torch.from_numpy(ids)[None]
        expected = oracle.run(network, batch, torch.ones_like(batch)).numpy()[0]
        np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())
        units = [v[None] / np.linalg.norm(v) for v in (vector, expected)]
        cosine, difference = oracle.agreement(*units)
        figures("NumPy reference", cosine, difference)
        assert cosine >= 0.9999999
        assert difference <= 2e-6


def test_progress_is_told_layer_by_layer(case):
    _, config, weights = case
    labels = []
    network_vectors(
        config,
        weights,
        [np.arange(3)],
        head=Head(config.hidden_size, (LAST_TOKEN,)),
        advance=labels.append,
    )
    assert len(labels) == config.num_hidden_layers + 1
