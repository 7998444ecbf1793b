"""Merging against peft's own merge_and_unload, in the variants that adapters come in."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoTokenizer, Qwen3ForCausalLM

import seeded
from embedge_export.merged import write_merged
from embedge_export.reading.fields import Only
from embedge_export.source.folder import open_source
from embedge_export.tensors.adapter_config import ADAPTER_FIELDS
from embedge_export.tensors.checkpoint import open_weights
from embedge_export.tensors.lora import MergedWeights, load_adapter
from reference import oracle
from reference.samples import TEXTS

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# What peft is told to make. Ranks and alphas differ everywhere, so that mixing them up shows.
VARIANTS = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": ALL},
    "rslora": {"r": 4, "lora_alpha": 6, "target_modules": ALL, "use_rslora": True},
    "rank and alpha patterns": {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": ALL,
        "rank_pattern": {"q_proj": 2, "mlp.down_proj": 6, r"layers\.1\.self_attn\.k_proj": 3},
        "alpha_pattern": {"v_proj": 16, r"layers\.0\.mlp\.up_proj": 5, r"layers.2.*gate_proj": 3},
    },
    "patterns that overlap": {  # the first of the saved file counts, and peft sorts it
        "r": 4,
        "lora_alpha": 6,
        "target_modules": ALL,
        "alpha_pattern": {r".*\.(q|k)_proj": 9, "q_proj": 11, "layers.0.self_attn.q_proj": 7},
    },
    "rslora with patterns": {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": ALL,
        "use_rslora": True,
        "rank_pattern": {"o_proj": 8},
        "alpha_pattern": {"o_proj": 3},
    },
    "some modules": {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "mlp.up_proj"]},
    "regular expression": {"r": 3, "lora_alpha": 5, "target_modules": r".*\.[02]\..*(k|down)_proj"},
    "all-linear": {"r": 3, "lora_alpha": 5, "target_modules": "all-linear"},
    "some layers": {
        "r": 3,
        "lora_alpha": 5,
        "target_modules": ALL,
        "layers_to_transform": [0, 2],
        "layers_pattern": ["layers"],
    },
    "one layer, named": {
        "r": 3,
        "lora_alpha": 5,
        "target_modules": ALL,
        "layers_to_transform": 1,
        "layers_pattern": "layers",
    },
    "a whole name beside some layers": {
        "r": 3,
        "lora_alpha": 5,
        "target_modules": [
            "q_proj",
            "layers.0.self_attn.k_proj",
            "model.layers.0.self_attn.k_proj",
        ],
        "layers_to_transform": [1],
        "layers_pattern": "layers",
    },
    "all but some": {
        "r": 3,
        "lora_alpha": 5,
        "target_modules": ALL,
        "exclude_modules": ["o_proj", "layers.1.mlp.up_proj"],
    },
}


@pytest.fixture(scope="module")
def source(sources):
    return seeded.write_v5_text_small(sources / "lora")


@pytest.fixture(params=["plain network", "causal language model"])
def network(request, source):
    """What adapters are trained on: with a head on top, every module's name gets a "model."."""
    plain = oracle.open_v5(source, adapters=False)
    if request.param == "plain network":
        return plain
    whole = Qwen3ForCausalLM(plain.config).float().eval()
    whole.model = plain
    whole.tie_weights()
    return whole


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_merged_weights_are_those_of_peft(source, network, variant, tmp_path, figures):
    adapter = make_adapter(copy.deepcopy(network), VARIANTS[variant], tmp_path)
    before = body(network)
    expected = body(PeftModel.from_pretrained(network, adapter).merge_and_unload())
    base = open_weights(source)
    merged = MergedWeights(base, load_adapter(adapter, base))
    assert set(merged.keys()) == set(expected)
    changed = 0
    for key, value in expected.items():
        difference = np.abs(merged.read(key) - value).max()
        figures("merged weights against peft", 1.0, float(difference))
        assert difference <= 1e-6, key
        moved = not np.array_equal(value, before[key])
        assert moved == merged.touches(key), key
        changed += moved
    assert changed


