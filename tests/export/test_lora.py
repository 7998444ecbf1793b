"""Merging LoRA adapters: against the formula written out, and every refusal."""

import contextlib
import json
import re
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import seeded
from embedge.errors import AdapterError, SourceError
from embedge_export.tensors.checkpoint import open_weights
from embedge_export.tensors.lora import MergedWeights, load_adapter

Q = "layers.0.self_attn.q_proj.weight"
A = "base_model.model.layers.0.self_attn.q_proj.lora_A.weight"
B = "base_model.model.layers.0.self_attn.q_proj.lora_B.weight"
DOWN = "layers.2.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return seeded.write_v5_text_small(tmp_path_factory.mktemp("lora") / "model")


@pytest.fixture
def base(model):
    return open_weights(model)


@pytest.fixture
def folder(model, tmp_path):
    """A copy of one adapter, to be changed."""
    return shutil.copytree(model / "adapters" / "retrieval", tmp_path / "retrieval")


def set_config(folder, **fields):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def edit_tensors(folder, edit):
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    edited = edit(tensors)
    save_file(tensors if edited is None else edited, path)


def tensors_of(folder):
    tensors = load_file(folder / "adapter_model.safetensors")
    return {key: value.astype(np.float32) for key, value in tensors.items()}


def by_hand(base, folder, key, scaling):
    """W + (B A) s, one product at a time, in float64."""
    module = f"base_model.model.{key.removesuffix('.weight')}"
    tensors = tensors_of(folder)
    a = tensors[f"{module}.lora_A.weight"].astype(np.float64)
    b = tensors[f"{module}.lora_B.weight"].astype(np.float64)
    delta = np.zeros(base.shape(key))
    for rank in range(a.shape[0]):
        delta += np.outer(b[:, rank], a[rank])
    return base.read(key) + scaling * delta


def test_merge_is_the_formula(model, base, folder):
    adapter = load_adapter(folder, base)
    merged = MergedWeights(base, adapter)
    assert adapter.name == "retrieval"
    assert len(adapter.adapted) == 7 * 3
    for key in adapter.adapted:
        value = merged.read(key)
        assert value.dtype == np.float32
        assert value.flags.c_contiguous
        np.testing.assert_allclose(value, by_hand(base, folder, key, 1.0), rtol=1e-5, atol=1e-7)
        assert np.abs(value - base.read(key)).max() > 1e-4  # it does change


def test_what_is_not_touched_is_the_base_bit_for_bit(base, folder):
    merged = MergedWeights(base, load_adapter(folder, base))
    assert set(merged.keys()) == set(base.keys())
    untouched = [key for key in base.keys() if not merged.touches(key)]  # noqa: SIM118
    assert "embed_tokens.weight" in untouched
    assert "layers.0.self_attn.q_norm.weight" in untouched
    for key in untouched:
        assert merged.read(key).tobytes() == base.read(key).tobytes()
        assert merged.shape(key) == base.shape(key)


def test_without_an_adapter_everything_is_the_base(base):
    merged = MergedWeights(base, None)
    assert not merged.touches(Q)
    assert Q in merged
    assert merged.read(Q).tobytes() == base.read(Q).tobytes()


def test_reading_twice_does_not_merge_twice(base, folder):
    merged = MergedWeights(base, load_adapter(folder, base))
    assert merged.read(Q).tobytes() == merged.read(Q).tobytes()


def test_an_adapter_on_a_prefixed_checkpoint_is_the_same(tmp_path, model, folder, base):
    other = seeded.write_v5_text_small(tmp_path / "prefixed", prefix="model.")

    def prefix(tensors):  # as trained on a causal language model
        return {
            key.replace("base_model.model.", "base_model.model.model."): value
            for key, value in tensors.items()
        }

    expected = MergedWeights(base, load_adapter(folder, base)).read(DOWN)
    edit_tensors(folder, prefix)
    weights = open_weights(other)
    got = MergedWeights(weights, load_adapter(folder, weights)).read(DOWN)
    assert got.tobytes() == expected.tobytes()


