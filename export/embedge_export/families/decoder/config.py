"""What a Hugging Face config.json says of a network, checked.

Takes the parsed JSON and the weights' shapes, gives one frozen record. Whatever would change the
vectors and is not written by blocks.py is refused by name: a config that is read too kindly
gives wrong vectors without an error.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embedge.errors import SourceError
from embedge_export.families.decoder.fields import DECODER_FIELDS, ENCODER
from embedge_export.families.fields import epsilon
from embedge_export.families.heads import check_heads
from embedge_export.families.rotary_base import MOST_POSITIONS, rotary_base
from embedge_export.reading.fields import Settings, shown
from embedge_export.tensors.weights import Weights, check_tensors

# transformers' Qwen classes take these where config.json has no such field.
_QWEN_HEAD_DIM = 128
_QWEN_KEY_VALUE_HEADS = 32
# Tensors of a checkpoint that change no vector: a buffer computed from the rotary base, and the
# head that writes text.
_UNREAD = re.compile(r"((layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq|lm_head\.weight)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Sizes and constants of a network; names as in transformers' configs."""

    family: str
    causal: bool  # a token sees those before it, rather than all
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    query_key_norm: bool
    query_bias: bool  # q, k and v add one
    output_bias: bool  # the attention's output does
    mlp_bias: bool  # gate, up and down do


def network_config(config: Mapping[str, Any], weights: Weights, family: str) -> NetworkConfig:
    """Reads and checks a network's config.

    Args:
        config: config.json.
        weights: what it must fit.
        family: "qwen3", "qwen2", "llama" or "eurobert".

    Raises:
        SourceError: the network is another one, or uses what the writer does not know.
    """
    _check_direction(config, family)
    settings = Settings(config, DECODER_FIELDS[family])
    _refuse_other_layers(settings)
    heads = settings.size("num_attention_heads")
    hidden = settings.size("hidden_size")
    biased = family != "qwen2" and settings.flag("attention_bias", default=False)
    result = NetworkConfig(
        family=family,
        causal=family != ENCODER,
        hidden_size=hidden,
        num_hidden_layers=settings.size("num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=_key_value_heads(settings, family, heads),
        head_dim=_head_dim(settings, family, hidden, heads),
        intermediate_size=settings.size("intermediate_size"),
        vocab_size=settings.size("vocab_size"),
        max_position_embeddings=settings.size("max_position_embeddings", most=MOST_POSITIONS),
        rms_norm_eps=epsilon(settings, "rms_norm_eps"),
        rope_theta=rotary_base(settings),
        query_key_norm=family == "qwen3",
        query_bias=biased or family == "qwen2",
        output_bias=biased,
        mlp_bias=family in ("llama", ENCODER) and settings.flag("mlp_bias", default=False),
    )
    check_heads(
        heads,
        result.num_key_value_heads,
        result.head_dim,
        causal=result.causal,
        rotary=True,
    )
    check_tensors(
        weights,
        expected_shapes(result),
        f"a {result.family} network of this config.json",
        unread=lambda key: _UNREAD.fullmatch(key) is not None,
    )
    return result


def _check_direction(config: Mapping[str, Any], family: str) -> None:
    """Makes sure that `is_decoder` does not say the opposite of what the network is."""
    decoder = config.get("is_decoder")
    if decoder is not None and decoder is not (family != ENCODER):
        raise SourceError(
            f"config.json: is_decoder is {shown(decoder)}, but a {family} network is "
            f"{'bidirectional' if family == ENCODER else 'causal'}; one of the two is wrong"
        )


def _refuse_other_layers(settings: Settings) -> None:
    """Refuses layers that see a part of the text alone."""
    kinds = settings.get("layer_types")
    if kinds is None:
        return
    if not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds):
        raise settings.error("layer_types", 'of which only "full_attention" is supported')
    if len(kinds) != settings.size("num_hidden_layers"):
        raise settings.error("layer_types", "not as many as num_hidden_layers says")


def _key_value_heads(settings: Settings, family: str, heads: int) -> int:
    name = "num_key_value_heads"
    if family.startswith("qwen") and name not in settings.values:
        return _QWEN_KEY_VALUE_HEADS
    return settings.size(name, default=heads)


def _head_dim(settings: Settings, family: str, hidden: int, heads: int) -> int:
    default = _QWEN_HEAD_DIM if family == "qwen3" else hidden // heads
    if family != "qwen3" and settings.get("head_dim") is None and hidden % heads:
        raise settings.error(
            "hidden_size", f"not a multiple of num_attention_heads {heads}; state head_dim"
        )
    return settings.size("head_dim", default=default)


def expected_shapes(config: NetworkConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor that the network has, a layer after another."""
    hidden, inner = config.hidden_size, config.intermediate_size
    query = config.num_attention_heads * config.head_dim
    key_value = config.num_key_value_heads * config.head_dim
    projections = {
        "self_attn.q_proj": (query, hidden, config.query_bias),
        "self_attn.k_proj": (key_value, hidden, config.query_bias),
        "self_attn.v_proj": (key_value, hidden, config.query_bias),
        "self_attn.o_proj": (hidden, query, config.output_bias),
        "mlp.gate_proj": (inner, hidden, config.mlp_bias),
        "mlp.up_proj": (inner, hidden, config.mlp_bias),
        "mlp.down_proj": (hidden, inner, config.mlp_bias),
    }
    yield "embed_tokens.weight", (config.vocab_size, hidden)
    yield "norm.weight", (hidden,)
    for index in range(config.num_hidden_layers):
        layer = f"layers.{index}"
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        if config.query_key_norm:
            yield f"{layer}.self_attn.q_norm.weight", (config.head_dim,)
            yield f"{layer}.self_attn.k_norm.weight", (config.head_dim,)
        for name, (out, width, biased) in projections.items():
            yield f"{layer}.{name}.weight", (out, width)
            if biased:
                yield f"{layer}.{name}.bias", (out,)
