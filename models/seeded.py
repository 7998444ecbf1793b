"""Seeded random models in the exact layouts of real ones: for tests, the demo and benchmarks.

Takes a folder, a kind of model, a size and a seed. Writes what the model's repository holds
(config, bfloat16 safetensors, task adapters, tokenizer, Sentence Transformers files), so that what
reads a real model reads these. Their vectors mean nothing; their shapes, file names, norms and, on
request, activation outliers are those of the real thing. The same arguments give the same weights,
however they are cut into shards. It knows nothing of embedge.

    python models/seeded.py FOLDER --model v5-text-small --size demo --seed 0
"""

import argparse
import dataclasses
import json
import math
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TASKS = ("retrieval", "text-matching", "clustering", "classification")
_PROMPTS = {"query": "Query: ", "document": "Document: "}
_INSTRUCTION = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
_QWEN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_NANO_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|mask|>",
    "<|parallel_sep|>",
    "<|pad|>",
)
# Qwen's own cut into words; transformers builds it anew from the class name, so it must be this.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SENTENCES = (
    "How fast does light travel in a vacuum?",
    "In a vacuum, light travels 299,792,458 metres every second - a universal constant of nature.",
    "Which planet is known as the Red Planet?",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Jupiter, the largest planet in our solar system, has a prominent red spot.",
    "The quick brown fox jumps over the lazy dog near the river bank.",
    "Query: what is the difference between a list and a tuple in Python?",
    "Document: Photosynthesis turns sunlight, water and carbon dioxide into sugar and oxygen.",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "La lumière voyage très vite dans le vide, plus vite que tout le reste.",
    "El planeta rojo es el cuarto planeta del sistema solar.",
    "光在真空中的速度是每秒二十九万九千七百九十二公里。",
    "火星は太陽系の第四惑星で、赤い惑星として知られている。",
    "Свет в вакууме движется быстрее всего на свете.",
    "الضوء أسرع شيء في الكون.",
    "def encode(texts, *, task=None): return [vector for vector in model(texts)]",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """Sizes of a network."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int | None = None  # None: as many as the tokenizer has
    rank: int = 4  # of the adapters, where there are any


def _sizes(vocab: int, full: Dimensions, *, kv: int, head_dim: int, wide: int) -> dict[str, Any]:
    """The named sizes of one network: `kv` of 4 heads, `head_dim` of tiny, MLP `wide` of demo."""
    tiny = Dimensions(hidden=64, layers=3, heads=4, kv_heads=kv, head_dim=head_dim, intermediate=96)
    # Where the query is wider than the hidden state (tiny: 4 * 32 > 64), it is so in demo too.
    heads = 4 * (4 * head_dim // 64)
    demo = Dimensions(
        hidden=256,
        layers=6,
        heads=heads,
        kv_heads=heads * kv // 4,
        head_dim=64,
        intermediate=wide,
        vocab=vocab,
        rank=32,
    )
    return {"tiny": tiny, "demo": demo, "full": full}


def _full(
    hidden: int, layers: int, heads: int, kv: int, head_dim: int, mlp: int, vocab: int
) -> Dimensions:
    return Dimensions(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv,
        head_dim=head_dim,
        intermediate=mlp,
        vocab=vocab,
        rank=32,
    )


_QWEN3 = _full(1024, 28, 16, 8, 128, 3072, 151936)
SIZES: Mapping[str, Mapping[str, Dimensions]] = {
    "v5-text-small": _sizes(151936, _QWEN3, kv=2, head_dim=32, wide=768),
    "v5-text-nano": _sizes(
        128256, _full(768, 12, 12, 12, 64, 3072, 128256), kv=4, head_dim=16, wide=1024
    ),
    "qwen3": _sizes(151936, _QWEN3, kv=2, head_dim=32, wide=768),
    "qwen2": _sizes(151936, _full(896, 24, 14, 2, 64, 4864, 151936), kv=2, head_dim=16, wide=768),
    "llama": _sizes(49152, _full(576, 30, 9, 3, 64, 1536, 49152), kv=2, head_dim=16, wide=768),
}


def write_v5_text_small(
    folder: Path,
    *,
    size: str | Dimensions = "tiny",
    tokenizer: Path | None = None,
    seed: int = 0,
    shards: int = 1,
    prefix: str = "",
    outliers: bool = False,
) -> Path:
    """Writes jina-embeddings-v5-text-small's layout: Qwen3, causal, four LoRA adapters.

    Args:
        folder: Must not exist; appears when all of it is written.
        size: "tiny", "demo", "full", or sizes of one's own.
        tokenizer: A tokenizer.json to copy; a small byte-level BPE is made unless given.
        seed: Of every weight.
        shards: Weight files.
        prefix: Put before every weight's key ("model.", as some checkpoints have it).
        outliers: Give the network the few enormous activations that real decoders have.

    Returns:
        `folder`.
    """
    dims, name = _dimensions("v5-text-small", size)
    with _staged(folder) as part:
        ids = _write_tokenizer(part, tokenizer, _QWEN_TOKENS, close=None)
        dims = _with_vocabulary(dims, ids)
        config = _v5_config(dims) | {
            "head_dim": dims.head_dim,
            "vocab_size": dims.vocab,
            "max_position_embeddings": 32768,
            "max_window_layers": dims.layers,
            "sliding_window": None,
            "use_sliding_window": False,
            "rms_norm_eps": 1e-06,
            "rope_theta": 3500000,
            "tie_word_embeddings": True,
            "use_cache": True,
            "bos_token_id": ids.get("<|endoftext|>"),
            "eos_token_id": ids.get("<|im_end|>"),
            "torch_dtype": "bfloat16",
            "transformers_version": "4.51.0",
        }
        _write_json(part / "config.json", config)
        _write_json(
            part / "tokenizer_config.json",
            _tokenizer_config(
                "Qwen2Tokenizer", eos="<|im_end|>", pad="<|endoftext|>", limit=131072
            ),
        )
        _write_v5_files(part, f"jina-embeddings-v5-text-small-{name}")
        plan = _plan(dims, qk_norm=True)
        _write_weights(part, plan, dims, seed=seed, shards=shards, prefix=prefix, outliers=outliers)
        _write_adapters(part, plan, dims, "jinaai/jina-embeddings-v5-text-small", seed)
    return folder


def write_v5_text_nano(
    folder: Path,
    *,
    size: str | Dimensions = "tiny",
    tokenizer: Path | None = None,
    seed: int = 0,
    shards: int = 1,
    prefix: str = "",
    outliers: bool = False,
) -> Path:
    """Writes jina-embeddings-v5-text-nano's layout: EuroBERT, bidirectional, four LoRA adapters.

    Its tokenizer appends <|end_of_text|> and pads with <|pad|>, while config.json says otherwise.
    Arguments as of `write_v5_text_small`.
    """
    dims, name = _dimensions("v5-text-nano", size)
    with _staged(folder) as part:
        ids = _write_tokenizer(part, tokenizer, _NANO_TOKENS, close="<|end_of_text|>")
        dims = _with_vocabulary(dims, ids)
        config = _v5_config(dims) | {
            "is_decoder": False,
            "vocab_size": dims.vocab,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000,
            "tie_word_embeddings": False,
            "bos_token": "<|begin_of_text|>",
            "bos_token_id": ids.get("<|begin_of_text|>"),
            "eos_token": "<|end_of_text|>",
            "eos_token_id": ids.get("<|end_of_text|>"),
            "mask_token": "<|mask|>",
            "mask_token_id": ids.get("<|mask|>"),
            "pad_token": "<|end_of_text|>",
            "pad_token_id": ids.get("<|end_of_text|>"),
            "pretraining_tp": 1,
            "torch_dtype": "float32",
            "transformers_version": "4.40.0.dev0",
        }
        _write_json(part / "config.json", config)
        _write_json(
            part / "tokenizer_config.json",
            _tokenizer_config(
                "PreTrainedTokenizerFast", eos="<|end_of_text|>", pad="<|pad|>", limit=int(1e30)
            ),
        )
        _write_json(part / "special_tokens_map.json", {"pad_token": {"content": "<|pad|>"}})
        _write_v5_files(part, f"jina-embeddings-v5-text-nano-{name}")
        plan = _plan(dims)
        _write_weights(part, plan, dims, seed=seed, shards=shards, prefix=prefix, outliers=outliers)
        _write_adapters(part, plan, dims, "jinaai/jina-embeddings-v5-text-nano", seed)
    return folder


def write_decoder(
    folder: Path,
    model_type: str = "qwen3",
    *,
    size: str | Dimensions = "tiny",
    tokenizer: Path | None = None,
    seed: int = 0,
    shards: int = 1,
    prefix: str | None = None,
    outliers: bool = False,
) -> Path:
    """Writes a decoder without adapters; other arguments as of `write_v5_text_small`.

    - "qwen3": Qwen3-Embedding's layout. The tokenizer appends <|endoftext|>; last-token pooling
      and prompts stand in Sentence Transformers files; keys without prefix.
    - "qwen2": biases on q, k and v; `rope_theta`; keys with "model.".
    - "llama": SmolLM2's layout. `rope_parameters` in place of `rope_theta`; keys with "model.".

    All have a tied table and no `lm_head`; the last two no Sentence Transformers files.
    """
    dims, name = _dimensions(model_type, size)
    with _staged(folder) as part:
        closing = "<|endoftext|>" if model_type == "qwen3" else None
        ids = _write_tokenizer(part, tokenizer, _QWEN_TOKENS, close=closing)
        dims = _with_vocabulary(dims, ids)
        _write_json(part / "config.json", _decoder_config(model_type, dims, ids))
        pad = None if model_type == "llama" else "<|endoftext|>"
        kind = "PreTrainedTokenizerFast" if model_type == "llama" else "Qwen2Tokenizer"
        _write_json(
            part / "tokenizer_config.json",
            _tokenizer_config(kind, eos="<|endoftext|>", pad=pad, limit=131072),
        )
        if model_type == "qwen3":
            prompts = {"query": _INSTRUCTION, "document": ""}
            _write_sentence_transformers(part, prompts, None)
            types = ("Transformer", "Pooling", "Normalize")
            _write_modules(part, [f"sentence_transformers.models.{kind}" for kind in types])
            (part / "1_Pooling").mkdir()
            _write_json(
                part / "1_Pooling" / "config.json",
                {
                    "word_embedding_dimension": dims.hidden,
                    "pooling_mode_cls_token": False,
                    "pooling_mode_mean_tokens": False,
                    "pooling_mode_max_tokens": False,
                    "pooling_mode_lasttoken": True,
                    "include_prompt": True,
                },
            )
        _write_card(part, f"{model_type}-{name}")
        if prefix is None:
            prefix = "" if model_type == "qwen3" else "model."
        plan = _plan(dims, qk_norm=model_type == "qwen3", qkv_bias=model_type == "qwen2")
        _write_weights(part, plan, dims, seed=seed, shards=shards, prefix=prefix, outliers=outliers)
    return folder


def _decoder_config(model_type: str, dims: Dimensions, ids: Mapping[str, int]) -> dict[str, Any]:
    classes = {"qwen3": "Qwen3", "qwen2": "Qwen2", "llama": "Llama"}
    config = _network_config(dims) | {
        "architectures": [f"{classes[model_type]}ForCausalLM"],
        "model_type": model_type,
        "vocab_size": dims.vocab,
        "max_position_embeddings": 8192 if model_type == "llama" else 32768,
        "rms_norm_eps": 1e-05 if model_type == "llama" else 1e-06,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": ids.get("<|endoftext|>"),
        "eos_token_id": ids.get("<|endoftext|>"),
        "torch_dtype": "bfloat16",
    }
    if model_type == "llama":
        config["rope_parameters"] = {"rope_theta": 100000, "rope_type": "default"}
        return config
    config |= {"max_window_layers": dims.layers, "sliding_window": None}
    config |= {"use_sliding_window": False, "rope_theta": 1000000, "rope_scaling": None}
    if model_type == "qwen3":
        config["head_dim"] = dims.head_dim
    return config


def _network_config(dims: Dimensions) -> dict[str, Any]:
    return {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": dims.hidden,
        "initializer_range": 0.02,
        "intermediate_size": dims.intermediate,
        "num_attention_heads": dims.heads,
        "num_hidden_layers": dims.layers,
        "num_key_value_heads": dims.kv_heads,
    }


def _v5_config(dims: Dimensions) -> dict[str, Any]:
    return _network_config(dims) | {
        "architectures": ["JinaEmbeddingsV5Model"],
        "auto_map": {
            "AutoConfig": "configuration_jina_embeddings_v5.JinaEmbeddingsV5Config",
            "AutoModel": "modeling_jina_embeddings_v5.JinaEmbeddingsV5Model",
        },
        "model_type": "jina_embeddings_v5",
        "rope_scaling": None,
        "task_names": list(TASKS),
    }


# Weights: key -> (shape, spread). A 1-D tensor ending in "norm.weight" is a gain around 1.
Plan = Mapping[str, tuple[tuple[int, ...], float]]


def _plan(dims: Dimensions, *, qk_norm: bool = False, qkv_bias: bool = False) -> Plan:
    """Every tensor of the network, in the checkpoint's order.

    A spread of 0.64 / sqrt(width) is the usual 0.02 at width 1024. What writes to the residual
    stream is smaller by sqrt(2 * layers), so that it neither explodes nor drowns the tokens.
    """
    assert dims.vocab is not None
    reads = 0.64 / dims.hidden**0.5
    depth = (2 * dims.layers) ** 0.5
    query, key = dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim
    plan: dict[str, tuple[tuple[int, ...], float]] = {
        "embed_tokens.weight": ((dims.vocab, dims.hidden), 0.1)
    }
    for layer in range(dims.layers):
        at, mlp = f"layers.{layer}.self_attn.", f"layers.{layer}.mlp."
        plan[f"layers.{layer}.input_layernorm.weight"] = ((dims.hidden,), 0.3)
        for name, width in (("q", query), ("k", key), ("v", key)):
            plan[f"{at}{name}_proj.weight"] = ((width, dims.hidden), reads)
            if qkv_bias:
                plan[f"{at}{name}_proj.bias"] = ((width,), 0.3)
            if qk_norm and name != "v":
                plan[f"{at}{name}_norm.weight"] = ((dims.head_dim,), 0.4)
        plan[f"{at}o_proj.weight"] = ((dims.hidden, query), 0.64 / query**0.5 / depth)
        plan[f"layers.{layer}.post_attention_layernorm.weight"] = ((dims.hidden,), 0.3)
        plan[f"{mlp}gate_proj.weight"] = ((dims.intermediate, dims.hidden), reads)
        plan[f"{mlp}up_proj.weight"] = ((dims.intermediate, dims.hidden), reads)
        plan[f"{mlp}down_proj.weight"] = (
            (dims.hidden, dims.intermediate),
            0.64 / dims.intermediate**0.5 / depth,
        )
    plan["norm.weight"] = ((dims.hidden,), 0.3)
    return plan


def _draw(seed: int, key: str, shape: tuple[int, ...], spread: float) -> NDArray[np.float32]:
    """Values of one tensor; they depend on seed and key alone, not on what was drawn before."""
    generator = np.random.default_rng([seed, zlib.crc32(key.encode())])
    values = generator.standard_normal(shape, dtype=np.float32)
    values *= np.float32(spread)
    if key.endswith("norm.weight"):
        np.exp(values, out=values)  # gains: around 1, never 0 or negative
    return values


def _add_outliers(key: str, values: NDArray[np.float32], dims: Dimensions, seed: int) -> None:
    """Gives some layers two intermediate channels and two hidden channels that tower.

    Gate and up times 8 makes the input of `down_proj` about 64 times as large there; rows of
    `down_proj` times 8 carry it to two channels of the residual stream. Powers of two: exact in
    bfloat16, and the network still computes with numbers of its own scale.
    """
    _, layer, *_ = (*key.split("."), "", "")
    if ".mlp." not in key or int(layer) not in {
        dims.layers // 4,
        dims.layers // 2,
        dims.layers - 1,
    }:
        return
    generator = np.random.default_rng([seed, zlib.crc32(b"outliers")])
    inner = generator.choice(dims.intermediate, 2, replace=False)
    outer = generator.choice(dims.hidden, 2, replace=False)
    if "down_proj" in key:
        values[:, inner] /= 4
        values[outer, :] *= 8
    else:
        values[inner, :] *= 8


def _write_weights(
    folder: Path,
    plan: Plan,
    dims: Dimensions,
    *,
    seed: int,
    shards: int,
    prefix: str,
    outliers: bool,
) -> None:
    total = 2 * sum(math.prod(shape) for shape, _ in plan.values())  # bytes
    keys = iter(plan)
    written = 0
    weight_map: dict[str, str] = {}
    for number in range(1, shards + 1):
        name = "model.safetensors"
        if shards > 1:
            name = f"model-{number:05}-of-{shards:05}.safetensors"
        tensors: dict[str, NDArray[Any]] = {}
        while written < total * number / shards:
            key = next(keys)
            values = _draw(seed, key, *plan[key])
            if outliers:
                _add_outliers(key, values, dims, seed)
            tensors[prefix + key] = values.astype(ml_dtypes.bfloat16)
            weight_map[prefix + key] = name
            written += tensors[prefix + key].nbytes
        save_file(tensors, folder / name, metadata={"format": "pt"})
    if shards > 1:
        index_file = {"metadata": {"total_size": total}, "weight_map": weight_map}
        _write_json(folder / "model.safetensors.index.json", index_file)


def _write_adapters(folder: Path, plan: Plan, dims: Dimensions, base: str, seed: int) -> None:
    """Four adapters on every linear layer; each changes a weight by about 15 % of its size."""
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    for task in TASKS:
        place = folder / "adapters" / task
        place.mkdir(parents=True)
        tensors: dict[str, NDArray[Any]] = {}
        for key, (shape, spread) in plan.items():
            module = key.removesuffix(".weight")
            if key == module or not module.endswith(projections):
                continue
            wide = shape[1] ** -0.5
            # The elements of B @ A have spread sqrt(rank) * spread(A) * spread(B).
            narrow = 0.15 * spread / (wide * dims.rank**0.5)
            sides = (("A", (dims.rank, shape[1]), wide), ("B", (shape[0], dims.rank), narrow))
            for side, shape_of_side, spread_of_side in sides:
                name = f"base_model.model.{module}.lora_{side}.weight"
                values = _draw(seed, f"{task}/{name}", shape_of_side, spread_of_side)
                tensors[name] = values.astype(ml_dtypes.bfloat16)
        save_file(tensors, place / "adapter_model.safetensors", metadata={"format": "pt"})
        _write_json(
            place / "adapter_config.json",
            {
                "alpha_pattern": {},
                "auto_mapping": None,
                "base_model_name_or_path": base,
                "bias": "none",
                "corda_config": None,
                "eva_config": None,
                "exclude_modules": None,
                "fan_in_fan_out": False,
                "inference_mode": True,
                "init_lora_weights": "gaussian",
                "layer_replication": None,
                "layers_pattern": None,
                "layers_to_transform": None,
                "loftq_config": {},
                "lora_alpha": dims.rank,  # as the real ones: a scaling of exactly 1
                "lora_bias": False,
                "lora_dropout": 0.05 if task == "classification" else 0.1,
                "megatron_config": None,
                "megatron_core": "megatron.core",
                "modules_to_save": None,
                "peft_type": "LORA",
                "r": dims.rank,
                "rank_pattern": {},
                "revision": None,
                "target_modules": list(projections),
                "task_type": "FEATURE_EXTRACTION",
                "trainable_token_indices": None,
                "use_dora": False,
                "use_rslora": False,
            },
        )


def _write_tokenizer(
    folder: Path, given: Path | None, special: tuple[str, ...], *, close: str | None
) -> dict[str, int]:
    """Writes tokenizer.json, appending `close` to every text; gives the ids of all tokens."""
    if given is not None and close is None:
        shutil.copyfile(given, folder / "tokenizer.json")  # to the byte
        return Tokenizer.from_file(str(given)).get_vocab(with_added_tokens=True)
    tokenizer = _train_tokenizer(special) if given is None else Tokenizer.from_file(str(given))
    if close is not None:
        number = tokenizer.token_to_id(close)
        if number is None:
            raise ValueError(f"{given} has no token {close!r} to append")
        template = processors.TemplateProcessing(
            single=f"$A {close}", pair=f"$A {close} $B {close}", special_tokens=[(close, number)]
        )
        tokenizer.post_processor = processors.Sequence(
            [processors.ByteLevel(trim_offsets=False), template]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab(with_added_tokens=True)


def _train_tokenizer(special: tuple[str, ...]) -> Tokenizer:
    """A byte-level BPE of a few hundred tokens, built as Qwen's: NFC, nothing appended."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    # After the vocabulary, where Qwen and Llama have theirs.
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return tokenizer


