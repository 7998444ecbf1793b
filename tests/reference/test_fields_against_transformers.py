"""The tables of config.json's fields against transformers: its classes, its code, its vectors."""

import copy
import dataclasses
import inspect
import json
import re
import shutil
from importlib import import_module

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig, AutoModel, PreTrainedConfig

import seeded
from embedge.errors import SourceError
from embedge_export.families.bert.fields import BERT_FIELDS
from embedge_export.families.decoder.fields import DECODER_FIELDS
from embedge_export.families.modernbert.fields import MODERNBERT_FIELDS
from embedge_export.families.register import family_of
from embedge_export.head.head import Head
from embedge_export.reading.fields import Only, Unused, Used
from embedge_export.tensors.checkpoint import open_weights

# transformers' folder and its network's table.
TABLES = {
    "qwen3": DECODER_FIELDS["qwen3"],
    "qwen2": DECODER_FIELDS["qwen2"],
    "llama": DECODER_FIELDS["llama"],
    "eurobert": DECODER_FIELDS["eurobert"],
    "bert": BERT_FIELDS["bert"],
    "roberta": BERT_FIELDS["roberta"],
    "xlm_roberta": BERT_FIELDS["xlm-roberta"],
    "mpnet": BERT_FIELDS["mpnet"],
    "modernbert": MODERNBERT_FIELDS,
    "distilbert": BERT_FIELDS["distilbert"],
    "jina_embeddings_v3": BERT_FIELDS["jina_embeddings_v3"],
}
# What the code reads of a config that is not a field of config.json.
_METHODS = {"get_text_config", "to_dict", "sub_configs"}
DECODER_SIZE = seeded.Dimensions(
    hidden=64, layers=2, heads=4, kv_heads=2, head_dim=16, intermediate=96
)
ENCODER_SIZE = seeded.EncoderSize(hidden=64, layers=2, heads=4, intermediate=96)
IDS = np.array([5, 77, 8, 9, 120, 33, 7, 2], np.int32)


def write(name, folder):
    if name in ("qwen3", "qwen2", "llama"):
        return seeded.write_decoder(folder, name, size=DECODER_SIZE)
    if name == "eurobert":
        return seeded.write_eurobert(folder, size=DECODER_SIZE)
    if name == "modernbert":
        # In the newer spelling layer_types alone says which layers are local.
        folder = seeded.write_modernbert(folder, size=ENCODER_SIZE, window=4, newer=True)
        return change(folder, rope_parameters=None)
    if name == "jina_embeddings_v3":
        return seeded.write_v3_native(folder, size=ENCODER_SIZE)
    kind = name if name in ("bert", "distilbert", "mpnet") else "xlm-roberta"
    seeded.write_bert(folder, kind, size=ENCODER_SIZE)
    if name == "roberta":
        change(folder, model_type="roberta")
    return folder


def change(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module", params=list(TABLES))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def original(name, tmp_path_factory):
    return write(name, tmp_path_factory.mktemp("fields") / name)


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "model")


def theirs(folder):
    """transformers' hidden states of one text, or the class of the error that it raises."""
    network = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return network(torch.from_numpy(IDS[None].astype(np.int64))).last_hidden_state[0].numpy()


def read(folder):
    """Our family, record and weights of a folder, checked against each other."""
    config = json.loads((folder / "config.json").read_text())
    family = family_of(config)
    opened = family.open(folder, config, open_weights(folder), adapters={}, tasks=())
    return family, opened.config, opened.weights


def ours(folder, pooling):
    family, config, weights = read(folder)
    return family.vectors(config, weights, [IDS], head=Head(config.hidden_size, (pooling,)))[0]


def assert_same(folder):
    expected = theirs(folder)
    np.testing.assert_allclose(ours(folder, "cls"), expected[0], rtol=0, atol=2e-5)
    np.testing.assert_allclose(ours(folder, "last_token"), expected[-1], rtol=0, atol=2e-5)
    return expected


def test_every_field_of_the_class_is_in_the_table(name):
    module = import_module(f"transformers.models.{name}.configuration_{name}")
    (kind,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, PreTrainedConfig) and value.model_type
    )
    fields = {field.name for field in dataclasses.fields(kind) if not field.name.startswith("_")}
    unknown = fields - TABLES[name].keys() - {"extra_files", "extra_config_files"}
    assert not unknown, f"new fields of {kind.__name__}: say in its table what they do"


