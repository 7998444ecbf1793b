"""Heads against Sentence Transformers itself: pooling modes, Dense, LayerNorm, Normalize."""

import os
import shutil

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling

import seeded
from embedge import Embedder
from embedge.vectors import normalize
from embedge_export.export import export_pack
from embedge_export.head.head import ACTIVATIONS, MODES
from embedge_export.merged import write_merged
from embedge_export.source import sentence_fields as tables
from embedge_export.source.folder import open_source
from reference.samples import TEXTS
from support.heads import DROPOUT, LAYER_NORM, NORMALIZE, dense, write_head

pytestmark = pytest.mark.filterwarnings(
    "ignore::embedge.TruncationWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)
LEAST = {"fp32": 0.99999, "fp16": 0.9999, "int8": 0.99}
ALL = [text for text in TEXTS if text]
KINDS = {
    "bert": seeded.write_bert,
    "qwen3": lambda folder: seeded.write_decoder(folder, "qwen3"),
}
HEADS = {
    **{mode: ((mode,), []) for mode in MODES},
    "joined": (("max", "weightedmean", "cls"), []),
    "dense": (("mean",), [dense(32)]),
    "normalized": (("cls",), [NORMALIZE, dense(48, "GELU", bias=False), NORMALIZE]),
    "all": (
        ("mean", "last_token"),
        [
            dense(64, "SiLU"),
            DROPOUT,
            LAYER_NORM,
            dense(64, "ReLU", use_residual=True),
            dense(40, "Sigmoid", use_residual=True),
            NORMALIZE,
        ],
    ),
}


def load(folder):
    return SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})


def theirs(folder):
    model = load(folder)
    return np.asarray(model.encode(ALL, batch_size=4, convert_to_numpy=True), np.float32)


def cosines(found, expected):
    return (normalize(found) * normalize(expected)).sum(axis=1)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_packs_give_their_vectors(kind, head, tmp_path, figures):
    modes, modules = HEADS[head]
    folder = write_head(KINDS[kind](tmp_path / "source"), modes, modules)
    export_pack(folder, out=tmp_path / "pack", precisions=tuple(LEAST))
    expected = theirs(folder)
    for precision, least in LEAST.items():
        with Embedder(tmp_path / "pack", precision=precision) as embedder:
            found = embedder.encode(ALL)
        assert found.shape == expected.shape
        lowest = cosines(found, expected).min()
        figures(
            f"{kind}, {precision}", lowest, np.abs(normalize(expected) - normalize(found)).max()
        )
        assert lowest >= least, precision


@pytest.mark.parametrize("kind", KINDS)
def test_plain_folders_give_their_vectors(kind, tmp_path):
    """They load what is written for other programs, and their vectors are the source's."""
    folder = write_head(KINDS[kind](tmp_path / "source"), *HEADS["all"])
    (plain,) = write_merged(open_source(folder), tmp_path / "plain", dtype="float32")
    np.testing.assert_allclose(theirs(plain), theirs(folder), rtol=0, atol=1e-5)


@pytest.mark.skipif("EMBEDGE_MINILM" not in os.environ, reason="EMBEDGE_MINILM is not set")
@pytest.mark.parametrize("modes", [("cls",), ("weightedmean", "max")], ids="+".join)
def test_real_weights_under_another_head(modes, tmp_path, figures):
    """all-MiniLM-L6-v2's network (`make minilm`), its rows pooled in other ways."""
    folder = shutil.copytree(os.environ["EMBEDGE_MINILM"], tmp_path / "model")
    write_head(folder, modes, [dense(256), NORMALIZE])
    export_pack(folder, out=tmp_path / "pack", precisions=("fp32", "int8"))
    expected = theirs(folder)
    for precision, least in (("fp32", 0.99999), ("int8", 0.998)):
        with Embedder(tmp_path / "pack", precision=precision) as embedder:
            found = embedder.encode(ALL)
        lowest = cosines(found, expected).min()
        figures(
            f"all-MiniLM-L6-v2, {'+'.join(modes)}, {precision}",
            lowest,
            np.abs(normalize(expected) - normalize(found)).max(),
        )
        assert lowest >= least, precision


def test_what_they_save_is_read(tmp_path):
    """Modules in the files of their own `save`, every activation that is supported."""
    folder = write_head(seeded.write_bert(tmp_path / "source"), ("mean",))
    model = load(folder)
    width = model.get_embedding_dimension()
    model[1] = Pooling(width, pooling_mode=("mean", "max"))
    inputs = 2 * width
    for number, name in enumerate(ACTIVATIONS):
        model.add_module(
            f"dense {number}", Dense(inputs, 32, activation_function=getattr(torch.nn, name)())
        )
        inputs = 32
    model.add_module("dropout", Dropout(0.5))
    model.add_module("norm", LayerNorm(32))
    model.eval()
    model.save(str(tmp_path / "saved"))
    export_pack(tmp_path / "saved", out=tmp_path / "pack", precisions=("fp32",))
    with Embedder(tmp_path / "pack") as embedder:
        assert cosines(embedder.encode(ALL), theirs(tmp_path / "saved")).min() >= LEAST["fp32"]


def test_the_tables_have_every_field_that_they_write():
    written = {*Dense.config_keys}
    assert written == set(tables.DENSE_FIELDS)
    assert set(LayerNorm.config_keys) == set(tables.LAYER_NORM_FIELDS)
    assert {*Pooling.config_keys, *Pooling.config_key_renames} <= set(tables.POOLING_FIELDS)
    assert set(Pooling.POOLING_MODES) == set(tables.POOLING_MODES)
