"""The register: a `model_type` of config.json leads to its family here, and nowhere else."""

from collections.abc import Mapping
from typing import Any

from embedge.errors import OptionError, SourceError
from embedge_export.families.bert.family import (
    BERT,
    DISTILBERT,
    JINA_EMBEDDINGS_V3,
    MPNET,
    ROBERTA,
    XLM_ROBERTA,
)
from embedge_export.families.clip.family import JINA_CLIP
from embedge_export.families.decoder.family import EUROBERT, JINA_V5, LLAMA, QWEN2, QWEN3
from embedge_export.families.family import Family
from embedge_export.families.modernbert.family import MODERNBERT
from embedge_export.families.optimum.family import OPTIMUM
from embedge_export.families.static.family import MODEL2VEC_TABLE, STATIC_TABLE
from embedge_export.families.static.fields import MODEL2VEC, PLACE, STATIC_EMBEDDING
from embedge_export.reading.fields import shown

FAMILIES: Mapping[str, Family[Any]] = {
    "jina_embeddings_v5": JINA_V5,
    "qwen3": QWEN3,
    "qwen2": QWEN2,
    "llama": LLAMA,
    "eurobert": EUROBERT,
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": XLM_ROBERTA,
    "distilbert": DISTILBERT,
    "mpnet": MPNET,
    "modernbert": MODERNBERT,
    "jina_embeddings_v3": JINA_EMBEDDINGS_V3,
    "jina_clip": JINA_CLIP,
    MODEL2VEC: MODEL2VEC_TABLE,
    STATIC_EMBEDDING: STATIC_TABLE,
}


def completed(config: Mapping[str, Any], static: str | None) -> Mapping[str, Any]:
    """config.json with a model_type, where a static model's has none.

    model2vec writes one into what it distilled alone, and Sentence Transformers no config.json.

    Args:
        config: as it stands there; empty where the file is missing.
        static: the folder of the static embedding among Sentence Transformers' modules; None where
            there is no such module.
    """
    config = {key: value for key, value in config.items() if key != PLACE}
    if "model_type" in config:
        return config
    if "embedding_dtype" in config:  # a field of model2vec's alone, which it always writes
        return {**config, "model_type": MODEL2VEC}
    if static is not None:
        return {**config, "model_type": STATIC_EMBEDDING, PLACE: static}
    return config


# Libraries that networks can be taken from: whatever they know, by one family each.
VIA: Mapping[str, Family[Any]] = {"optimum": OPTIMUM}


def check_via(via: str | None) -> None:
    """Makes sure that networks can be taken from a library here.

    Raises:
        OptionError: it is not one of `VIA`.
        MissingExtraError: it, or what it needs, is not installed.
    """
    if via is None:
        return
    if via not in tuple(VIA):
        raise OptionError(f"via {via!r}: choose from {', '.join(VIA)}")
    VIA[via].check_installed()


def family_of(config: Mapping[str, Any], via: str | None = None) -> Family[Any]:
    """The family of a config.json.

    Args:
        config: config.json.
        via: the library that its network is taken from; None where it is written here.

    Raises:
        SourceError: no network is written for its model_type.
    """
    model_type = config.get("model_type")
    if via is None and isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    if config.get("is_encoder_decoder") is True:
        raise SourceError(
            f"config.json: {shown(model_type)} is an encoder with a decoder (is_encoder_decoder), "
            "which has no rows of a text alone and is not supported, with --via neither; export a "
            f"model that is an encoder alone. {_supported()}"
        )
    if via is not None and isinstance(model_type, str):
        return VIA[via]
    if model_type is None:
        raise SourceError(
            f'config.json has no "model_type", so that its network is not known. {_supported()}'
        )
    if isinstance(config.get("auto_map"), Mapping):
        raise SourceError(
            f"config.json: model_type {shown(model_type)} is not supported. Its network is code in "
            f"the model's own folder (auto_map), which is never run. {_supported()}"
        )
    raise SourceError(
        f"config.json: model_type {shown(model_type)} is not supported. {_supported()}. Other "
        f"encoders may come with --via {' or '.join(VIA)}"
    )


def _supported() -> str:
    return f"Supported are: {', '.join(FAMILIES)}"