def test_every_field_that_the_code_reads_is_in_the_table(name):
    modules = [f"transformers.models.{name}.modeling_{name}", "transformers.masking_utils"]
    code = "\n".join(inspect.getsource(import_module(module)) for module in modules)
    reads = set(re.findall(r"\b(?:self\.)?config\.([a-z]\w*)", code))
    reads |= set(re.findall(r"getattr\(\s*\w*config, \"(\w+)\"", code))
    unknown = reads - TABLES[name].keys() - _METHODS
    unknown -= {"sliding_window", "layer_types"}  # masking_utils': of layers that are not written
    assert not unknown, "the code reads new fields: say in its table what they do"


def test_what_is_not_written_is_refused(name, folder):
    refused = 0
    for field, line in TABLES[name].items():
        if not isinstance(line, Only):
            continue
        others = [True, False, 0.5, 3, "something", {"0": {}}, ["sliding_attention"], None]
        for value in others:
            if any(value is allowed or (value == allowed and value) for allowed in line.allowed):
                continue
            config = json.loads((folder / "config.json").read_text())
            place = copy.deepcopy(config) | {field: value}
            (folder / "config.json").write_text(json.dumps(place))
            with pytest.raises(SourceError, match=rf"config\.json: {field} is "):
                read(folder)
            (folder / "config.json").write_text(json.dumps(config))
            refused += 1
    assert refused > 50


def test_a_seeded_model_is_as_transformers_has_it(folder):
    assert_same(folder)


TABLE_OF_HEADS = "relative_attention_num_buckets"
# Field -> another value that the same weights allow.
USED = {
    "rms_norm_eps": [0.3],
    "layer_norm_eps": [0.3],
    "norm_eps": [0.3],
    "local_attention": [2],
    "global_rope_theta": [50.0],
    "local_rope_theta": [50.0],
    "rope_theta": [50.0],
    "rope_parameters": [
        {"rope_theta": 50.0, "rope_type": "default"},
        {"rope_theta": 70, "type": "linear", "factor": 1.0},
    ],
    "max_position_embeddings": [4096],
    "layer_types": [["full_attention"] * 2],
    "head_dim": [16],
    "pad_token_id": [3, 0],
    "n_heads": [2],
    "num_attention_heads": [2],  # of an encoder, whose heads are cut from the width
}

# Of a network whose kinds of layers have positions of their own.
PER_KIND = [
    {"sliding_attention": {"rope_theta": 50.0, "rope_type": "default"}},
    {
        "full_attention": {"rope_theta": 70, "type": "linear", "factor": 1.0},
        "sliding_attention": {"rope_type": "default"},
    },
]


def test_what_is_used_is_used_as_transformers_uses_it(name, folder):
    table = TABLES[name]
    plain = theirs(folder)
    config = json.loads((folder / "config.json").read_text())
    tried = 0
    for field, values in USED.items():
        if not isinstance(table.get(field), Used):
            continue
        if field == "num_attention_heads" and {"num_key_value_heads", TABLE_OF_HEADS} & set(table):
            continue  # the weights fit one number of heads alone
        if field == "max_position_embeddings" and "rope_theta" not in table:
            continue  # the size of a table of weights
        for value in PER_KIND if name == "modernbert" and field == "rope_parameters" else values:
            changed = dict(config) | {field: value}
            if field in ("rope_theta", "rope_parameters"):
                changed = {k: v for k, v in changed.items() if k == field or "rope_" not in k}
            (folder / "config.json").write_text(json.dumps(changed))
            got = assert_same(folder)
            moved = np.abs(got - plain).max() > 1e-3
            still = {"max_position_embeddings", "layer_types", "head_dim"}
            if name == "modernbert":  # whose second layer is a local one
                still.remove("layer_types")
            assert moved == (field not in still)
            tried += 1
    assert tried