def make_adapter(network, options, folder):
    """An adapter that peft makes, fills with noise, and saves."""
    torch.manual_seed(0)
    model = get_peft_model(network, LoraConfig(**options))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def body(network):
    """Weights by the plain network's names, without a head."""
    return {
        key.removeprefix("model."): value.numpy().copy()
        for key, value in network.state_dict().items()
        if key != "lm_head.weight"
    }


@pytest.fixture(scope="module")
def merged(source, sources):
    write_merged(open_source(source), sources / "lora-merged")
    return sources / "lora-merged"


def document_vectors(network, tokenizer):
    return oracle.cut(oracle.encode(network, tokenizer, TEXTS, prompt="Document: "))


@pytest.mark.parametrize("task", seeded.TASKS)
def test_merged_folder_loads_in_transformers(source, merged, task, figures):
    """A plain Qwen3Model, no code of its own; the same vectors, but for rounding to bfloat16."""
    network, info = AutoModel.from_pretrained(
        merged / task, dtype=torch.float32, output_loading_info=True
    )
    assert type(network).__name__ == "Qwen3Model"
    assert not any(info.values()), info
    adapted = oracle.open_v5(source)
    adapted.set_adapter(task)
    tokenizer = oracle.open_tokenizer(merged / task)
    got = document_vectors(network.eval(), tokenizer)
    expected = document_vectors(adapted, oracle.open_tokenizer(source))
    cosine, difference = oracle.agreement(got, expected)
    figures("merged folder in transformers", cosine, difference)
    assert cosine >= 0.9999
    # The merge itself is exact: peft's merged weights, rounded alike, give the same vectors.
    plain = adapted.merge_and_unload()
    for parameter in plain.parameters():
        parameter.data = parameter.data.bfloat16().float()
    cosine, _ = oracle.agreement(got, document_vectors(plain, tokenizer))
    assert cosine >= 0.999999


def test_merged_tokenizer_is_found(merged):
    tokenizer = AutoTokenizer.from_pretrained(merged / "retrieval")
    expected = oracle.open_tokenizer(merged / "retrieval")
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == expected(text)["input_ids"]
    assert tokenizer.pad_token == "<|endoftext|>"


def test_merged_source_without_adapters(sources):
    """A plain decoder merges to itself, bit for bit."""
    plain = seeded.write_decoder(sources / "merge-plain", "qwen3")
    (folder,) = write_merged(open_source(plain), sources / "merge-plain-out")
    expected = oracle.open_decoder(plain).state_dict()
    got = oracle.open_decoder(folder).state_dict()
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[key], expected[key]) for key in expected)


def test_sentence_transformers_loads_it(source, merged):
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(
        str(merged / "retrieval"), device="cpu", model_kwargs={"dtype": torch.float32}
    )
    adapted = oracle.open_v5(source)
    adapted.set_adapter("retrieval")
    tokenizer = oracle.open_tokenizer(source)
    for name, prompt in oracle.PROMPTS.items():
        got = model.encode(list(TEXTS), prompt_name=name)
        expected = oracle.cut(oracle.encode(adapted, tokenizer, TEXTS, prompt=prompt))
        assert oracle.agreement(got, expected)[0] >= 0.9999
    assert model.get_max_seq_length() == open_source(merged / "retrieval").max_length


def test_a_merged_folder_is_a_source(merged):
    """And says of prompts and pooling what its own source said."""
    opened = open_source(merged / "clustering")
    assert opened.tasks == ("base",)
    assert dict(opened.prompts) == oracle.PROMPTS
    assert opened.default_prompt == "document"
    assert opened.head.pooling == "last_token"
    assert opened.config["model_type"] == "qwen3"
    assert "auto_map" not in opened.config


def test_every_field_of_the_class_is_in_the_table():
    fields = {field.name for field in dataclasses.fields(LoraConfig)}
    assert not fields - ADAPTER_FIELDS.keys(), "new fields of LoraConfig: say what they do"


def test_what_is_off_by_default_is_allowed_and_nothing_else_is():
    """The table's allowed values are the class's own defaults."""
    for field in dataclasses.fields(LoraConfig):
        line = ADAPTER_FIELDS[field.name]
        if isinstance(line, Only) and field.name != "peft_type":
            assert field.default in line.allowed, field.name
