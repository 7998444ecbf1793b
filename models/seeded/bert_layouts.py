"""BERT-like encoders: their tensors, configs and tokenizers, in the layouts that they come in.

Takes sizes; gives plans (key -> shape and spread, see tensors.py), config.json and tokenizer.json.
Biases are drawn too, so that one left out is noticed. Writes no weights, and knows no folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from seeded.files import SENTENCES
from seeded.tensors import Plan
from seeded.vocabularies import unigram_pieces, word_pieces

V3_TASKS = (
    "retrieval.query",
    "retrieval.passage",
    "separation",
    "classification",
    "text-matching",
)
INSTRUCTIONS = {
    "retrieval.query": "Represent the query for retrieving evidence documents: ",
    "retrieval.passage": "Represent the document for retrieval: ",
}
_WORDS = "embeddings.word_embeddings"
_TYPES = "embeddings.token_type_embeddings"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSize:
    """Sizes of a BERT-like encoder, whose heads are `hidden / heads` wide."""

    hidden: int = 128
    layers: int = 3
    heads: int = 2
    intermediate: int = 256
    vocab: int | None = None  # None: as many as the tokenizer has
    rank: int = 4


FULL = EncoderSize(hidden=1024, layers=24, heads=16, intermediate=4096, vocab=250002)


def flash_plan(size: EncoderSize, *, prefix: str, adapters: int) -> Plan:
    """jina-embeddings-v3's own layout: q, k and v in one, every matrix with its adapters."""
    hidden, inner = size.hidden, size.intermediate
    plan: dict[str, tuple[tuple[int, ...], float]] = {}

    def matrix(name: str, rows: int, width: int, spread: float) -> None:
        stem = f"{prefix}{name}.parametrizations.weight"
        plan[f"{stem}.original"] = ((rows, width), spread)
        table = name.startswith("embeddings.")
        sides = ((rows, size.rank), (size.rank, width))
        a, b = sides if table else ((size.rank, width), (rows, size.rank))
        # What an adapter adds is about a sixth of the weight.
        plan[f"{stem}.0.lora_A"] = ((adapters, *a), 0.4 * (spread / size.rank**0.5) ** 0.5)
        plan[f"{stem}.0.lora_B"] = ((adapters, *b), 0.4 * (spread / size.rank**0.5) ** 0.5)

    assert size.vocab is not None
    matrix(_WORDS, size.vocab, hidden, 0.3)
    matrix(_TYPES, 1, hidden, 0.3)
    _norm(plan, f"{prefix}emb_ln", hidden)
    for index in range(size.layers):
        layer = f"encoder.layers.{index}"
        for name, rows, width, spread in (
            ("mixer.Wqkv", 3 * hidden, hidden, 1.3),
            ("mixer.out_proj", hidden, hidden, 0.64),
            ("mlp.fc1", inner, hidden, 0.64),
            ("mlp.fc2", hidden, inner, 0.64),
        ):
            matrix(f"{layer}.{name}", rows, width, spread / width**0.5)
            plan[f"{prefix}{layer}.{name}.bias"] = ((rows,), 0.2)
        for norm in ("norm1", "norm2"):
            _norm(plan, f"{prefix}{layer}.{norm}", hidden)
    return plan


def native_plan(size: EncoderSize) -> Plan:
    """Transformers' `jina_embeddings_v3`."""
    names = {
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "output": "self_attn.o_proj",
        "inner": "mlp.fc1",
        "outer": "mlp.fc2",
        "norm1": "post_attention_layernorm",
        "norm2": "post_mlp_layernorm",
    }
    return plain_plan(size, "layers", names, positions=None)


def bert_plan(size: EncoderSize, *, positions: int, types: int) -> Plan:
    """BERT's and XLM-RoBERTa's layout, with the pooler that sentence embeddings do not use."""
    names = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "output": "attention.output.dense",
        "inner": "intermediate.dense",
        "outer": "output.dense",
        "norm1": "attention.output.LayerNorm",
        "norm2": "output.LayerNorm",
    }
    plan = dict(plain_plan(size, "encoder.layer", names, positions=positions, types=types))
    plan["pooler.dense.weight"] = ((size.hidden, size.hidden), 0.1)
    plan["pooler.dense.bias"] = ((size.hidden,), 0.1)
    return plan


def plain_plan(
    size: EncoderSize,
    block: str,
    names: Mapping[str, str],
    *,
    positions: int | None,
    types: int = 1,
) -> Plan:
    """An encoder whose blocks have these names; without positions or types if there are none."""
    assert size.vocab is not None
    hidden, inner = size.hidden, size.intermediate
    plan: dict[str, tuple[tuple[int, ...], float]] = {
        f"{_WORDS}.weight": ((size.vocab, hidden), 0.3),
    }
    if types:
        plan[f"{_TYPES}.weight"] = ((types, hidden), 0.3)
    if positions is not None:
        plan["embeddings.position_embeddings.weight"] = ((positions, hidden), 0.1)
    _norm(plan, "embeddings.LayerNorm", hidden)
    shapes = dict.fromkeys(("query", "key", "value", "output"), (hidden, hidden))
    shapes |= {"inner": (inner, hidden), "outer": (hidden, inner)}
    for index in range(size.layers):
        for role, (rows, width) in shapes.items():
            reads = 1.3 if role in ("query", "key") else 0.64
            key = f"{block}.{index}.{names[role]}"
            plan[f"{key}.weight"] = ((rows, width), reads / width**0.5)
            plan[f"{key}.bias"] = ((rows,), 0.2)
        for norm in ("norm1", "norm2"):
            _norm(plan, f"{block}.{index}.{names[norm]}", hidden)
    return plan