def test_what_has_no_effect_has_none(name, folder):
    """transformers' vectors stay the same, to the last bit, and ours cannot see the field."""
    plain = theirs(folder)
    config = json.loads((folder / "config.json").read_text())
    other = {
        "attention_bias": True,
        "attention_dropout": 0.5,
        "attention_probs_dropout_prob": 0.5,
        "bos_token_id": 7,
        "chunk_size_feed_forward": 4,
        "classifier_dropout": 0.5,
        "classifier_pooling": "mean",
        "dtype": "float16",
        "eos_token_id": 7,
        "hidden_dropout_prob": 0.5,
        "id2label": {"0": "a", "1": "b", "2": "c"},
        "initializer_range": 0.5,
        "label2id": {"a": 0, "b": 1, "c": 2},
        "mask_token_id": 7,
        "max_window_layers": 0,
        "num_labels": 3,
        "output_attentions": True,
        "output_hidden_states": True,
        "pad_token_id": 9,
        "position_embedding_type": "absolute",
        "pretraining_tp": 2,
        "problem_type": "regression",
        "sep_token_id": 7,
        "sliding_window": 2,
        "tie_last_hidden_states": True,
        "tie_word_embeddings": not config.get("tie_word_embeddings"),
        "torch_dtype": "float16",
        "use_cache": not config.get("use_cache"),
        "vocabulary_of_nobody": 5,  # what no table names is ignored by both
    }
    changes = {
        field: value
        for field, value in other.items()
        if isinstance(TABLES[name].get(field, Unused("")), Unused)
    }
    assert len(changes) > 15
    for field in list(changes):  # one at a time, where it may hide behind another
        if field in ("num_labels", "label2id", "output_attentions"):
            continue
        (folder / "config.json").write_text(json.dumps(config | {field: changes[field]}))
        np.testing.assert_allclose(theirs(folder), plain, rtol=0, atol=1e-6, err_msg=field)
    del changes["num_labels"]
    (folder / "config.json").write_text(json.dumps(config | changes))
    np.testing.assert_allclose(theirs(folder), plain, rtol=0, atol=1e-6)
    assert_same(folder)


@pytest.mark.parametrize("name", ["qwen3", "llama", "eurobert"], indirect=True)
def test_biases_come_with_their_flag_alone(name, folder):
    """Every flag of biases and the biases themselves: both, or neither; never one of the two."""
    flags = [f for f in ("attention_bias", "mlp_bias") if isinstance(TABLES[name].get(f), Used)]
    path = folder / "model.safetensors"
    tensors = load_file(path)
    rng = np.random.default_rng(3)
    for flag in flags:
        part = "self_attn" if flag == "attention_bias" else "mlp"
        biases = {
            key.removesuffix("weight") + "bias": rng.normal(0, 0.3, value.shape[0]).astype("f4")
            for key, value in tensors.items()
            if re.search(rf"{part}\.\w+_proj\.weight$", key)
        }
        change(folder, **{flag: True})
        with pytest.raises(SourceError, match=r"lack the tensor .*_proj\.bias"):
            read(folder)
        save_file(tensors | biases, path)
        assert_same(folder)
        change(folder, **{flag: False})
        with pytest.raises(SourceError, match=r"have a tensor .*_proj\.bias"):
            read(folder)
        save_file(tensors, path)


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_theta": 1e6, "rope_parameters": {"rope_theta": 5e5}},
        {"rope_theta": 1e6, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        {
            "rope_theta": 1e6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
        {
            "rope_scaling": {"rope_type": "default", "rope_theta": 1e6},
            "rope_parameters": {"rope_type": "linear", "factor": 2.0},
        },
        {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6}}},
        {"rope_theta": "1e6"},
        {"rope_theta": True},
        {"rope_theta": {}},
        {"rope_theta": 1e6, "rope_scaling": 5},
        {"rope_theta": 1e6, "rope_scaling": {"type": "yarn", "rope_type": "default"}},
        {"rope_theta": 1e6, "rope_parameters": {"rope_type": ["default"]}},
        {"rope_theta": 1e6, "rope_parameters": {"partial_rotary_factor": 0.5}},
        {"rope_theta": 1e6, "partial_rotary_factor": 0.5},
        {"rope_theta": float("nan")},
        {"rope_theta": 0},
        {"rope_theta": -1.0},
    ],
)
@pytest.mark.parametrize("name", ["qwen3", "llama", "eurobert"], indirect=True)
def test_two_spellings_of_rotary_positions_agree_or_are_refused(folder, spelling):
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in config.items() if "rope_" not in key}
    (folder / "config.json").write_text(json.dumps(config | spelling))
    with pytest.raises(SourceError, match=r"config\.json: (rope_|partial_)"):
        read(folder)


@pytest.mark.parametrize("name", ["qwen3", "llama", "eurobert"], indirect=True)
def test_spellings_that_agree_are_taken(folder):
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in config.items() if "rope_" not in key}
    config |= {
        "rope_theta": 500,
        "rope_parameters": {"rope_type": "default", "type": "default", "rope_theta": 500.0},
        "rope_scaling": {"type": "linear", "factor": 1, "rope_theta": 500},
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert_same(folder)


def test_the_model_types_are_transformers(name, folder):
    assert AutoConfig.from_pretrained(folder).model_type == read_type(folder)


def read_type(folder):
    return json.loads((folder / "config.json").read_text())["model_type"]
