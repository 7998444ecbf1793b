"""What the config of a BERT-like encoder says, checked: BERT, XLM-RoBERTa, jina-embeddings-v3.

Takes the parsed config.json and the weights under their common names (layouts.py), gives one
frozen record. jina-clip-v2's config does not hold its text tower's sizes: they are read off the
weights. Whatever would change the vectors and is not written by bert.py is refused by name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedge.errors import SourceError
from embedge_export.conventions import JINA_CLIP, JINA_V3
from embedge_export.weights import Weights, check_tensors

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", JINA_V3, JINA_CLIP)
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
    first_position: int  # row of the position table that a text's first token takes

    @property
    def causal(self) -> bool:
        """False: every token sees all of its text."""
        return False


def bert_config(config: Mapping[str, Any], weights: Weights) -> BertConfig:
    """Reads and checks a config.

    Raises:
        SourceError: it asks for what the writer does not know, or does not fit the weights.
    """
    model_type = config.get("model_type")
    if model_type == JINA_CLIP:
        result = _clip_text(config, weights)
    else:
        result = _plain(config, str(model_type))
    check_tensors(weights, expected_shapes(result), f"a {result.family} network")
    return result


def _plain(config: Mapping[str, Any], model_type: str) -> BertConfig:
    positions = config.get("position_embedding_type", "absolute")
    rotary = model_type == JINA_V3 or positions == "rotary"
    _refuse(
        config,
        {
            "hidden_act": config.get("hidden_act", "gelu") != "gelu",
            "is_decoder": bool(config.get("is_decoder")),
            "add_cross_attention": bool(config.get("add_cross_attention")),
            "position_embedding_type": positions not in ("absolute", "rotary"),
            "use_reg_tokens": bool(config.get("use_reg_tokens")),
            "quantization_config": config.get("quantization_config") is not None,
        },
    )
    hidden, heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
    if hidden % heads:
        raise SourceError(
            f"config.json: hidden_size {hidden} is no multiple of num_attention_heads {heads}"
        )
    epsilon = config.get("layer_norm_eps")
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise SourceError(
            f"config.json: layer_norm_eps is {epsilon!r}, it must lie between 0 and 1"
        )
    return BertConfig(
        family="bert" if model_type == "bert" else JINA_V3 if rotary else "xlm-roberta",
        hidden_size=hidden,
        num_hidden_layers=_size(config, "num_hidden_layers"),
        num_attention_heads=heads,
        head_dim=hidden // heads,
        intermediate_size=_size(config, "intermediate_size"),
        vocab_size=_size(config, "vocab_size"),
        type_vocab_size=_size(config, "type_vocab_size"),
        max_position_embeddings=_size(config, "max_position_embeddings"),
        layer_norm_eps=epsilon,
        rope_theta=_rotary_base(config, model_type) if rotary else None,
        # RoBERTa counts from the row after its padding token's id.
        first_position=0 if rotary or model_type == "bert" else _pad(config) + 1,
    )


def _clip_text(config: Mapping[str, Any], weights: Weights) -> BertConfig:
    """The text tower of jina-clip-v2: jina-embeddings-v3's network."""
    text = config.get("text_config")
    if not isinstance(text, Mapping):
        raise SourceError("config.json: text_config is missing; is this jina-clip-v2?")
    _refuse(
        text,
        {
            "pooler_type": text.get("pooler_type") != "mean_pooler",
            "proj_type": text.get("proj_type") is not None,
        },
    )
    numbers = (re.match(r"layers\.(\d+)", key) for key in sorted(weights.keys()))
    layers = {int(number[1]) for number in numbers if number}
    vocab, hidden = weights.shape("embeddings.word_embeddings.weight")
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
        intermediate_size=weights.shape("layers.0.mlp.fc1.weight")[0],
        vocab_size=vocab,
        type_vocab_size=weights.shape("embeddings.token_type_embeddings.weight")[0],
        max_position_embeddings=8194,
        layer_norm_eps=1e-5,
        rope_theta=_ROTARY_BASE,
        first_position=0,
    )


def _rotary_base(config: Mapping[str, Any], model_type: str) -> float:
    """The base of the rotary positions, under whichever name, in one value."""
    parameters = config.get("rope_parameters") or {}
    kind = parameters.get("rope_type", "default")
    if kind != "default" or config.get("rope_scaling"):
        raise SourceError(f"config.json: rope_type {kind!r} or rope_scaling is not supported")
    found = {
        float(value)
        for value in (
            config.get("rotary_emb_base"),
            config.get("rope_theta"),
            parameters.get("rope_theta"),
        )
        if value
    }
    if not found and model_type == JINA_V3:
        return _ROTARY_BASE
    if len(found) != 1:
        raise SourceError(
            "config.json: rotary_emb_base is "
            + (f"contradictory {sorted(found)}" if found else "missing")
            + "; a guess would give wrong vectors silently, so state it"
        )
    return found.pop()


def _refuse(config: Mapping[str, Any], refused: Mapping[str, bool]) -> None:
    for name, unsupported in refused.items():
        if unsupported:
            raise SourceError(f"config.json: {name} {config.get(name)!r} is not supported")


def _size(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise SourceError(f"config.json: {name} is {value!r}, it must be a positive whole number")
    return value


def _pad(config: Mapping[str, Any]) -> int:
    value = config.get("pad_token_id")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SourceError(
            f"config.json: pad_token_id is {value!r}; positions are counted from it, so state it"
        )
    return value


def expected_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network."""
    hidden, inner = config.hidden_size, config.intermediate_size
    tables = {"word": config.vocab_size, "token_type": config.type_vocab_size}
    if config.rope_theta is None:
        tables["position"] = config.max_position_embeddings
    shapes: dict[str, tuple[int, ...]] = {
        f"embeddings.{name}_embeddings.weight": (rows, hidden) for name, rows in tables.items()
    }
    linears = {f"self_attn.{side}_proj": (hidden, hidden) for side in "qkvo"}
    linears |= {"mlp.fc1": (inner, hidden), "mlp.fc2": (hidden, inner)}
    norms = ["embeddings.LayerNorm"]
    for index in range(config.num_hidden_layers):
        for name, shape in linears.items():
            shapes[f"layers.{index}.{name}.weight"] = shape
            shapes[f"layers.{index}.{name}.bias"] = shape[:1]
        norms += [f"layers.{index}.post_{part}_layernorm" for part in ("attention", "mlp")]
    for norm in norms:
        shapes |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
    return shapes
