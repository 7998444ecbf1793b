"""One function a family of decoders, and EuroBERT: each writes the folder of a whole model.

Takes a folder, a size and a seed; puts layouts, files and tensors together in a staged folder
that appears when all of it is written. Knows nothing of how any of them is made.
"""

from pathlib import Path

from seeded.decoder_layouts import (
    Dimensions,
    decoder_config,
    dimensions_of,
    eurobert_config,
    v5_text_nano_config,
    v5_text_small_config,
    with_vocabulary,
)
from seeded.files import (
    EUROBERT,
    INSTRUCTION,
    QWEN,
    staged,
    tokenizer_config,
    write_card,
    write_json,
    write_pooling,
    write_sentence_transformers,
    write_tokenizer,
    write_v5_files,
)
from seeded.tensors import plan_of, write_adapters, write_weights


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
    dims, name = dimensions_of("v5-text-small", size)
    with staged(folder) as part:
        ids = write_tokenizer(part, tokenizer, QWEN)
        dims = with_vocabulary(dims, ids)
        write_json(part / "config.json", v5_text_small_config(dims, ids))
        write_json(
            part / "tokenizer_config.json",
            tokenizer_config("Qwen2Tokenizer", eos="<|im_end|>", pad="<|endoftext|>", limit=131072),
        )
        write_v5_files(part, f"jina-embeddings-v5-text-small-{name}")
        plan = plan_of(dims, qk_norm=True)
        write_weights(part, plan, dims, seed=seed, shards=shards, prefix=prefix, outliers=outliers)
        write_adapters(part, plan, dims, "jinaai/jina-embeddings-v5-text-small", seed)
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
    dims, name = dimensions_of("v5-text-nano", size)
    with staged(folder) as part:
        ids = write_tokenizer(part, tokenizer, EUROBERT, close="<|end_of_text|>", vocab=dims.vocab)
        dims = with_vocabulary(dims, ids)
        write_json(part / "config.json", v5_text_nano_config(dims, ids))
        write_json(
            part / "tokenizer_config.json",
            tokenizer_config(
                "PreTrainedTokenizerFast", eos="<|end_of_text|>", pad="<|pad|>", limit=int(1e30)
            ),
        )
        write_json(part / "special_tokens_map.json", {"pad_token": {"content": "<|pad|>"}})
        write_v5_files(part, f"jina-embeddings-v5-text-nano-{name}")
        plan = plan_of(dims)
        write_weights(part, plan, dims, seed=seed, shards=shards, prefix=prefix, outliers=outliers)
        write_adapters(part, plan, dims, "jinaai/jina-embeddings-v5-text-nano", seed)
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
    dims, name = dimensions_of(model_type, size)
    with staged(folder) as part:
        closing = "<|endoftext|>" if model_type == "qwen3" else None
        ids = write_tokenizer(part, tokenizer, QWEN, close=closing)
        dims = with_vocabulary(dims, ids)
        write_json(part / "config.json", decoder_config(model_type, dims, ids))
        pad = None if model_type == "llama" else "<|endoftext|>"
        kind = "PreTrainedTokenizerFast" if model_type == "llama" else "Qwen2Tokenizer"
        write_json(
            part / "tokenizer_config.json",
            tokenizer_config(kind, eos="<|endoftext|>", pad=pad, limit=131072),
        )
        if model_type == "qwen3":
            prompts = {"query": INSTRUCTION, "document": ""}
            write_sentence_transformers(part, prompts, None)
            write_pooling(part, dims.hidden, "lasttoken")
        write_card(part, f"{model_type}-{name}")
        if prefix is None:
            prefix = "" if model_type == "qwen3" else "model."
        plan = plan_of(dims, qk_norm=model_type == "qwen3", qkv_bias=model_type == "qwen2")
        write_weights(part, plan, dims, seed=seed, shards=shards, prefix=prefix, outliers=outliers)
    return folder


def write_eurobert(
    folder: Path,
    *,
    size: str | Dimensions = "tiny",
    tokenizer: Path | None = None,
    seed: int = 0,
    shards: int = 1,
    prefix: str = "model.",
    outliers: bool = False,
    pooling: str | None = "mean_tokens",
) -> Path:
    """Writes EuroBERT's layout without adapters; other arguments as of `write_v5_text_small`.

    A masked language model's checkpoint: keys with "model.", an untied `lm_head`, a token before
    and one after every text, fewer key heads than query heads (as the larger ones have).

    Args:
        folder: as above.
        size: as above.
        tokenizer: as above.
        seed: as above.
        shards: as above.
        prefix: as above.
        outliers: as above.
        pooling: the flag of the Sentence Transformers files; without one there are none.
    """
    dims, name = dimensions_of("eurobert", size)
    begin, close = EUROBERT.special[:2]
    with staged(folder) as part:
        ids = write_tokenizer(part, tokenizer, EUROBERT, begin=begin, close=close, vocab=dims.vocab)
        dims = with_vocabulary(dims, ids)
        write_json(part / "config.json", eurobert_config(dims, ids))
        write_json(
            part / "tokenizer_config.json",
            tokenizer_config("PreTrainedTokenizerFast", eos=close, pad="<|pad|>", limit=int(1e30)),
        )
        if pooling is not None:
            write_sentence_transformers(part, {}, None)
            write_pooling(part, dims.hidden, pooling)
        write_card(part, f"eurobert-{name}")
        plan = plan_of(dims, head=True)
        write_weights(part, plan, dims, seed=seed, shards=shards, prefix=prefix, outliers=outliers)
    return folder
