"""What the config of a BERT-like encoder says, checked: BERT, XLM-RoBERTa, jina-embeddings-v3.

Takes the parsed config.json and the weights under their common names (names.py), gives one
frozen record. jina-clip-v2's config does not hold its text tower's sizes: they are read off the
weights. Whatever would change the vectors and is not written by bert.py is refused by name.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embedge.errors import SourceError
from embedge_export.families.bert.fields import BERT_FIELDS, JINA_FLASH
from embedge_export.families.decoder.config import MOST_POSITIONS
from embedge_export.families.eva02.fields import TEXT_NETWORK, TEXT_TOWER
from embedge_export.families.heads import check_heads
from embedge_export.families.model_types import JINA_CLIP, JINA_V3, check_model_type
from embedge_export.families.rotary_base import rotary_base
from embedge_export.reading.fields import Settings, is_whole
from embedge_export.tensors.weights import Weights, check_tensors

_ROTARY_BASE = 20_000.0  # of jina-embeddings-v3, where a config is silent (its own class's default)
_CLIP_HEAD_DIM = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BertConfig:
    """Sizes and constants of a post-norm encoder; names as in transformers' configs."""

    family: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    type_vocab_size: int
    max_position_embeddings: int
    layer_norm_eps: float
    rope_theta: float | None  # None: a learned position is added to every token
    # RoBERTa: the position of a token is this more than how many tokens up to it have another id;
    # a token of this id has this position. None: positions count every token, from 0.
    padding_id: int | None

    @property
    def causal(self) -> bool:
        """False: every token sees all of its text."""
        return False


def bert_config(config: Mapping[str, Any], weights: Weights) -> BertConfig:
    """Reads and checks a config.

    Raises:
        SourceError: it asks for what the writer does not know, or does not fit the weights.
    """
    model_type = check_model_type(config)
    clip = model_type == JINA_CLIP
    result = _clip_text(config, weights) if clip else _plain(config, model_type)
    check_heads(
        *(result.num_attention_heads,) * 2,
        result.head_dim,
        causal=result.causal,
        rotary=result.rope_theta is not None,
    )
    check_tensors(
        weights, expected_shapes(result), f"a {result.family} network of this config.json"
    )
    return result


