"""The register of model types: the one list of what can be exported.

A model_type of config.json leads to a family of networks here, and nowhere else.
"""

from collections.abc import Mapping
from typing import Any

from embedge.errors import SourceError
from embedge_export.reading.fields import shown

JINA_V5 = "jina_embeddings_v5"
JINA_V3 = "jina_embeddings_v3"  # transformers' name; Jina's own checkpoint says xlm-roberta
JINA_CLIP = "jina_clip"
# model_type -> family. The two v5 models have one model_type, and `is_decoder` tells them apart.
DECODERS: Mapping[str, str] = {
    JINA_V5: "qwen3",
    "qwen3": "qwen3",
    "qwen2": "qwen2",
    "llama": "llama",
    "eurobert": "eurobert",
}
# Networks that read from left to right: only their last token has seen the whole text.
CAUSAL = ("qwen3", "qwen2", "llama")
ENCODERS = ("bert", "roberta", "xlm-roberta", JINA_V3, JINA_CLIP)
MODEL_TYPES = (*DECODERS, *ENCODERS)


def check_model_type(config: Mapping[str, Any]) -> str:
    """The model_type of a config.json.

    Raises:
        SourceError: no network is written for it.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        raise SourceError(
            f"config.json: model_type {shown(model_type)} is not supported; these are: "
            f"{', '.join(MODEL_TYPES)}"
        )
    return model_type
