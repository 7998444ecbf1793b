"""Decoders and EuroBERT: sizes of the networks, and config.json of each, as real ones have them.

Takes the name of a model and of a size; gives `Dimensions` and dicts. Writes nothing, and knows
neither weights nor tokenizers beyond the ids it is given.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TASKS = ("retrieval", "text-matching", "clustering", "classification")


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
    "eurobert": _sizes(
        128256, _full(768, 12, 12, 12, 64, 3072, 128256), kv=2, head_dim=16, wide=1024
    ),
    "qwen3": _sizes(151936, _QWEN3, kv=2, head_dim=32, wide=768),
    "qwen2": _sizes(151936, _full(896, 24, 14, 2, 64, 4864, 151936), kv=2, head_dim=16, wide=768),
    "llama": _sizes(49152, _full(576, 30, 9, 3, 64, 1536, 49152), kv=2, head_dim=16, wide=768),
}


def dimensions_of(model: str, size: str | Dimensions) -> tuple[Dimensions, str]:
    """The sizes meant, and what the model's name says of them."""
    if model not in SIZES:
        raise ValueError(f"unknown model {model!r}; one of {', '.join(SIZES)}")
    if isinstance(size, Dimensions):
        return size, "custom"
    if size not in SIZES[model]:
        raise ValueError(f"unknown size {size!r}; one of {', '.join(SIZES[model])}")
    return SIZES[model][size], size


def with_vocabulary(dims: Dimensions, ids: Mapping[str, int]) -> Dimensions:
    """`dims` with a table as long as the tokenizer needs, unless it has a length already."""
    count = max(ids.values()) + 1
    if dims.vocab is not None and dims.vocab < count:
        raise ValueError(f"the tokenizer has {count} tokens, more than the table's {dims.vocab}")
    return dims if dims.vocab is not None else dataclasses.replace(dims, vocab=count)


def v5_text_small_config(dims: Dimensions, ids: Mapping[str, int]) -> dict[str, Any]:
    """config.json of jina-embeddings-v5-text-small; `ids` are those of the tokenizer."""
    return _v5_config(dims) | {
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


def v5_text_nano_config(dims: Dimensions, ids: Mapping[str, int]) -> dict[str, Any]:
    """config.json of jina-embeddings-v5-text-nano, with ends that its tokenizer overrules."""
    return _v5_config(dims) | _eurobert_part(dims, ids) | {"is_decoder": False}


def eurobert_config(dims: Dimensions, ids: Mapping[str, int]) -> dict[str, Any]:
    """config.json of EuroBERT, whose rotary base is another than nano's."""
    own = {
        "architectures": ["EuroBertForMaskedLM"],
        "model_type": "eurobert",
        "rope_theta": 250000,
        "torch_dtype": "bfloat16",
    }
    return _network_config(dims) | _eurobert_part(dims, ids) | own


def _eurobert_part(dims: Dimensions, ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "vocab_size": dims.vocab,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
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


def decoder_config(model_type: str, dims: Dimensions, ids: Mapping[str, int]) -> dict[str, Any]:
    """config.json of a decoder without adapters: "qwen3", "qwen2" or "llama"."""
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
