"""What the config of a ModernBERT network says, checked.

Takes the parsed config.json and the weights under the names of names.py, gives one frozen record.
Whatever would change the vectors and is not written by writer.py is refused by name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embedge_export.families.fields import epsilon
from embedge_export.families.heads import check_heads
from embedge_export.families.modernbert.fields import MODERNBERT_FIELDS
from embedge_export.families.rotary_base import LAYER_KINDS, MOST_POSITIONS, layer_base
from embedge_export.reading.fields import Settings
from embedge_export.tensors.weights import Weights, check_tensors

# What transformers' class takes where config.json has no such field.
_GLOBAL_BASE, _LOCAL_BASE = 160_000.0, 10_000.0
_GLOBAL_EVERY = 3
_LOCAL_ATTENTION = 128
_GLOBAL, _LOCAL = LAYER_KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class ModernBertConfig:
    """Sizes and constants of a network; names as in transformers' config."""

    family: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    norm_eps: float
    norm_bias: bool  # norms add one
    attention_bias: bool  # the attention's linears do
    mlp_bias: bool  # the MLP's linears do
    local_layers: tuple[bool, ...]  # of each layer, whether a token sees those near it alone
    reach: int  # tokens before and after its own that it then sees
    global_theta: float
    local_theta: float

    @property
    def causal(self) -> bool:
        """False: tokens see to both sides."""
        return False


def modernbert_config(config: Mapping[str, Any], weights: Weights) -> ModernBertConfig:
    """Reads and checks a config.

    Args:
        config: config.json.
        weights: what it must fit.

    Raises:
        SourceError: it asks for what the writer does not know, or does not fit the weights.
    """
    settings = Settings(config, MODERNBERT_FIELDS)
    hidden, heads = settings.size("hidden_size"), settings.size("num_attention_heads")
    if hidden % heads:
        raise settings.error("hidden_size", f"not a multiple of num_attention_heads {heads}")
    window = settings.size("local_attention", default=_LOCAL_ATTENTION)
    if window < 2:
        raise settings.error("local_attention", "and half of it, to each side, is no token")
    result = ModernBertConfig(
        family="modernbert",
        hidden_size=hidden,
        num_hidden_layers=settings.size("num_hidden_layers"),
        num_attention_heads=heads,
        head_dim=hidden // heads,
        intermediate_size=settings.size("intermediate_size"),
        vocab_size=settings.size("vocab_size"),
        max_position_embeddings=settings.size("max_position_embeddings", most=MOST_POSITIONS),
        norm_eps=epsilon(settings, "norm_eps"),
        norm_bias=settings.flag("norm_bias", default=False),
        attention_bias=settings.flag("attention_bias", default=False),
        mlp_bias=settings.flag("mlp_bias", default=False),
        local_layers=_local_layers(settings, weights),
        reach=window // 2,
        global_theta=layer_base(settings, _GLOBAL, "global_rope_theta", default=_GLOBAL_BASE),
        local_theta=layer_base(settings, _LOCAL, "local_rope_theta", default=_LOCAL_BASE),
    )
    check_heads(heads, heads, result.head_dim, causal=False, rotary=True)
    check_tensors(weights, expected_shapes(result), "a modernbert network of this config.json")
    return result


def _local_layers(settings: Settings, weights: Weights) -> tuple[bool, ...]:
    """Which layers are local, from either spelling; where there are both they must agree."""
    layers = settings.size("num_hidden_layers")
    if layers > len(weights.keys()):  # which have several tensors each: do not write a list of them
        raise settings.error("num_hidden_layers", "and the weights have fewer tensors")
    every = settings.size("global_attn_every_n_layers", default=_GLOBAL_EVERY)
    by_number = tuple(index % every != 0 for index in range(layers))
    kinds = settings.get("layer_types")
    if kinds is None:
        return by_number
    if not isinstance(kinds, list) or any(kind not in (_GLOBAL, _LOCAL) for kind in kinds):
        raise settings.error("layer_types", f'it must be a list of "{_GLOBAL}" and "{_LOCAL}"')
    if len(kinds) != layers:
        raise settings.error("layer_types", "not as many as num_hidden_layers says")
    listed = tuple(kind == _LOCAL for kind in kinds)
    if settings.get("global_attn_every_n_layers") is not None and listed != by_number:
        raise settings.error(
            "layer_types", f"and global_attn_every_n_layers {every} says otherwise; leave one out"
        )
    return listed


def expected_shapes(config: ModernBertConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of the network, a layer after another."""
    hidden, inner = config.hidden_size, config.intermediate_size

    def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (hidden,)
        if config.norm_bias:
            yield f"{name}.bias", (hidden,)

    linears = {f"attn.{name}": (hidden, hidden, config.attention_bias) for name in "qkv"}
    linears |= {
        "attn.Wo": (hidden, hidden, config.attention_bias),
        "mlp.gate": (inner, hidden, config.mlp_bias),
        "mlp.up": (inner, hidden, config.mlp_bias),
        "mlp.Wo": (hidden, inner, config.mlp_bias),
    }
    yield "embeddings.tok_embeddings.weight", (config.vocab_size, hidden)
    yield from norm("embeddings.norm")
    yield from norm("final_norm")
    for index in range(config.num_hidden_layers):
        layer = f"layers.{index}"
        if index:  # the first reads the embeddings, which are normed already
            yield from norm(f"{layer}.attn_norm")
        yield from norm(f"{layer}.mlp_norm")
        for name, (out, width, biased) in linears.items():
            yield f"{layer}.{name}.weight", (out, width)
            if biased:
                yield f"{layer}.{name}.bias", (out,)