def test_names_with_default_are_the_same_tensors(base, folder):
    expected = MergedWeights(base, load_adapter(folder, base)).read(Q)
    edit_tensors(
        folder, lambda t: {k.replace(".weight", ".default.weight"): v for k, v in t.items()}
    )
    assert MergedWeights(base, load_adapter(folder, base)).read(Q).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_adapters_of_other_dtypes(base, folder, dtype):
    edit_tensors(folder, lambda t: {key: value.astype(dtype) for key, value in t.items()})
    merged = MergedWeights(base, load_adapter(folder, base))
    np.testing.assert_allclose(merged.read(Q), by_hand(base, folder, Q, 1.0), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("fields", "scaling_q", "scaling_down"),
    [
        ({"lora_alpha": 8}, 2, 2),  # rank 4
        ({"lora_alpha": 1.5}, 0.375, 0.375),
        ({"lora_alpha": 8, "use_rslora": True}, 4, 4),  # 8 / sqrt(4)
        ({"alpha_pattern": {"down_proj": 12}}, 1, 3),
        ({"alpha_pattern": {r"layers\.0\..*": 12}}, 3, 1),
        ({"alpha_pattern": {"own_proj": 12}}, 1, 1),  # ends of names count from a dot on
        ({"alpha_pattern": {r".*own_proj": 12}}, 1, 3),
        ({"alpha_pattern": {"q_proj": 8, r".*_proj": 12}}, 2, 3),  # the first match decides
        ({"alpha_pattern": {"q_proj.*": 8}, "use_rslora": True}, 4, 2),
        ({"alpha_pattern": {"^layers.0.self_attn.q_proj": 8}}, 2, 1),
    ],
)
def test_scaling(base, folder, fields, scaling_q, scaling_down):
    set_config(folder, **fields)
    merged = MergedWeights(base, load_adapter(folder, base))
    for key, scaling in ((Q, scaling_q), (DOWN, scaling_down)):
        np.testing.assert_allclose(
            merged.read(key), by_hand(base, folder, key, scaling), rtol=1e-5, atol=1e-6
        )


def test_rank_pattern(base, folder):
    def widen(tensors):
        tensors[A] = np.concatenate([tensors[A]] * 2)
        tensors[B] = np.concatenate([tensors[B]] * 2, axis=1)

    edit_tensors(folder, widen)
    set_config(folder, rank_pattern={"layers.0.self_attn.q_proj": 8})
    merged = MergedWeights(base, load_adapter(folder, base))
    np.testing.assert_allclose(merged.read(Q), by_hand(base, folder, Q, 4 / 8), rtol=1e-5)
    np.testing.assert_allclose(merged.read(DOWN), by_hand(base, folder, DOWN, 1), rtol=1e-5)


def only(*parts):
    return lambda tensors: {
        key: value for key, value in tensors.items() if any(part in key for part in parts)
    }