def _plain(config: Mapping[str, Any], model_type: str) -> BertConfig:
    flash = model_type == "xlm-roberta" and config.get("position_embedding_type") == "rotary"
    kind = JINA_FLASH if flash else model_type
    settings = Settings(config, BERT_FIELDS[kind])
    hidden, heads = settings.size("hidden_size"), settings.size("num_attention_heads")
    if hidden % heads:
        raise settings.error("hidden_size", f"not a multiple of num_attention_heads {heads}")
    epsilon = settings.number("layer_norm_eps", below=1)
    if epsilon is None:
        raise settings.error("layer_norm_eps", "it must lie between 0 and 1")
    rotary = kind in (JINA_V3, JINA_FLASH)
    base = None
    if rotary:
        base = _rotary_base(settings, kind)
        if settings.size("head_dim", default=hidden // heads) != hidden // heads:
            raise settings.error("head_dim", "not hidden_size over num_attention_heads")
    return BertConfig(
        family=JINA_V3 if rotary else "bert" if model_type == "bert" else "xlm-roberta",
        hidden_size=hidden,
        num_hidden_layers=settings.size("num_hidden_layers"),
        num_attention_heads=heads,
        head_dim=hidden // heads,
        intermediate_size=settings.size("intermediate_size"),
        vocab_size=settings.size("vocab_size"),
        type_vocab_size=settings.size("type_vocab_size"),
        max_position_embeddings=settings.size(
            "max_position_embeddings", **({"most": MOST_POSITIONS} if rotary else {})
        ),
        layer_norm_eps=epsilon,
        rope_theta=base,
        padding_id=None if rotary or model_type == "bert" else _pad(settings),
    )


def _rotary_base(settings: Settings, kind: str) -> float:
    """jina-embeddings-v3's, from whichever of its two configs."""
    if kind == JINA_V3:
        return rotary_base(settings, default=_ROTARY_BASE)
    return rotary_base(settings, names=("rotary_emb_base", "rope_theta"))


def _pad(settings: Settings) -> int:
    value = settings.get("pad_token_id")
    if not is_whole(value) or value < 0:
        raise settings.error("pad_token_id", "positions are counted from it, so state it")
    if value >= settings.size("max_position_embeddings") - 1:
        raise settings.error("pad_token_id", "positions are counted from it, and none is left")
    return int(value)


def _clip_text(config: Mapping[str, Any], weights: Weights) -> BertConfig:
    """The text tower of jina-clip-v2: jina-embeddings-v3's network."""
    text = config.get("text_config")
    if not isinstance(text, Mapping):
        raise SourceError("config.json: text_config is missing; is this jina-clip-v2?")
    settings = Settings(text, TEXT_TOWER, inside="text_config.")
    if settings.get("pooler_type") != "mean_pooler":
        raise settings.error("pooler_type", "only 'mean_pooler' is supported")
    inner = settings.get("hf_model_config_kwargs")
    if inner is not None:
        if not isinstance(inner, Mapping):
            raise settings.error("hf_model_config_kwargs", "it must be an object")
        Settings(inner, TEXT_NETWORK, inside="text_config.hf_model_config_kwargs.")
    numbers = (re.match(r"layers\.(\d{1,9})\.", key) for key in sorted(weights.keys()))
    layers = {int(number[1]) for number in numbers if number}
    vocab, hidden = _matrix(weights, "embeddings.word_embeddings.weight")
    if hidden % _CLIP_HEAD_DIM or text.get("embed_dim", hidden) != hidden:
        raise SourceError(
            f"the text tower's table is {hidden} wide; config.json says {text.get('embed_dim')}, "
            f"and the network needs a multiple of {_CLIP_HEAD_DIM}"
        )
    return BertConfig(
        family=JINA_CLIP,
        hidden_size=hidden,
        num_hidden_layers=max(layers, default=-1) + 1,
        num_attention_heads=hidden // _CLIP_HEAD_DIM,
        head_dim=_CLIP_HEAD_DIM,
        intermediate_size=_matrix(weights, "layers.0.mlp.fc1.weight")[0],
        vocab_size=vocab,
        type_vocab_size=_matrix(weights, "embeddings.token_type_embeddings.weight")[0],
        max_position_embeddings=8194,
        layer_norm_eps=1e-5,
        rope_theta=_ROTARY_BASE,
        padding_id=None,
    )


def _matrix(weights: Weights, key: str) -> tuple[int, int]:
    """The shape of a tensor that must have rows and columns."""
    shape = weights.shape(key)
    if len(shape) != 2 or not all(shape):
        raise SourceError(f"tensor {key!r} has shape {shape}; it must have rows and columns")
    return shape[0], shape[1]


def expected_shapes(config: BertConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of the network, a layer after another."""
    hidden, inner = config.hidden_size, config.intermediate_size
    tables = {"word": config.vocab_size, "token_type": config.type_vocab_size}
    if config.rope_theta is None:
        tables["position"] = config.max_position_embeddings
    for name, rows in tables.items():
        yield f"embeddings.{name}_embeddings.weight", (rows, hidden)
    linears = {f"self_attn.{side}_proj": (hidden, hidden) for side in "qkvo"}
    linears |= {"mlp.fc1": (inner, hidden), "mlp.fc2": (hidden, inner)}

    def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (hidden,)
        yield f"{name}.bias", (hidden,)

    yield from norm("embeddings.LayerNorm")
    for index in range(config.num_hidden_layers):
        for name, shape in linears.items():
            yield f"layers.{index}.{name}.weight", shape
            yield f"layers.{index}.{name}.bias", shape[:1]
        for part in ("attention", "mlp"):
            yield from norm(f"layers.{index}.post_{part}_layernorm")
