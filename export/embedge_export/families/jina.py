"""What Jina's models have in their config.json beside a network: adapters and instructions.

Takes a model folder and the parsed config.json; gives plain values for `folder.py`. Knows nothing
of weights, adapters or tokenizers.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge_export.families.model_types import JINA_CLIP
from embedge_export.reading.fields import is_number, is_whole, shown


@dataclass(frozen=True, slots=True)
class StoredAdapters:
    """Adapters that stand among a checkpoint's own weights, as its config tells of them."""

    tasks: tuple[str, ...]
    rank: int
    alpha: float


def stored_adapters(folder: Path, config: Mapping[str, Any]) -> StoredAdapters | None:
    """The adapters of jina-embeddings-v3 and jina-clip-v2; None where a config names none."""
    settings = instruction_settings(config)
    tasks = settings.get("lora_adaptations")
    if tasks is None:
        return None
    rank, alpha = settings.get("lora_rank"), settings.get("lora_alpha")
    if not isinstance(tasks, list) or not tasks or not all(isinstance(t, str) for t in tasks):
        raise SourceError(f'{folder / "config.json"}: "lora_adaptations" is not a list of names')
    if len(set(tasks)) != len(tasks):
        raise SourceError(f'{folder / "config.json"}: "lora_adaptations" has a name twice')
    if not is_whole(rank) or rank < 1:
        raise SourceError(
            f'{folder / "config.json"}: "lora_rank" is {shown(rank)}, not a whole number above 0'
        )
    if not is_number(alpha) or alpha <= 0:
        raise SourceError(
            f'{folder / "config.json"}: "lora_alpha" is {shown(alpha)}, not a number above 0'
        )
    default = text_config(config)["default_lora_task"]
    if config.get("model_type") == JINA_CLIP and tasks != [default]:
        raise SourceError(
            f'{folder / "config.json"}: "lora_adaptations" is {shown(tasks)}, and '
            f'"default_lora_task" {shown(default)}; only one adapter that every text takes is '
            "supported"
        )
    return StoredAdapters(tuple(tasks), rank, float(alpha))


def instruction_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a config tells of adapters and instructions; jina-clip-v2's has it further in."""
    if config.get("model_type") != JINA_CLIP:
        return config
    inner = text_config(config)["hf_model_config_kwargs"]
    return inner if isinstance(inner, Mapping) else {}


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """jina-clip-v2's `text_config`; None for what it does not say."""
    text = config.get("text_config")
    return defaultdict(lambda: None, text if isinstance(text, Mapping) else {})


def read_width(folder: Path, config: Mapping[str, Any]) -> int:
    """How wide the model's vectors are."""
    name = "projection_dim" if config.get("model_type") == JINA_CLIP else "hidden_size"
    width = config.get(name)
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise SourceError(f'{folder / "config.json"}: "{name}" is {shown(width)}, not a width')
    return width