@pytest.mark.parametrize(
    ("targets", "kept", "extra"),
    [
        (["q_proj", "v_proj"], ("q_proj", "v_proj"), {}),
        (["layers.1.mlp.up_proj"], ("layers.1.mlp.up_proj",), {}),
        (r".*\.(q|k)_proj", ("q_proj", "k_proj"), {}),
        ("all-linear", ("_proj",), {}),
        (["q_proj", "v_proj"], ("q_proj",), {"exclude_modules": ["v_proj"]}),
        (["q_proj", "v_proj"], ("q_proj",), {"exclude_modules": r".*v_proj"}),
        (["q_proj"], ("layers.1.self_attn.q_proj",), {"layers_to_transform": [1]}),
        (["q_proj"], ("layers.1.self_attn.q_proj",), {"layers_to_transform": 1}),
        (
            ["q_proj"],
            ("layers.2.self_attn.q_proj",),
            {"layers_to_transform": [2], "layers_pattern": "layers"},
        ),
    ],
)
def test_targets_as_peft_names_them(base, folder, targets, kept, extra):
    set_config(folder, target_modules=targets, **extra)
    edit_tensors(folder, only(*kept))
    adapter = load_adapter(folder, base)
    assert adapter.adapted
    assert all(any(part in key for part in kept) for key in adapter.adapted)
    # One pair fewer, and it is half an adapter.
    lost = max(adapter.adapted).removesuffix("weight")
    edit_tensors(folder, lambda t: {k: v for k, v in t.items() if lost not in k})
    with pytest.raises(AdapterError, match=rf"no tensors for '{lost}weight'.*half an adapter"):
        load_adapter(folder, base)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "LOHA"),
        ("peft_type", None),
        ("use_dora", True),
        ("modules_to_save", ["norm"]),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("lora_bias", True),
        ("fan_in_fan_out", True),
        ("megatron_config", {"tp": 2}),
        ("layer_replication", [[0, 2]]),
        ("target_parameters", ["mlp.experts.gate_up_proj"]),
        ("alora_invocation_tokens", [1, 2]),
        ("use_qalora", True),
        ("trainable_token_indices", [7]),
        ("use_bdlora", {"x": 1}),
        ("a_feature_of_next_year", 1),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "loftq"),
        ("r", 0),
        ("r", "4"),
        ("r", 4.5),
        ("r", True),
        ("lora_alpha", None),
        ("lora_alpha", float("nan")),
        ("rank_pattern", {"q_proj": "8"}),
        ("alpha_pattern", [1]),
        ("alpha_pattern", {"(": 1}),
        ("target_modules", None),
        ("target_modules", [1]),
        ("target_modules", "("),
        ("exclude_modules", 5),
        ("layers_to_transform", "0"),
        ("layers_pattern", [0]),
        ("layers_pattern", "(a+)+"),
        ("layers_to_transform", True),
        ("layers_to_transform", [1.0]),
        ("use_rslora", "yes"),
        ("rank_pattern", {"q_proj": 4.5}),
        ("rank_pattern", {"(?=q)": 4}),
        ("rank_pattern", {"(": 4}),
        ("alpha_pattern", {"q_proj": float("inf")}),
        ("lora_alpha", 1e300),
        ("target_modules", "a{99999999999}"),
        ("arrow_config", {"top_k": 1}),
        ("kasa_config", {"x": 1}),
        ("velora_config", {"rank": 1}),
        ("monteclora_config", {"x": 1}),
        ("init_lora_weights", "mica"),
        ("init_lora_weights", "lora_ga"),
        ("init_lora_weights", "PISSA"),
        ("init_lora_weights", []),
    ],
)
def test_what_cannot_be_reproduced_is_refused_by_field_and_value(base, folder, field, value):
    set_config(folder, **{field: value})
    with pytest.raises(AdapterError, match=rf"{field} is {re.escape(repr(value))}"):
        load_adapter(folder, base)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lora_dropout", 0.5),
        ("init_lora_weights", True),
        ("init_lora_weights", False),
        ("inference_mode", False),
        ("base_model_name_or_path", "someone/else"),
        ("runtime_config", {"ephemeral_gpu_offload": False}),
        ("a_feature_of_next_year", False),
        ("a_feature_of_next_year", None),
    ],
)
def test_what_changes_nothing_is_accepted(base, folder, field, value):
    set_config(folder, **{field: value})
    load_adapter(folder, base)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != B}, "lora_B for"),
        (lambda t: {k: v for k, v in t.items() if k != A}, "lora_A for"),
        (lambda t: {k: v for k, v in t.items() if k not in (A, B)}, "no tensors for"),
        (lambda t: t.update({A: t[A][:2]}), r"lora_A\.weight' has shape \(2, 64\)"),
        (lambda t: t.update({B: t[B][:5].copy()}), r"lora_B\.weight' has shape \(5, 4\)"),
        (lambda t: t.update({A: t[B], B: t[A]}), "has shape"),
        (lambda t: t.update({"base_model.model.norm.weight": t[A][0].copy()}), "would be lost"),
        (lambda t: t.update({A.replace("A.weight", "A.bias"): t[A]}), "would be lost"),
        (lambda t: t.update({A.replace("lora_A", "lora_magnitude_vector"): t[A]}), "would be lost"),
        (
            lambda t: t.update({"base_model.model.embed_tokens.lora_embedding_A": t[A]}),
            "lora_embedding_A' is not",
        ),
        (lambda t: t.update({A.replace("layers.0", "layers.9"): t[A]}), "does not have"),
        (lambda t: t.update({A.replace("q_proj", "q_norm"): t[A]}), "is missing"),
        (
            lambda t: t.update(
                {A.replace("q_proj", "q_norm"): t[A], B.replace("q_proj", "q_norm"): t[B]}
            ),
            "not that of a linear",
        ),
        (lambda t: t.update({A.replace(".weight", ".default.weight"): t[A]}), "lora_A twice"),
        (lambda t: t.update({A: t[A].astype(np.float64)}), "has dtype F64"),
        (lambda t: t.update({A: t[A].astype(np.int64)}), "dtype I64"),
    ],
)
def test_tensors_that_do_not_fit_are_named(base, folder, edit, message):
    edit_tensors(folder, edit)
    with pytest.raises(AdapterError, match=message):
        load_adapter(folder, base)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [A, B])
