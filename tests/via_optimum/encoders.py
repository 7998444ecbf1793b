"""Tiny random networks of many architectures, as Sentence Transformers folders.

Each is made by transformers from a config of its own, with a tokenizer of whole words and letters.
"""

import json
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
PAD = SPECIAL.index("[PAD]")
LONGEST = 160  # tokens
_SIZES = {
    "vocab_size": 200,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": LONGEST + PAD + 1,
    "pad_token_id": PAD,
    "initializer_range": 0.1,
}


def _sizes(**others: Any) -> dict[str, Any]:
    return {**_SIZES, **others}


# By what config.json calls the architecture: what its config is made from.
KINDS: Mapping[str, Callable[[], Any]] = {
    "albert": lambda: transformers.AlbertConfig(**_sizes(embedding_size=32)),
    "bert": lambda: transformers.BertConfig(**_sizes()),
    "big_bird": lambda: transformers.BigBirdConfig(**_sizes(attention_type="original_full")),
    "camembert": lambda: transformers.CamembertConfig(**_sizes(type_vocab_size=1)),
    "convbert": lambda: transformers.ConvBertConfig(**_sizes(embedding_size=64)),
    "data2vec-text": lambda: transformers.Data2VecTextConfig(**_sizes(type_vocab_size=1)),
    "deberta": lambda: transformers.DebertaConfig(
        **_sizes(relative_attention=True, pos_att_type=["c2p", "p2c"], type_vocab_size=0)
    ),
    "deberta-v2": lambda: transformers.DebertaV2Config(
        **_sizes(
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=32,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            position_biased_input=False,
            type_vocab_size=0,
        )
    ),
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=200,
        dim=64,
        n_layers=3,
        n_heads=4,
        hidden_dim=128,
        max_position_embeddings=LONGEST,
        pad_token_id=PAD,
        initializer_range=0.1,
    ),
    "electra": lambda: transformers.ElectraConfig(**_sizes(embedding_size=32)),
    "ernie": lambda: transformers.ErnieConfig(**_sizes(use_task_id=False)),
    "esm": lambda: transformers.EsmConfig(
        **_sizes(position_embedding_type="rotary", token_dropout=False)
    ),
    "flaubert": lambda: transformers.FlaubertConfig(
        vocab_size=200,
        emb_dim=64,
        n_layers=3,
        n_heads=4,
        max_position_embeddings=LONGEST,
        pad_index=PAD,
        pad_token_id=PAD,
    ),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=200,
        n_embd=64,
        n_layer=3,
        n_head=4,
        n_positions=LONGEST,
        pad_token_id=PAD,
        initializer_range=0.1,
    ),
    "longformer": lambda: transformers.LongformerConfig(**_sizes(attention_window=32)),
    "megatron-bert": lambda: transformers.MegatronBertConfig(**_sizes()),
    "mobilebert": lambda: transformers.MobileBertConfig(
        **_sizes(embedding_size=32, intra_bottleneck_size=32)
    ),
    "modernbert": lambda: transformers.ModernBertConfig(
        **_sizes(
            max_position_embeddings=256,
            local_attention=32,
            global_attn_every_n_layers=2,
            cls_token_id=0,
            bos_token_id=0,
            sep_token_id=2,
            eos_token_id=2,
            reference_compile=False,
        )
    ),
    "mpnet": lambda: transformers.MPNetConfig(**_sizes()),
    "nystromformer": lambda: transformers.NystromformerConfig(**_sizes(num_landmarks=8)),
    "qwen3": lambda: transformers.Qwen3Config(
        **_sizes(num_key_value_heads=2, head_dim=16, max_position_embeddings=LONGEST)
    ),
    "rembert": lambda: transformers.RemBertConfig(
        **_sizes(input_embedding_size=32, output_embedding_size=32)
    ),
    "roberta": lambda: transformers.RobertaConfig(**_sizes(type_vocab_size=1)),
    "roformer": lambda: transformers.RoFormerConfig(**_sizes(embedding_size=64)),
    "splinter": lambda: transformers.SplinterConfig(**_sizes()),
    "squeezebert": lambda: transformers.SqueezeBertConfig(**_sizes(embedding_size=64)),
    "xlm": lambda: transformers.XLMConfig(
        vocab_size=200,
        emb_dim=64,
        n_layers=3,
        n_heads=4,
        max_position_embeddings=LONGEST,
        pad_index=PAD,
        pad_token_id=PAD,
    ),
    "xlm-roberta": lambda: transformers.XLMRobertaConfig(**_sizes(type_vocab_size=1)),
}


def write_encoder(
    folder: Path,
    kind: str,
    *,
    pooling: str = "mean",
    seed: int = 0,
    modules: tuple[str, ...] = ("Pooling", "Normalize"),
) -> Path:
    """Writes a folder with random weights.

    Args:
        folder: made if need be.
        kind: one of `KINDS`.
        pooling: as 1_Pooling/config.json has it.
        seed: of the weights.
        modules: behind the network.

    Returns:
        `folder`.
    """
    torch.manual_seed(seed)
    config = KINDS[kind]()
    transformers.AutoModel.from_config(config).eval().save_pretrained(folder)
    write_tokenizer(folder)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": LONGEST})
    entries = [("Transformer", ""), *((m, f"{i}_{m}") for i, m in enumerate(modules, 1))]
    _write(
        folder / "modules.json",
        [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{name}"}
            for n, (name, path) in enumerate(entries)
        ],
    )
    width = getattr(config, "hidden_size", None) or config.emb_dim
    _write(
        folder / "1_Pooling/config.json",
        {"word_embedding_dimension": width, "pooling_mode": pooling},
    )
    return folder


def write_tokenizer(folder: Path) -> None:
    """Writes a tokenizer of letters and a few words, which cuts as BERT's does."""
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    pieces += ["the", "and", "is", "of", "##ing", "##ed"]
    tokenizer = Tokenizer(models.WordPiece({p: n for n, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": LONGEST,
            "cls_token": "[CLS]",
            "pad_token": "[PAD]",
            "sep_token": "[SEP]",
            "unk_token": "[UNK]",
            "mask_token": "[MASK]",
            "model_input_names": ["input_ids", "attention_mask"],
        },
    )


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(value, indent=1))
