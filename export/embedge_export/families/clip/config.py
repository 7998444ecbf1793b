"""What jina-clip-v2's config.json says of its two towers, checked.

Takes the parsed config.json and a tower's weights; gives the records of the families that the
towers are of. The config does not hold the text tower's sizes: they are read off the weights.
"""

import re
from collections.abc import Mapping
from typing import Any

from embedge.errors import SourceError
from embedge_export.families.bert.config import ROTARY_BASE, BertConfig, check_network
from embedge_export.families.clip.fields import CLIP, TEXT_NETWORK, TEXT_TOWER
from embedge_export.families.eva02.config import EvaConfig, eva_config
from embedge_export.reading.fields import Settings, shown
from embedge_export.tensors.weights import Weights

_HEAD_DIM = 64  # of the text tower


def text_tower(config: Mapping[str, Any], weights: Weights) -> BertConfig:
    """The text tower, which is jina-embeddings-v3's network.

    Raises:
        SourceError: `text_config` asks for what the writer does not know, or does not fit.
    """
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
    if hidden % _HEAD_DIM or text.get("embed_dim", hidden) != hidden:
        raise SourceError(
            f"the text tower's table is {hidden} wide; config.json says "
            f"{shown(text.get('embed_dim'))}, and the network needs a multiple of {_HEAD_DIM}"
        )
    result = BertConfig(
        family="jina_clip",
        hidden_size=hidden,
        num_hidden_layers=max(layers, default=-1) + 1,
        num_attention_heads=hidden // _HEAD_DIM,
        head_dim=_HEAD_DIM,
        intermediate_size=_matrix(weights, "layers.0.mlp.fc1.weight")[0],
        vocab_size=vocab,
        type_vocab_size=_matrix(weights, "embeddings.token_type_embeddings.weight")[0],
        max_position_embeddings=8194,
        layer_norm_eps=1e-5,
        rope_theta=ROTARY_BASE,
        padding_id=None,
    )
    check_network(result, weights)
    return result


def vision_tower(config: Mapping[str, Any], weights: Weights) -> EvaConfig:
    """The vision tower.

    Raises:
        SourceError: `vision_config` asks for what the writer does not know, or does not fit.
    """
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        raise SourceError("config.json: vision_config is missing; is this jina-clip-v2?")
    settings = Settings(config, CLIP)
    result = eva_config(vision, weights)
    if settings.size("projection_dim", default=result.width) != result.width:
        raise settings.error("projection_dim", f"not the towers' width {result.width}")
    return result


def _matrix(weights: Weights, key: str) -> tuple[int, int]:
    """The shape of a tensor that must have rows and columns."""
    shape = weights.shape(key)
    if len(shape) != 2 or not all(shape):
        raise SourceError(f"tensor {key!r} has shape {shape}; it must have rows and columns")
    return shape[0], shape[1]
