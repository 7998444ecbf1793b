"""The network in torch: what it refuses, what its truth hands out, and what it leaves behind."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embedge.cli import main
from embedge.errors import SourceError
from embedge_export import export_pack, open_source
from embedge_export.families.optimum.network import Network, load_network
from embedge_export.families.optimum.truth import text_rows
from embedge_export.gate.probe import Probe
from embedge_export.model import open_model, reference
from embedge_export.numbers.sensitivity import TABLE
from via_optimum.encoders import write_encoder

IDS = [np.array(ids, np.int32) for ids in ([0, 9, 8, 7, 2], [0, 30, 2], [0, 11, 12, 13, 14, 15, 2])]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "source", "electra")


@pytest.fixture
def network(source: Path) -> Network:
    return load_network(source)


def change_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_weights(folder: Path, change: object) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)  # type: ignore[operator]
    save_file(tensors, path, metadata={"format": "pt"})


# ------------------------------------------------------------------ refused


def test_code_in_the_folder_is_never_run(source: Path, tmp_path: Path) -> None:
    trace = tmp_path / "was-run"
    (source / "modeling_own.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    change_config(
        source,
        model_type="own-network",
        auto_map={"AutoConfig": "modeling_own.Config", "AutoModel": "modeling_own.Model"},
    )
    with pytest.raises(SourceError, match="never run"):
        export_pack(source, out=tmp_path / "pack", via="optimum", precisions=["fp32"])
    assert not trace.exists()


def test_a_network_that_transformers_does_not_know(source: Path) -> None:
    change_config(source, model_type="nomic_bert")
    with pytest.raises(SourceError, match="cannot load it"):
        load_network(source)


def test_a_decoder_behind_an_encoder(source: Path, tmp_path: Path) -> None:
    change_config(source, is_encoder_decoder=True)
    with pytest.raises(SourceError, match="encoder with a decoder"):
        export_pack(source, out=tmp_path / "pack", via="optimum", precisions=["fp32"])


def test_rows_of_another_width_than_the_config_says(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Network, "rows", lambda self, ids: np.zeros((*ids.shape, 48), np.float32))
    with pytest.raises(SourceError, match="rows of 48 numbers"):
        export_pack(source, out=tmp_path / "pack", via="optimum", precisions=["fp32"])


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": 10**9},
        {"num_attention_heads": "four"},
        {"hidden_act": "no-such-act"},
        {"quantization_config": {"quant_method": "no-such-method"}},
        {"num_hidden_layers": -1},
        {"vocab_size": 100},
    ],
)
def test_hostile_settings_are_sentences(
    source: Path, tmp_path: Path, fields: dict[str, object]
) -> None:
    change_config(source, **fields)
    with pytest.raises(SourceError):
        export_pack(source, out=tmp_path / "pack", via="optimum", precisions=["fp32"])
    assert not (tmp_path / "pack").exists()


def test_a_weight_that_is_missing(source: Path) -> None:
    change_weights(source, lambda tensors: tensors.pop("encoder.layer.1.output.dense.weight"))
    with pytest.raises(SourceError, match=r"lack the tensor 'encoder\.layer\.1\.output\.dense"):
        load_network(source)


def test_a_weight_that_nothing_reads(source: Path) -> None:
    extra = {"encoder.layer.9.output.dense.weight": torch.zeros(2, 2)}
    change_weights(source, lambda tensors: tensors.update(extra))
    with pytest.raises(SourceError, match=r"'encoder\.layer\.9\.output\.dense\.weight'"):
        load_network(source)


def test_a_head_beside_the_network_is_left_out(source: Path) -> None:
    extra = {"discriminator_predictions.dense.weight": torch.zeros(2, 2)}
    change_weights(source, lambda tensors: tensors.update(extra))
    load_network(source)


def test_weights_that_are_not_numbers(source: Path) -> None:
    change_weights(source, lambda t: t["encoder.layer.1.output.dense.weight"].fill_(torch.nan))
    with pytest.raises(SourceError, match="NaN or infinity"):
        load_network(source)


def test_a_network_that_optimum_does_not_know(source: Path, tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "other", "ernie")
    with pytest.raises(SourceError, match="Optimum has no export to ONNX for model_type 'ernie'"):
        export_pack(folder, out=tmp_path / "pack", via="optimum", precisions=["fp32"])


# ------------------------------------------------------------------ the truth


def test_linears_are_seen_with_all_their_rows(network: Network) -> None:
    seen: dict[str, np.ndarray] = {}
    calls: list[str] = []
    rows = text_rows(
        network, network.weights, IDS, steps=2, advance=calls.append, observe=seen.__setitem__
    )
    assert len(calls) == 2
    assert rows.shape == (15, 64)
    names = [f"layers.2.attention.self.{side}.weight" for side in ("query", "key", "value")]
    assert seen[names[0]] is seen[names[1]] is seen[names[2]]
    assert seen[names[0]].shape == (15, 64)
    assert seen["embeddings_project.weight"].shape == (15, 32)
    last = np.concatenate([network.rows(ids[None])[0] for ids in IDS])
    np.testing.assert_array_equal(rows, last)


def test_noise_reaches_the_rows_of_its_text_alone(network: Network) -> None:
    names = set()

    def disturb(name: str, values: np.ndarray) -> np.ndarray:
        names.add(name)
        assert len(values) == 15
        values[5:8] += 0.1  # the second text
        return values

    plain = text_rows(network, network.weights, IDS, steps=1)
    same = text_rows(network, network.weights, IDS, steps=1, disturb=lambda name, values: values)
    np.testing.assert_allclose(same, plain, atol=1e-5)
    noisy = text_rows(network, network.weights, IDS, steps=1, disturb=disturb)
    assert TABLE in names
    assert "layers.0.intermediate.dense" in names
    moved = np.abs(noisy - plain).max(axis=1)
    assert moved[5:8].min() > 1e-2
    assert max(moved[:5].max(), moved[8:].max()) < 1e-5


def test_the_truth_says_which_layers_a_text_hangs_on(source: Path) -> None:
    """What is asked when a graph loses too much, before parts of it are kept finer."""
    model = open_model(open_source(source, via="optimum"))
    gate = reference(model)
    probe = Probe(model, "base", gate)
    moved = probe.moved(0)
    assert list(moved) == [TABLE, "layers.0", "layers.1", "layers.2"]
    assert 0 < min(moved.values()) < max(moved.values()) < 0.1
    assert all(cosine < 1 for cosine in probe.ties(room=0).values())


# ------------------------------------------------------------------ what a user sees, and finds


def test_nothing_is_said_and_nothing_is_left(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    out = tmp_path / "pack"
    command = ["export", str(source), "--via", "optimum", "--precisions", "int8", "--out", str(out)]
    assert main(command) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert "int8" in said.out
    assert list(place.iterdir()) == []
    # What is there and up to date stays; the same network from elsewhere is another pack.
    before = (out / "base.int8.onnx").stat().st_mtime_ns
    assert main(command) == 0
    assert "up to date" in capfd.readouterr().err
    assert (out / "base.int8.onnx").stat().st_mtime_ns == before
    assert main(["verify", str(out), "--source", str(source), "--in-process"]) == 0
    assert "by source" in capfd.readouterr().out


def test_a_pack_from_elsewhere_is_not_taken_for_it(tmp_path: Path) -> None:
    source, out = write_encoder(tmp_path / "source", "bert"), tmp_path / "pack"
    export_pack(source, out=out, precisions=["fp32"])
    notes: list[str] = []
    manifest = export_pack(source, out=out, via="optimum", precisions=["int8"], notice=notes.append)
    assert manifest.precisions() == ("int8",)
    assert "from elsewhere" in notes[0]
