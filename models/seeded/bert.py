"""One function a folder: jina-embeddings-v3, BERT, XLM-RoBERTa, DistilBERT and MPNet.

Puts the parts of bert_layouts.py together in a staged folder that appears when all of it is
written.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from seeded.bert_layouts import (
    INSTRUCTIONS,
    V3_TASKS,
    EncoderSize,
    bert_plan,
    bert_tokenizer,
    encoder_config,
    flash_plan,
    native_plan,
    roberta_tokenizer,
)
from seeded.bert_relatives import (
    distilbert_config,
    distilbert_plan,
    mpnet_config,
    mpnet_plan,
    mpnet_tokenizer,
)
from seeded.files import (
    staged,
    write_card,
    write_json,
    write_modules,
    write_pooling,
    write_sentence_transformers,
)
from seeded.tensors import Plan, write_plan

_RELATIVES: dict[str, tuple[Callable[..., dict[str, Any]], Callable[..., Plan]]] = {
    "distilbert": (distilbert_config, distilbert_plan),
    "mpnet": (mpnet_config, mpnet_plan),
}
_AFTER = ("Pooling", "Normalize")


def write_v3(
    folder: Path,
    *,
    size: EncoderSize | None = None,
    tokenizer: Path | None = None,
    seed: int = 0,
    prefix: str = "roberta.",
) -> Path:
    """Writes jina-embeddings-v3's own layout: five adapters among the weights.

    Args:
        folder: Must not exist; appears when all of it is written.
        size: Of the network; tiny unless given.
        tokenizer: A tokenizer.json to take; a small unigram model is made unless given.
        seed: Of every weight.
        prefix: Before every key; "" as in some checkpoints.

    Returns:
        `folder`.
    """
    with staged(folder) as part:
        size = begin(part, size or EncoderSize(), tokenizer, roberta_tokenizer)
        write_json(part / "config.json", encoder_config(size, "v3"))
        write_tokenizer_config(part, "PreTrainedTokenizerFast", "<pad>", "</s>", 8194)
        prompts = {task: INSTRUCTIONS.get(task, "") for task in V3_TASKS}
        write_sentence_transformers(part, prompts, None)
        write_modules(
            part,
            ["custom_st.Transformer", *(f"sentence_transformers.models.{k}" for k in _AFTER)],
        )
        _pooling_settings(part, size)
        write_card(part, "jina-embeddings-v3")
        plan = flash_plan(size, prefix=prefix, adapters=len(V3_TASKS))
        write_plan(part, plan, seed)
    return folder


def write_v3_native(
    folder: Path,
    *,
    size: EncoderSize | None = None,
    tokenizer: Path | None = None,
    seed: int = 0,
) -> Path:
    """Writes one task of jina-embeddings-v3 as transformers has it; arguments of `write_v3`."""
    with staged(folder) as part:
        size = begin(part, size or EncoderSize(), tokenizer, roberta_tokenizer)
        write_json(part / "config.json", encoder_config(size, "v3-native"))
        write_tokenizer_config(part, "PreTrainedTokenizerFast", "<pad>", "</s>", 8194)
        write_pooling(part, size.hidden, "mean_tokens")
        write_card(part, "jina-embeddings-v3-hf")
        write_plan(part, native_plan(size), seed)
    return folder


def write_bert(
    folder: Path,
    kind: str = "bert",
    *,
    size: EncoderSize | None = None,
    tokenizer: Path | None = None,
    seed: int = 0,
    prefix: str = "",
    pooling: str = "mean_tokens",
) -> Path:
    """Writes an encoder with learned positions; arguments of `write_v3`.

    `kind` is "bert", "xlm-roberta", "distilbert" or "mpnet".
    """
    make: Callable[[], Tokenizer] = bert_tokenizer
    pad, close = "[PAD]", "[SEP]"
    if kind == "xlm-roberta":
        make, pad, close = roberta_tokenizer, "<pad>", "</s>"
    elif kind == "mpnet":
        make, pad, close = mpnet_tokenizer, "<pad>", "</s>"
    with staged(folder) as part:
        size = begin(part, size or EncoderSize(), tokenizer, make)
        config = _RELATIVES[kind][0](size) if kind in _RELATIVES else encoder_config(size, kind)
        write_json(part / "config.json", config)
        write_tokenizer_config(part, "PreTrainedTokenizerFast", pad, close, 512)
        write_pooling(part, size.hidden, pooling)
        write_card(part, kind)
        positions = config["max_position_embeddings"]
        if kind in _RELATIVES:
            plan = _RELATIVES[kind][1](size, positions=positions)
        else:
            plan = bert_plan(size, positions=positions, types=config["type_vocab_size"])
        write_plan(part, {prefix + key: value for key, value in plan.items()}, seed)
    return folder


def begin(part: Path, size: EncoderSize, given: Path | None, make: Any) -> EncoderSize:
    """Writes tokenizer.json; the size with a table as long as it needs."""
    tokenizer = Tokenizer.from_file(str(given)) if given is not None else make()
    tokenizer.save(str(part / "tokenizer.json"))
    count = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    return size if size.vocab is not None else dataclasses.replace(size, vocab=count)


def write_tokenizer_config(part: Path, kind: str, pad: str, close: str, limit: int) -> None:
    """Writes tokenizer_config.json; `limit` in tokens."""
    write_json(
        part / "tokenizer_config.json",
        {
            "eos_token": close,
            "model_max_length": limit,
            "pad_token": pad,
            "padding_side": "right",
            "tokenizer_class": kind,
        },
    )


def _pooling_settings(part: Path, size: EncoderSize) -> None:
    (part / "1_Pooling").mkdir()
    write_json(
        part / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": size.hidden,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
        },
    )