def _tokenizer_config(kind: str, *, eos: str, pad: str | None, limit: int) -> dict[str, Any]:
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": eos,
        "model_max_length": limit,
        "padding_side": "right",
        "tokenizer_class": kind,
        "unk_token": None,
    }
    return config if pad is None else config | {"pad_token": pad}


def _write_v5_files(folder: Path, name: str) -> None:
    _write_sentence_transformers(folder, _PROMPTS, "document")
    _write_modules(folder, ["custom_st.Transformer"], kwargs=["task", "truncate_dim"])
    _write_card(folder, name)


def _write_sentence_transformers(
    folder: Path, prompts: Mapping[str, str], default: str | None
) -> None:
    _write_json(
        folder / "config_sentence_transformers.json",
        {
            "prompts": dict(prompts),
            "default_prompt_name": default,
            "similarity_fn_name": "cosine",
        },
    )


def _write_modules(folder: Path, types: list[str], **extra: Any) -> None:
    modules = []
    for index, kind in enumerate(types):
        place = f"{index}_{kind.rpartition('.')[2]}" if index else ""
        modules.append({"idx": index, "name": str(index), "path": place, "type": kind} | extra)
    _write_json(folder / "modules.json", modules)


def _write_card(folder: Path, name: str) -> None:
    (folder / "README.md").write_text(
        f"---\nlicense: cc0-1.0\nmodel_name: seeded/{name}\n---\n\n"
        f"# {name}\n\nA seeded random model in a real model's layout, written by models/seeded.py. "
        "Its vectors mean nothing.\n",
        encoding="utf-8",
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _dimensions(model: str, size: str | Dimensions) -> tuple[Dimensions, str]:
    if model not in SIZES:
        raise ValueError(f"unknown model {model!r}; one of {', '.join(SIZES)}")
    if isinstance(size, Dimensions):
        return size, "custom"
    if size not in SIZES[model]:
        raise ValueError(f"unknown size {size!r}; one of {', '.join(SIZES[model])}")
    return SIZES[model][size], size


def _with_vocabulary(dims: Dimensions, ids: Mapping[str, int]) -> Dimensions:
    count = max(ids.values()) + 1
    if dims.vocab is not None and dims.vocab < count:
        raise ValueError(f"the tokenizer has {count} tokens, more than the table's {dims.vocab}")
    return dims if dims.vocab is not None else dataclasses.replace(dims, vocab=count)


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, renamed to it when the block ends well and removed otherwise."""
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; remove it, or name another folder")
    part = folder.with_name(folder.name + ".part")
    if part.exists():
        shutil.rmtree(part)  # of an interrupted run
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def main() -> None:
    """Writes one model, as the command line says."""
    parser = argparse.ArgumentParser(description="Write a seeded random model in a real layout.")
    parser.add_argument("folder", type=Path, help="folder to write; must not exist")
    parser.add_argument("--model", choices=list(SIZES), default="v5-text-small")
    parser.add_argument("--size", choices=("tiny", "demo", "full"), default="tiny")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json (default: a small BPE)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=1, help="weight files (default: 1)")
    parser.add_argument("--outliers", action="store_true", help="add activation outliers")
    arguments = vars(parser.parse_args())
    folder, model = arguments.pop("folder"), arguments.pop("model")
    try:
        if model == "v5-text-small":
            write_v5_text_small(folder, **arguments)
        elif model == "v5-text-nano":
            write_v5_text_nano(folder, **arguments)
        else:
            write_decoder(folder, model, **arguments)
    except (OSError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print(folder)


if __name__ == "__main__":
    main()
