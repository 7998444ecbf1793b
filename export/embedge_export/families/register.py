"""The register: a `model_type` of config.json leads to its family here, and nowhere else."""

from collections.abc import Mapping
from typing import Any

from embedge.errors import SourceError
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
    "jina_embeddings_v3": JINA_EMBEDDINGS_V3,
    "jina_clip": JINA_CLIP,
}


def family_of(config: Mapping[str, Any]) -> Family[Any]:
    """The family of a config.json.

    Raises:
        SourceError: no network is written for its model_type.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise SourceError(
            f"config.json: model_type {shown(model_type)} is not supported; these are: "
            f"{', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]
