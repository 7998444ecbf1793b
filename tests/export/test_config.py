"""A config that is read too kindly gives wrong vectors without an error; these must be errors."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import seeded
from embedge.errors import SourceError
from embedge_export.families.register import FAMILIES, family_of
from embedge_export.tensors.checkpoint import SafetensorsWeights, open_weights


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
    return family_of(config).read(config, open_weights(source))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "deberta-v2"}, "deberta-v2"),
        ({"model_type": None}, 'has no "model_type"'),
        ({"is_decoder": False}, "is_decoder"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["sliding_attention"]}, "layer_types"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"configuration_files": ["config.4.0.0.json"]}, "configuration_files"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ({"rope_theta": None, "rope_parameters": None}, "rope_theta is missing"),
        ({"rope_parameters": {"rope_theta": 5.0}, "rope_theta": 6.0}, "contradictory"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers"),
        ({"rms_norm_eps": True}, "rms_norm_eps"),
        ({"hidden_size": 128}, "embed_tokens.weight"),
        ({"num_key_value_heads": 3}, "not a multiple of num_key_value_heads 3"),
        ({"rope_theta": "1e6"}, "rope_theta is '1e6', its base '1e6' must be a number"),
        ({"rope_scaling": 5}, "rope_scaling is 5, it must be an object"),
        ({"is_causal": False}, "is_causal is False"),
        ({"per_layer_config": {"0": {"intermediate_size": 8}}}, "per_layer_config"),
        ({"transformers_weights": "other.safetensors"}, "transformers_weights"),
        ({"layer_types": ["full_attention"]}, "layer_types .* num_hidden_layers"),
        ({"attention_bias": 1}, "attention_bias is 1, it must be true or false"),
        ({"attention_bias": True}, r"lack the tensor 'layers\.0\.self_attn\.q_proj\.bias'"),
        ({"max_position_embeddings": 10**9}, "max_position_embeddings .* more than 1048576"),
        ({"hidden_size": 64.0}, "hidden_size is 64.0"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ({"head_dim": 20}, "heads of 20 entries .* multiples of 16"),
        ({"head_dim": 24}, "heads of 24 entries .* multiples of 16"),
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
        family_of(config).read(config, open_weights(tmp_path))


def test_the_model_types_that_a_refusal_names_can_all_be_exported(source):
    with pytest.raises(SourceError, match="model_type 'deberta-v2' is not supported") as refusal:
        read(source, model_type="deberta-v2")
    for name in ("jina_embeddings_v5", "qwen3", "eurobert", "bert", "xlm-roberta", "jina_clip"):
        assert name in str(refusal.value)
    assert f"Supported are: {', '.join(FAMILIES)}." in str(refusal.value)


@pytest.mark.parametrize("layers", [10**6, 10**8, 2**31 - 1])
def test_layers_that_are_not_there_are_not_counted_to_the_end(source, layers):
    """Every layer costs a few names: a million would take seconds, a hundred million memory."""
    weights = open_weights(source)
    asked = []

    class Counted(SafetensorsWeights):
        def shape(self, key):
            asked.append(key)
            return super().shape(key)

    config = json.loads((source / "config.json").read_text()) | {"num_hidden_layers": layers}
    with pytest.raises(SourceError, match=r"lack the tensor 'layers\.3\."):
        family_of(config).read(config, Counted(weights._tensors))
    assert len(asked) < 100


@pytest.mark.parametrize("lost", ["q", "k", "v"])
def test_a_bias_that_the_family_has_must_be_there(tmp_path, lost):
    folder = seeded.write_decoder(tmp_path / "qwen2", "qwen2")
    assert read(folder).query_bias
    tensors = load_file(folder / "model.safetensors")
    del tensors[f"model.layers.1.self_attn.{lost}_proj.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceError, match=rf"lack the tensor 'layers.1.self_attn.{lost}_proj.bias"):
        read(folder)


@pytest.mark.parametrize("module", ["self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj"])
def test_a_bias_that_the_family_has_not_is_refused(source, tmp_path, module):
    tensors = load_file(source / "model.safetensors")
    size = tensors[f"layers.0.{module}.weight"].shape[0]
    tensors[f"layers.0.{module}.bias"] = np.ones(size, np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    with pytest.raises(SourceError, match=rf"have a tensor 'layers.0.{module}.bias'"):
        family_of(config).read(config, open_weights(tmp_path))


@pytest.mark.parametrize(
    ("extra", "known"),
    [
        ("lm_head.weight", True),
        ("rotary_emb.inv_freq", True),
        ("layers.0.self_attn.rotary_emb.inv_freq", True),
        ("layers.9.self_attn.rotary_emb.inv_freq.more", False),
        ("lm_head.bias", False),
        ("score.weight", False),
        ("model.norm.weight", False),
    ],
)
def test_only_tensors_without_effect_may_be_left_out(source, tmp_path, extra, known):
    tensors = load_file(source / "model.safetensors") | {extra: np.ones(64, np.float32)}
    save_file(tensors, tmp_path / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    if known:
        family_of(config).read(config, open_weights(tmp_path))
        return
    with pytest.raises(SourceError, match=f"have a tensor '{extra}'"):
        family_of(config).read(config, open_weights(tmp_path))