def _norm(plan: dict[str, tuple[tuple[int, ...], float]], name: str, width: int) -> None:
    plan[f"{name}.weight"] = ((width,), 0.3)
    plan[f"{name}.bias"] = ((width,), 0.1)


def encoder_config(size: EncoderSize, kind: str) -> dict[str, Any]:
    """config.json: "bert", "xlm-roberta", "v3" (Jina's own) or "v3-native" (transformers')."""
    config: dict[str, Any] = {
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": size.hidden,
        "initializer_range": 0.02,
        "intermediate_size": size.intermediate,
        "layer_norm_eps": 1e-12 if kind == "bert" else 1e-05,
        "max_position_embeddings": {"bert": 512, "xlm-roberta": 514}.get(kind, 8194),
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "pad_token_id": 0 if kind == "bert" else 1,
        "type_vocab_size": 2 if kind == "bert" else 1,
        "vocab_size": size.vocab,
    }
    if kind == "bert":
        return config | {"architectures": ["BertModel"], "model_type": "bert"}
    config |= {"bos_token_id": 0, "eos_token_id": 2, "use_cache": False}
    if kind == "v3-native":
        return config | {
            "architectures": ["JinaEmbeddingsV3Model"],
            "model_type": "jina_embeddings_v3",
            "rope_parameters": {"rope_theta": 20000.0, "rope_type": "default"},
        }
    config |= {"architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta"}
    if kind == "xlm-roberta":
        return config | {"position_embedding_type": "absolute"}
    implementation = "jinaai/xlm-roberta-flash-implementation"
    return config | {
        "auto_map": {
            "AutoConfig": f"{implementation}--configuration_xlm_roberta.XLMRobertaFlashConfig",
            "AutoModel": f"{implementation}--modeling_lora.XLMRobertaLoRA",
        },
        "emb_pooler": "mean",
        "load_trained_adapters": True,
        "lora_adaptations": list(V3_TASKS),
        "lora_alpha": 1,
        "lora_dropout_p": 0.0,
        "lora_main_params_trainable": False,
        "lora_rank": size.rank,
        "matryoshka_dimensions": _matryoshka(size.hidden),
        "position_embedding_type": "rotary",
        "rotary_emb_base": 20000.0,
        "task_instructions": dict(INSTRUCTIONS),
        "truncate_dim": None,
        "use_flash_attn": True,
    }


def clip_text_config(size: EncoderSize) -> dict[str, Any]:
    """`text_config` of jina-clip-v2, which holds no size but the width."""
    return {
        "default_instruction_task": None,
        "default_lora_task": "retrieval.query",
        "embed_dim": size.hidden,
        "hf_model_config_kwargs": {
            "load_trained_adapters": False,
            "lora_adaptations": ["retrieval.query"],
            "lora_alpha": size.rank,
            "lora_dropout_p": 0.0,
            "lora_main_params_trainable": False,
            "lora_rank": size.rank,
            "task_instructions": {"retrieval.query": INSTRUCTIONS["retrieval.query"]},
            "use_flash_attn": False,
        },
        "hf_model_name_or_path": "jinaai/jina-embeddings-v3",
        "pooler_type": "mean_pooler",
        "proj_bias": False,
        "proj_type": None,
    }


def _matryoshka(width: int) -> list[int]:
    return [d for d in (32, 64, 128, 256, 512, 768, 1024) if d <= width]


def roberta_tokenizer() -> Tokenizer:
    """XLM-RoBERTa's kind: a unigram model, <s> 0, <pad> 1, </s> 2, around every text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace("  ", " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    pieces = unigram_pieces(_words(tokenizer), special, 400)
    tokenizer.model = models.Unigram(pieces, unk_id=special.index("<unk>"))
    tokenizer.add_special_tokens(list(special))
    return closed(tokenizer, "<s>", "</s>")


BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def bert_tokenizer(
    special: tuple[str, ...] = BERT_TOKENS, begin: str = "[CLS]", close: str = "[SEP]"
) -> Tokenizer:
    """BERT's kind: word pieces, [CLS] and [SEP] around every text."""
    tokenizer = Tokenizer(models.WordPiece({}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    pieces = word_pieces(_words(tokenizer), special, 400)
    tokenizer.model = models.WordPiece(pieces, unk_token="[UNK]")
    tokenizer.add_special_tokens(list(special))
    return closed(tokenizer, begin, close)


def _words(tokenizer: Tokenizer) -> list[str]:
    """The words that a tokenizer cuts the sentences into, before its model sees them."""
    normal = [tokenizer.normalizer.normalize_str(sentence) for sentence in SENTENCES]
    return [word for text in normal for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def closed(tokenizer: Tokenizer, begin: str, close: str) -> Tokenizer:
    """The tokenizer with a token before and one after every text."""
    tokens = [(token, tokenizer.token_to_id(token)) for token in (begin, close)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {close}",
        pair=f"{begin} $A {close} {close} $B {close}",
        special_tokens=tokens,
    )
    return tokenizer
