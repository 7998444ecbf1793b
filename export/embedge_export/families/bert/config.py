"""What the config of a BERT-like encoder says, checked: BERT, XLM-RoBERTa, jina-embeddings-v3.

Takes the parsed config.json and the weights under their common names (names.py), gives one
frozen record. Whatever would change the vectors and is not written by blocks.py is refused by name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embedge_export.families.bert.fields import (
    BERT_FIELDS,
    DISTILBERT,
    JINA_FLASH,
    JINA_V3,
    MPNET,
    MPNET_PADDING,
)
from embedge_export.families.fields import epsilon
from embedge_export.families.heads import check_heads
from embedge_export.families.rotary_base import MOST_POSITIONS, rotary_base
from embedge_export.reading.fields import Settings, is_whole
from embedge_export.tensors.weights import Weights, check_tensors

# What DistilBERT's config calls a size, and the epsilon that its code holds.
_DISTILBERT_NAMES = {
    "hidden_size": "dim",
    "intermediate_size": "hidden_dim",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
}
_DISTILBERT_EPSILON = 1e-12
# MPNet shares out the distances of two tokens among these, as T5 does (arXiv 1910.10683): half of
# them for tokens before, half for those after; from the farthest on all share the last.
DISTANCE_BUCKETS = 32
FARTHEST = 128  # tokens
DISTANCE_TABLE = "encoder.relative_attention_bias.weight"
_FAMILIES = {"roberta": "xlm-roberta"}  # one network under two names
ROTARY_BASE = 20_000.0  # of jina-embeddings-v3, where a config is silent (its own class's default)


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
    type_vocab_size: int  # 0: tokens have no type
    max_position_embeddings: int
    layer_norm_eps: float
    rope_theta: float | None  # None: a learned position is added to every token
    # RoBERTa: the position of a token is this more than how many tokens up to it have another id;
    # a token of this id has this position. None: positions count every token, from 0.
    padding_id: int | None
    # MPNet: every head adds a number to a score, by the bucket of the tokens' distance. 0: none.
    distance_buckets: int = 0

    @property
    def causal(self) -> bool:
        """False: every token sees all of its text."""
        return False


def bert_config(config: Mapping[str, Any], weights: Weights, network: str) -> BertConfig:
    """Reads and checks a config.

    Args:
        config: config.json.
        weights: what it must fit.
        network: a key of `BERT_FIELDS`.

    Raises:
        SourceError: it asks for what the writer does not know, or does not fit the weights.
    """
    result = _read(config, network)
    check_network(result, weights)
    return result


def check_network(config: BertConfig, weights: Weights) -> None:
    """Refuses a network that no graph can be written of, or weights that are another's."""
    check_heads(
        *(config.num_attention_heads,) * 2,
        config.head_dim,
        causal=config.causal,
        rotary=config.rope_theta is not None,
    )
    check_tensors(
        weights, expected_shapes(config), f"a {config.family} network of this config.json"
    )


def _read(config: Mapping[str, Any], network: str) -> BertConfig:
    flash = network == "xlm-roberta" and config.get("position_embedding_type") == "rotary"
    kind = JINA_FLASH if flash else network
    settings = Settings(config, BERT_FIELDS[kind])
    names = _DISTILBERT_NAMES if kind == DISTILBERT else {}

    def size(name: str) -> int:
        return settings.size(names.get(name, name))

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    if hidden % heads:
        width, count = (names.get(name, name) for name in ("hidden_size", "num_attention_heads"))
        raise settings.error(width, f"not a multiple of {count} {heads}")
    rotary = kind in (JINA_V3, JINA_FLASH)
    base = None
    if rotary:
        base = _rotary_base(settings, kind)
        if settings.size("head_dim", default=hidden // heads) != hidden // heads:
            raise settings.error("head_dim", "not hidden_size over num_attention_heads")
    return BertConfig(
        family=JINA_V3 if rotary else _FAMILIES.get(kind, kind),
        hidden_size=hidden,
        num_hidden_layers=size("num_hidden_layers"),
        num_attention_heads=heads,
        head_dim=hidden // heads,
        intermediate_size=size("intermediate_size"),
        vocab_size=size("vocab_size"),
        type_vocab_size=0 if kind in (DISTILBERT, MPNET) else size("type_vocab_size"),
        max_position_embeddings=settings.size(
            "max_position_embeddings", **({"most": MOST_POSITIONS} if rotary else {})
        ),
        layer_norm_eps=(
            _DISTILBERT_EPSILON if kind == DISTILBERT else epsilon(settings, "layer_norm_eps")
        ),
        rope_theta=base,
        padding_id=_padding_id(settings, kind),
        distance_buckets=DISTANCE_BUCKETS if kind == MPNET else 0,
    )


def _rotary_base(settings: Settings, kind: str) -> float:
    """jina-embeddings-v3's, from whichever of its two configs."""
    if kind == JINA_V3:
        return rotary_base(settings, default=ROTARY_BASE)
    return rotary_base(settings, names=("rotary_emb_base", "rope_theta"))


def _padding_id(settings: Settings, kind: str) -> int | None:
    """The id that positions are counted from; None where every token counts."""
    if kind == MPNET:
        return MPNET_PADDING
    if kind not in ("roberta", "xlm-roberta"):
        return None
    value = settings.get("pad_token_id")
    if not is_whole(value) or value < 0:
        raise settings.error("pad_token_id", "positions are counted from it, so state it")
    if value >= settings.size("max_position_embeddings") - 1:
        raise settings.error("pad_token_id", "positions are counted from it, and none is left")
    return int(value)


def expected_shapes(config: BertConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of the network, a layer after another."""
    hidden, inner = config.hidden_size, config.intermediate_size
    tables = {"word": config.vocab_size}
    if config.type_vocab_size:
        tables["token_type"] = config.type_vocab_size
    if config.rope_theta is None:
        tables["position"] = config.max_position_embeddings
    for name, rows in tables.items():
        yield f"embeddings.{name}_embeddings.weight", (rows, hidden)
    if config.distance_buckets:
        yield DISTANCE_TABLE, (config.distance_buckets, config.num_attention_heads)
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