def test_values_that_are_not_finite(base, folder, name, poison):
    def spoil(tensors):
        tensors[name] = tensors[name].copy()
        tensors[name][-1, -1] = ml_dtypes.bfloat16(poison)

    edit_tensors(folder, spoil)
    with pytest.raises(AdapterError, match=rf"{re.escape(name)}' holds NaN or infinity"):
        load_adapter(folder, base)


def test_an_adapter_of_nothing(base, folder):
    edit_tensors(folder, lambda t: {"x": np.zeros(1, np.float32)})
    with pytest.raises(AdapterError, match="'x' is not a lora_A"):
        load_adapter(folder, base)
    save_file({}, folder / "adapter_model.safetensors")
    set_config(folder, target_modules=["no_such_module"])
    with pytest.raises(AdapterError, match="adapts nothing"):
        load_adapter(folder, base)


def test_pickle_is_never_read(base, folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"adapter_model\.bin is pickle.*save_pretrained"):
        load_adapter(folder, base)


def test_missing_files(base, folder, tmp_path):
    (folder / "adapter_config.json").unlink()
    with pytest.raises(AdapterError, match=r"no adapter_config\.json"):
        load_adapter(folder, base)
    with pytest.raises(SourceError, match=r"no adapter_config\.json"):
        load_adapter(tmp_path / "nowhere", base)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"LORA"', "\x00", "[" * 100_000])
def test_a_configuration_that_is_none(base, folder, text):
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(AdapterError, match=r"adapter_config\.json is not"):
        load_adapter(folder, base)


def test_tensors_that_the_configuration_does_not_name_are_refused(base, folder):
    """peft leaves such tensors out without a word, so merging them gives other vectors."""
    set_config(folder, target_modules=["q_proj", "k_proj"])
    with pytest.raises(AdapterError, match=r"which adapter_config\.json does not name"):
        load_adapter(folder, base)
    set_config(folder, target_modules="all-linear", exclude_modules=["layers.1.mlp.up_proj"])
    with pytest.raises(AdapterError, match=r"'layers\.1\.mlp\.up_proj\.weight', .* leaves out"):
        load_adapter(folder, base)


def test_a_whole_name_is_meant_in_whichever_layer_it_is(base, folder):
    """As peft has it: layers_to_transform is for the ends of names alone."""
    set_config(
        folder,
        target_modules=["q_proj", "layers.0.self_attn.k_proj"],
        layers_to_transform=[1],
        layers_pattern="layers",
    )
    edit_tensors(folder, only("layers.1.self_attn.q_proj", "layers.0.self_attn.k_proj"))
    assert len(load_adapter(folder, base).adapted) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"rank_pattern": {"(([a-z_.0-9])+)+X": 4}},
        {"alpha_pattern": {"(a|a)*b" * 30: 4}},
        {"target_modules": "(.*a){25}"},
        {"target_modules": "(.*)" * 100 + "X"},
        {"exclude_modules": "(.|.)" * 100},
        {"target_modules": "(" * 2000 + ")" * 2000},
        {"rank_pattern": {"(.*a){25}" + str(n): 4 for n in range(100)}},
        {"layers_pattern": "(.*)*", "layers_to_transform": [1]},
    ],
)
def test_patterns_that_keep_pythons_own_busy_for_ever(base, folder, fields, monkeypatch):
    """Counted, not timed: no text of an adapter ever reaches Python's backtracking matcher."""
    set_config(folder, **fields)
    for name in ("compile", "match", "fullmatch"):
        original = getattr(re, name)

        def guarded(pattern, *rest, original=original):
            text = pattern if isinstance(pattern, str) else pattern.pattern
            assert not re.search(r"\.\*a|\.\*\)|\+\)\+|a\|a|\.\|\.", text), text
            return original(pattern, *rest)

        monkeypatch.setattr(re, name, guarded)
    with contextlib.suppress(AdapterError):
        load_adapter(folder, base)
