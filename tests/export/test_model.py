"""Opened models: biases of every kind reach the graphs, and values that cannot be computed with."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import seeded
from embedge.errors import SourceError
from embedge_export.export import export_pack
from embedge_export.model import open_model, reference
from embedge_export.source.folder import open_source

SIZE = seeded.Dimensions(
    hidden=64, layers=2, heads=4, kv_heads=2, head_dim=16, intermediate=96, rank=4
)


@pytest.mark.parametrize("kind", ["llama", "eurobert"])
def test_biases_of_attention_and_mlp_are_written_at_every_precision(tmp_path, kind):
    """In truth and graph alike: the gate compares the two."""
    folder = tmp_path / "source"
    if kind == "llama":
        seeded.write_decoder(folder, "llama", size=SIZE)
    else:
        seeded.write_eurobert(folder, size=SIZE)
    rng = np.random.default_rng(0)
    tensors = load_file(folder / "model.safetensors")
    for key in [key for key in tensors if key.endswith("_proj.weight")]:
        bias = rng.normal(0, 0.2, tensors[key].shape[0]).astype(np.float32)
        tensors[key.removesuffix("weight") + "bias"] = bias
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config |= {"attention_bias": True, "mlp_bias": True}
    (folder / "config.json").write_text(json.dumps(config))
    precisions = ("fp32", "fp16", "int8")
    manifest = export_pack(folder, out=tmp_path / "pack", precisions=precisions)
    assert all(manifest.verification[precision].passed for precision in precisions)


def test_weights_too_large_to_compute_with_are_named_before_any_graph(tmp_path):
    folder = seeded.write_decoder(tmp_path / "source", size=SIZE)
    tensors = load_file(folder / "model.safetensors")
    down = tensors["layers.0.mlp.down_proj.weight"].astype(np.float32)
    tensors["layers.0.mlp.down_proj.weight"] = np.sign(down) * np.float32(3e38)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceError, match="vectors of task 'base' are NaN or infinite"):
        reference(open_model(open_source(folder)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_no_sample_takes_is_looked_at_too(tmp_path, value):
    folder = seeded.write_decoder(tmp_path / "source", size=SIZE)
    tensors = load_file(folder / "model.safetensors")
    table = tensors["embed_tokens.weight"].astype(np.float32)
    table[-1, 3] = value  # a special token's
    tensors["embed_tokens.weight"] = table
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceError, match=r"'embed_tokens\.weight' holds NaN or infinity"):
        export_pack(folder, out=tmp_path / "pack", precisions=("fp32",))
    assert not (tmp_path / "pack").exists()
