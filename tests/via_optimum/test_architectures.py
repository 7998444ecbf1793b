"""Networks of many architectures, with random weights: gated, and against Sentence Transformers.

The gate's truth is transformers' network, a text at a time; Sentence Transformers loads the folder
by itself, pads and runs a batch.
"""

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer

from embedge import Embedder, TruncationWarning
from embedge.errors import GateError, SourceError
from embedge_export import export_pack
from via_optimum.encoders import write_encoder

EXPORTED = (
    *("albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta"),
    *("deberta-v2", "distilbert", "electra", "esm", "gpt2", "megatron-bert", "mobilebert"),
    *("modernbert", "mpnet", "qwen3", "rembert", "roberta", "roformer", "splinter"),
    *("squeezebert", "xlm-roberta"),
)
TEXTS = [
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "Two rows, one of which is padded: " + "word " * 30,
    "short text",
    "another text",
]


@pytest.mark.parametrize("kind", EXPORTED)
def test_an_architecture(kind: str, tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "source", kind)
    manifest = export_pack(
        source, out=tmp_path / "pack", via="optimum", precisions=["fp32", "fp16", "int8"]
    )
    assert manifest.family == kind
    reports = manifest.verification
    assert reports["int8"].tasks["base"].cosine_min > 0.999
    assert reports["int8"].tasks["base"].batch_difference == 0
    model = SentenceTransformer(str(source), device="cpu", local_files_only=True)
    # ConvBERT's convolutions see padding in transformers; a pack gives the vector of a text alone.
    size = 1 if kind == "convbert" else 32
    expected = model.encode(TEXTS, convert_to_numpy=True, batch_size=size)
    with Embedder(tmp_path / "pack", precision="fp32", device="cpu") as embedder:
        vectors = embedder.encode(TEXTS)
        np.testing.assert_allclose(embedder.encode(TEXTS[1]), vectors[1], atol=1e-6)
    cosines = (vectors * expected).sum(axis=1)
    assert cosines.min() > 0.99999, cosines


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("longformer", "global_attention_mask"),
        ("nystromformer", "fails at a text of"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(kind: str, message: str, tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "source", kind)
    with pytest.raises(SourceError, match=message):
        export_pack(source, out=tmp_path / "pack", via="optimum", precisions=["fp32"])
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize("kind", ["xlm", "flaubert"])
def test_a_traced_graph_that_is_another_network_misses_the_gate(kind: str, tmp_path: Path) -> None:
    """Their classes compute a mask from numbers that tracing takes for constants."""
    source = write_encoder(tmp_path / "source", kind)
    with pytest.raises(GateError, match="cosine"):
        export_pack(source, out=tmp_path / "pack", via="optimum", precisions=["fp32"])


@pytest.mark.parametrize("pooling", ["cls", "max", "weightedmean", "lasttoken"])
def test_poolings(pooling: str, tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "source", "electra", pooling=pooling)
    export_pack(source, out=tmp_path / "pack", via="optimum", precisions=["fp32"])
    model = SentenceTransformer(str(source), device="cpu", local_files_only=True)
    expected = model.encode(TEXTS, convert_to_numpy=True)
    with Embedder(tmp_path / "pack", precision="fp32", device="cpu") as embedder:
        assert (embedder.encode(TEXTS) * expected).sum(axis=1).min() > 0.99999


def test_modules_and_prompts_of_sentence_transformers(tmp_path: Path) -> None:
    """A folder that the library itself saved: a Dense layer and prompts, short texts alone."""
    network = Transformer(str(write_encoder(tmp_path / "network", "electra")), max_seq_length=24)
    model = SentenceTransformer(
        modules=[network, Pooling(64, "mean"), Dense(64, 48), Normalize()],
        prompts={"query": "find: ", "document": ""},
        device="cpu",
    )
    model.save(str(tmp_path / "source"), create_model_card=False)
    manifest = export_pack(
        tmp_path / "source", out=tmp_path / "pack", via="optimum", precisions=["fp32", "int8"]
    )
    assert manifest.dimension == 48
    with (
        Embedder(tmp_path / "pack", precision="fp32", device="cpu") as embedder,
        pytest.warns(TruncationWarning),
    ):
        vectors = embedder.encode_query(TEXTS)
    expected = model.encode(TEXTS, prompt_name="query", convert_to_numpy=True)
    assert (vectors * expected).sum(axis=1).min() > 0.99999
