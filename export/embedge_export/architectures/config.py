"""What a Hugging Face config.json says of a network, checked.

Takes the parsed JSON and the weights' shapes, gives one frozen record. Whatever would change the
vectors and is not written by network.py is refused by name: a config that is read too kindly
gives wrong vectors without an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedge.errors import SourceError
from embedge_export.conventions import JINA_V5
from embedge_export.weights import Weights, check_tensors

# The encoder; all other families are decoders.
ENCODER = "eurobert"
# model_type -> family. The two v5 models have one model_type: see `_family`.
FAMILIES = {
    JINA_V5: "qwen3",
    "qwen3": "qwen3",
    "qwen2": "qwen2",
    "llama": "llama",
    "eurobert": ENCODER,
}


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


def network_config(config: Mapping[str, Any], weights: Weights) -> NetworkConfig:
    """Reads and checks a network's config.

    Raises:
        SourceError: the network is another one, or uses what the writer does not know.
    """
    family = _family(config)
    _refuse_unknown(config)
    heads = _size(config, "num_attention_heads")
    hidden = _size(config, "hidden_size")
    result = NetworkConfig(
        family=family,
        causal=family != ENCODER,
        hidden_size=hidden,
        num_hidden_layers=_size(config, "num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=_size(config, "num_key_value_heads", default=heads),
        head_dim=_size(config, "head_dim", default=hidden // heads),
        intermediate_size=_size(config, "intermediate_size"),
        vocab_size=_size(config, "vocab_size"),
        max_position_embeddings=_size(config, "max_position_embeddings"),
        rms_norm_eps=_positive(config, "rms_norm_eps"),
        rope_theta=_rope_theta(config),
        query_key_norm=family == "qwen3",
    )
    if heads % result.num_key_value_heads:
        raise SourceError(
            f"config.json: num_attention_heads {heads} is no multiple of num_key_value_heads "
            f"{result.num_key_value_heads}"
        )
    check_tensors(
        weights,
        expected_shapes(result),
        f"a {result.family} network",
        optional=lambda key: key.endswith("_proj.bias"),
        # A buffer computed from rope_theta; the head, which embeddings do not use.
        unread=lambda key: key.endswith("rotary_emb.inv_freq") or key == "lm_head.weight",
    )
    return result


def _family(config: Mapping[str, Any]) -> str:
    """Which network it is; `is_decoder` must not say the opposite."""
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise SourceError(
            f"config.json: model_type {model_type!r} has no writer; those there are: "
            f"{', '.join(FAMILIES)}"
        )
    decoder = config.get("is_decoder")
    if model_type == JINA_V5 and decoder is False:
        return ENCODER  # jina-embeddings-v5-text-nano
    family = FAMILIES[model_type]
    if decoder is (family == ENCODER):
        raise SourceError(
            f"config.json: is_decoder is {decoder}, but a {family} network is "
            f"{'bidirectional' if decoder else 'causal'}; one of the two is wrong"
        )
    return family


def _refuse_unknown(config: Mapping[str, Any]) -> None:
    refused = {
        "hidden_act": config.get("hidden_act", "silu") != "silu",
        "use_sliding_window": bool(config.get("use_sliding_window")),
        "partial_rotary_factor": config.get("partial_rotary_factor", 1.0) != 1.0,
        "layer_types": any(kind != "full_attention" for kind in config.get("layer_types") or ()),
        "quantization_config": config.get("quantization_config") is not None,
    }
    for name, unsupported in refused.items():
        if unsupported:
            raise SourceError(f"config.json: {name} {config[name]!r} is not supported")


def _rope_theta(config: Mapping[str, Any]) -> float:
    """rope_theta at top level (transformers 4) or in rope_parameters (transformers 5)."""
    parameters = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    factor_one = kind == "linear" and parameters.get("factor") == 1.0
    if kind != "default" and not factor_one:
        raise SourceError(f"config.json: rope_type {kind!r} is not supported, only 'default' is")
    found = {
        float(holder["rope_theta"]) for holder in (config, parameters) if holder.get("rope_theta")
    }
    if len(found) != 1:
        raise SourceError(
            "config.json: rope_theta is "
            + (f"contradictory {sorted(found)}" if found else "missing")
            + "; a guess would give wrong vectors silently, so state it"
        )
    return found.pop()


def _size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise SourceError(f"config.json: {name} is {value!r}, it must be a positive whole number")
    return value


def _positive(config: Mapping[str, Any], name: str) -> float:
    value = config.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1:
        raise SourceError(f"config.json: {name} is {value!r}, it must lie between 0 and 1")
    return float(value)


def expected_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that a checkpoint may hold; the biases of projections are optional."""
    hidden, inner = config.hidden_size, config.intermediate_size
    query = config.num_attention_heads * config.head_dim
    key_value = config.num_key_value_heads * config.head_dim
    projections = {
        "self_attn.q_proj": (query, hidden),
        "self_attn.k_proj": (key_value, hidden),
        "self_attn.v_proj": (key_value, hidden),
        "self_attn.o_proj": (hidden, query),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (config.vocab_size, hidden),
        "norm.weight": (hidden,),
    }
    for index in range(config.num_hidden_layers):
        layer = f"layers.{index}"
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
        if config.query_key_norm:
            shapes[f"{layer}.self_attn.q_norm.weight"] = (config.head_dim,)
            shapes[f"{layer}.self_attn.k_norm.weight"] = (config.head_dim,)
        for name, (out, width) in projections.items():
            shapes[f"{layer}.{name}.weight"] = (out, width)
            shapes[f"{layer}.{name}.bias"] = (out,)
    return shapes
