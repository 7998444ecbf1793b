"""Heads: every pooling mode and step, in graphs of both batches, against the truth."""

import json

import numpy as np
import pytest

import seeded
from embedge.engine.session import OnnxSession
from embedge.pack.reading import read_manifest
from embedge_export.export import export_pack
from embedge_export.gate.compare import compare
from embedge_export.head.head import MODES, Head
from embedge_export.head.truth import vectors
from embedge_export.model import open_model, reference
from embedge_export.source.folder import open_source

NAMES = {"last_token": "lasttoken"}  # what Sentence Transformers calls it
KINDS = {
    "bert": seeded.write_bert,
    "eurobert": seeded.write_eurobert,
    "qwen3": lambda folder: seeded.write_decoder(folder, "qwen3"),
}
JOINED = ("weightedmean", "last_token", "max")


def write_modes(folder, modes):
    """A pooling of these modes, joined."""
    names = [NAMES.get(mode, mode) for mode in modes]
    (folder / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode": names}))


def test_modes_are_what_their_names_say():
    """Of rows that a reader can sum: two texts, of three tokens and of one."""
    rows = np.array([[1, -8], [3, 0], [2, 5], [7, 7]], np.float32)
    bounds = np.array([0, 3, 4])
    expected: dict[str, list[list[float]]] = {
        "cls": [[1, -8], [7, 7]],
        "max": [[3, 5], [7, 7]],
        "mean": [[2, -1], [7, 7]],
        "mean_sqrt_len_tokens": [[6 / 3**0.5, -3 / 3**0.5], [7, 7]],
        "weightedmean": [[13 / 6, 7 / 6], [7, 7]],
        "last_token": [[2, 5], [7, 7]],
    }
    assert list(expected) == list(MODES)
    for mode, want in expected.items():
        got = vectors(rows, bounds, Head(2, (mode,)))
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-6)
    joined = vectors(rows, bounds, Head(2, ("max", "cls")))
    np.testing.assert_array_equal(joined, [[3, 5, 1, -8], [7, 7, 7, 7]])


@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), JOINED], ids="+".join)
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_mode_of_every_network_equals_the_truth(kind, modes, tmp_path):
    """In fp32, and in int8 with its rotated stream; whatever is in the batch beside a text."""
    source = KINDS[kind](tmp_path / "source")
    write_modes(source, modes)
    manifest = export_pack(source, out=tmp_path / "pack", precisions=("fp32", "int8"))
    hidden = json.loads((source / "config.json").read_text())["hidden_size"]
    assert (manifest.pooling, manifest.dimension) == ("+".join(modes), hidden * len(modes))
    model = open_model(open_source(source))
    gate = reference(model)
    for precision, lowest, most in (("fp32", 0.999999, 1e-6), ("int8", 0.98, 0.0)):
        graph = read_manifest(tmp_path / "pack").graph(task="base", precision=precision)
        session = OnnxSession(tmp_path / "pack" / graph.file, device="cpu", threads=1)
        report = compare(session.run, gate.ids, gate.vectors["base"])
        assert report.cosine_min >= lowest
        assert report.batch_difference <= most
