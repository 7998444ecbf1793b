"""ModernBERT: its tensors, its config in both spellings, its tokenizer, and the folder of them.

Sizes are an `EncoderSize`. The window is small unless given, so that short texts reach beyond it.
Takes a folder; gives the layout of the real checkpoints, with the masked language model's head.
"""

import dataclasses
from pathlib import Path
from typing import Any

from seeded.bert import write_tokenizer_config
from seeded.bert_layouts import EncoderSize
from seeded.files import Style, staged, write_card, write_json, write_pooling, write_tokenizer
from seeded.tensors import Plan, write_plan

# answerdotai/ModernBERT-base.
FULL = EncoderSize(hidden=768, layers=22, heads=12, intermediate=1152, vocab=50368)
_STYLE = Style(
    digits=r"\p{N}",
    compose=True,
    whole_words=False,
    special=("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"),
)


def write_modernbert(
    folder: Path,
    *,
    size: EncoderSize | None = None,
    tokenizer: Path | None = None,
    seed: int = 0,
    window: int = 16,
    biases: bool = False,
    newer: bool = False,
    prefix: str = "model.",
    pooling: str = "mean_tokens",
) -> Path:
    """Writes a ModernBERT.

    Args:
        folder: Must not exist; appears when all of it is written.
        size: Of the network; tiny, of four layers, unless given.
        tokenizer: A tokenizer.json to take; a small byte-level BPE is made unless given.
        seed: Of every weight.
        window: `local_attention`: half of it is how far a token of a local layer sees.
        biases: Whether norms and linears have some.
        newer: Whether config.json is spelled as transformers 5 writes it.
        prefix: Before the keys of the network; "" as where it was saved alone.
        pooling: The flag of the pooling's settings.

    Returns:
        `folder`.
    """
    with staged(folder) as part:
        size = size or EncoderSize(layers=4)
        tokens = write_tokenizer(part, tokenizer, _STYLE, begin="[CLS]", close="[SEP]")
        if size.vocab is None:
            size = dataclasses.replace(size, vocab=max(tokens.values()) + 1)
        write_json(
            part / "config.json",
            modernbert_config(size, tokens, window, biases=biases, newer=newer),
        )
        write_tokenizer_config(part, "PreTrainedTokenizerFast", "[PAD]", "[SEP]", 8192)
        write_pooling(part, size.hidden, pooling)
        write_card(part, "modernbert")
        write_plan(part, modernbert_plan(size, biases=biases, prefix=prefix), seed)
    return folder


def modernbert_plan(size: EncoderSize, *, biases: bool, prefix: str) -> Plan:
    """Every tensor: q, k and v in one, and the two halves of the MLP's first linear."""
    assert size.vocab is not None
    hidden, inner = size.hidden, size.intermediate
    depth = (2 * size.layers) ** 0.5
    plan: dict[str, tuple[tuple[int, ...], float]] = {}

    def linear(name: str, rows: int, width: int, reads: float) -> None:
        plan[f"{prefix}{name}.weight"] = ((rows, width), reads / width**0.5)
        if biases:
            plan[f"{prefix}{name}.bias"] = ((rows,), 0.2)

    def norm(name: str) -> None:
        plan[f"{prefix}{name}.weight"] = ((hidden,), 0.3)
        if biases:
            plan[f"{prefix}{name}.bias"] = ((hidden,), 0.1)

    plan[f"{prefix}embeddings.tok_embeddings.weight"] = ((size.vocab, hidden), 0.1)
    norm("embeddings.norm")
    for index in range(size.layers):
        layer = f"layers.{index}"
        if index:
            norm(f"{layer}.attn_norm")
        linear(f"{layer}.attn.Wqkv", 3 * hidden, hidden, 1.0)
        linear(f"{layer}.attn.Wo", hidden, hidden, 1.3 / depth)
        norm(f"{layer}.mlp_norm")
        linear(f"{layer}.mlp.Wi", 2 * inner, hidden, 1.0)
        linear(f"{layer}.mlp.Wo", hidden, inner, 1.3 / depth)
    norm("final_norm")
    plan["head.dense.weight"] = ((hidden, hidden), 0.1)
    plan["head.norm.weight"] = ((hidden,), 0.3)
    plan["decoder.bias"] = ((size.vocab,), 0.1)
    return plan


def modernbert_config(
    size: EncoderSize, tokens: dict[str, int], window: int, *, biases: bool, newer: bool
) -> dict[str, Any]:
    """config.json, as the first checkpoints have it or as transformers 5 writes it."""
    config: dict[str, Any] = {
        "architectures": ["ModernBertForMaskedLM"],
        "attention_bias": biases,
        "attention_dropout": 0.0,
        "bos_token_id": tokens["[CLS]"],
        "classifier_pooling": "mean",
        "cls_token_id": tokens["[CLS]"],
        "decoder_bias": True,
        "embedding_dropout": 0.0,
        "eos_token_id": tokens["[SEP]"],
        "hidden_activation": "gelu",
        "hidden_size": size.hidden,
        "initializer_range": 0.02,
        "intermediate_size": size.intermediate,
        "local_attention": window,
        "max_position_embeddings": 8192,
        "mlp_bias": biases,
        "mlp_dropout": 0.0,
        "model_type": "modernbert",
        "norm_bias": biases,
        "norm_eps": 1e-05,
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "pad_token_id": tokens["[PAD]"],
        "sep_token_id": tokens["[SEP]"],
        "tie_word_embeddings": True,
        "vocab_size": size.vocab,
    }
    if not newer:
        return config | {
            "global_attn_every_n_layers": 3,
            "global_rope_theta": 160000.0,
            "layer_norm_eps": 1e-05,
            "local_rope_theta": 10000.0,
            "position_embedding_type": "absolute",
            "reference_compile": None,
        }
    kinds = ["sliding_attention" if n % 3 else "full_attention" for n in range(size.layers)]
    return config | {
        "layer_types": kinds,
        "rope_parameters": {
            "full_attention": {"rope_theta": 160000.0, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
        },
    }
