"""A config that is read too kindly gives wrong vectors without an error; these must be errors."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import seeded
from embedge.errors import SourceError
from embedge_export.architectures import network_config
from embedge_export.weights import open_weights


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("config") / "qwen3"
    seeded.write_decoder(folder, model_type="qwen3", seed=1)
    return folder


def read(source, **changes):
    config = json.loads((source / "config.json").read_text())
    for name, value in changes.items():
        if value is None:
            config.pop(name, None)
        else:
            config[name] = value
    return network_config(config, open_weights(source))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "bert"}, "bert"),
        ({"model_type": None}, "None"),
        ({"is_decoder": False}, "is_decoder"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["sliding_attention"]}, "layer_types"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ({"rope_theta": None, "rope_parameters": None}, "rope_theta is missing"),
        ({"rope_parameters": {"rope_theta": 5.0}, "rope_theta": 6.0}, "contradictory"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers"),
        ({"rms_norm_eps": True}, "rms_norm_eps"),
        ({"hidden_size": 128}, "embed_tokens.weight"),
        ({"num_key_value_heads": 3}, "no multiple of num_key_value_heads 3"),
    ],
)
def test_what_would_change_the_vectors_is_refused_by_name(source, changes, named):
    with pytest.raises(SourceError, match=named):
        read(source, **changes)


@pytest.mark.parametrize(
    ("write", "family", "causal", "theta"),
    [
        (seeded.write_v5_text_small, "qwen3", True, 3500000.0),
        (seeded.write_v5_text_nano, "eurobert", False, 1000000.0),  # of small's model_type
        (seeded.write_eurobert, "eurobert", False, 250000.0),
        (seeded.write_decoder, "qwen3", True, 1000000.0),
    ],
)
def test_what_a_network_is(tmp_path, write, family, causal, theta):
    found = read(write(tmp_path / "source"))
    assert (found.family, found.causal, found.rope_theta) == (family, causal, theta)
    assert found.query_key_norm == (family == "qwen3")


def test_a_eurobert_that_says_it_is_a_decoder_is_refused(tmp_path):
    source = seeded.write_eurobert(tmp_path / "source")
    assert not read(source, is_decoder=False).causal
    with pytest.raises(SourceError, match="is_decoder is True, but a eurobert network is bidirect"):
        read(source, is_decoder=True)


def test_rope_theta_may_stand_in_rope_parameters(source):
    plain = read(source, rope_parameters=None, rope_theta=1234567.0)
    moved = read(
        source, rope_theta=None, rope_parameters={"rope_theta": 1234567, "rope_type": "default"}
    )
    assert plain.rope_theta == moved.rope_theta == 1234567.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("norm.weight"), "lack the tensor 'norm.weight'"),
        (lambda t: t.update({"layers.0.mlp.router.weight": np.ones(4, np.float32)}), "router"),
        (lambda t: t.update({"norm.weight": np.ones(7, np.float32)}), "shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(source, tmp_path, change, named):
    tensors = {
        key.removeprefix("model."): value.astype(np.float32)
        for key, value in load_file(source / "model.safetensors").items()
    }
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    with pytest.raises(SourceError, match=named):
        network_config(config, open_weights(tmp_path))
