"""jina-clip-v2 as a family: the habits of its text tower, and its vision tower beside it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from embedge.errors import SourceError
from embedge_export.families.bert.config import BertConfig
from embedge_export.families.bert.family import Bert
from embedge_export.families.bert.fields import JINA_FLASH
from embedge_export.families.bert.names import TextLayout, text_layout
from embedge_export.families.clip.config import text_tower, vision_tower
from embedge_export.families.clip.preprocessor import read_preprocessor
from embedge_export.families.eva02.config import EvaConfig
from embedge_export.families.eva02.tower import EvaTower
from embedge_export.families.stored_adapters import StoredAdapters
from embedge_export.reading.fields import shown
from embedge_export.tensors.renamed import NamedWeights, Place
from embedge_export.tensors.weights import Weights

_MAX_LENGTH = 8192  # the config holds no sizes of its text tower
_LOGIT_SCALE = "logit_scale"
_TEXT, _VISION = "text_model.", "vision_model."


class _JinaClip(Bert):
    """See Family."""

    def names(self, stored: Weights) -> TextLayout:
        """See Bert."""
        return text_layout(stored, prefix=f"{_TEXT}transformer.")

    def read(self, config: Mapping[str, Any], weights: Weights) -> BertConfig:
        """See Bert."""
        return text_tower(config, weights)

    def positions(self, folder: Path, config: Mapping[str, Any]) -> object:
        """See Family."""
        return _MAX_LENGTH

    def task_settings(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """See Family."""
        inner = _text_config(config).get("hf_model_config_kwargs")
        return inner if isinstance(inner, Mapping) else {}

    def default_instruction(self, config: Mapping[str, Any], named: object) -> object:
        """See Family."""
        return _text_config(config).get("default_instruction_task")

    def stored_adapters(self, folder: Path, config: Mapping[str, Any]) -> StoredAdapters | None:
        """See Family. Every text takes the one adapter that there is."""
        found = super().stored_adapters(folder, config)
        default = _text_config(config).get("default_lora_task")
        if found is not None and list(found.tasks) != [default]:
            raise SourceError(
                f'{folder / "config.json"}: "lora_adaptations" is {shown(list(found.tasks))}, and '
                f'"default_lora_task" {shown(default)}; only one adapter that every text takes is '
                "supported"
            )
        return found

    def recipe_added(self, config: BertConfig, precision: str) -> int:
        """See Family. The image tower's fp16 graphs changed once."""
        return super().recipe_added(config, precision) + (precision == "fp16")

    def open_image_tower(
        self, folder: Path, config: Mapping[str, Any], stored: Weights
    ) -> EvaTower:
        """See Family."""
        for key in sorted(stored.keys()):
            if not key.startswith((_TEXT, _VISION)) and key != _LOGIT_SCALE:
                raise SourceError(
                    f"{folder}: the tensor {key!r} belongs to neither tower; leaving it out could "
                    "change the vectors"
                )
        weights = vision_names(stored)
        tower = vision_tower(config, weights)
        _check_rotary(tower, stored)
        return EvaTower(tower, weights, read_preprocessor(folder, tower, _logit_scale(stored)))


JINA_CLIP = _JinaClip(network=JINA_FLASH, width_field="projection_dim", pooling="mean")


def vision_names(stored: Weights) -> NamedWeights:
    """The vision tower's tensors, without their prefix and the stored rotary tables."""
    places = {
        name.removeprefix(_VISION): Place(name)
        for name in sorted(stored.keys())
        if name.startswith(_VISION) and not re.search(r"rope\.freqs_(cos|sin)$", name)
    }
    return NamedWeights(stored, places)


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    text = config.get("text_config")
    return text if isinstance(text, Mapping) else {}


def _logit_scale(stored: Weights) -> float | None:
    if _LOGIT_SCALE not in stored:
        return None
    if math.prod(stored.shape(_LOGIT_SCALE)) != 1:
        raise SourceError(
            f"the tensor {_LOGIT_SCALE!r} has shape {stored.shape(_LOGIT_SCALE)}; it must be one "
            "number"
        )
    value = float(stored.read(_LOGIT_SCALE).reshape(-1)[0])
    if not abs(value) < 20:  # a hundred, 4.6, is as far as training lets it go
        raise SourceError(f"the tensor {_LOGIT_SCALE!r} is {value}, no scale; download it again")
    return math.exp(value)


def _check_rotary(tower: EvaConfig, stored: Weights) -> None:
    """Rotary tables that stand in the checkpoint must be the ones that the config means."""
    from embedge_export.families.eva02.blocks import rotary_angles

    angles = np.repeat(rotary_angles(tower)[1:], 2, axis=1)  # (patches, head_width)
    for key in sorted(stored.keys()):
        name = key.rpartition(".")[2]
        if not key.startswith(_VISION) or name not in ("freqs_cos", "freqs_sin"):
            continue
        expected = np.cos(angles) if name == "freqs_cos" else np.sin(angles)
        # 0.01: the stored ones may be bfloat16.
        if stored.shape(key) != expected.shape or np.abs(stored.read(key) - expected).max() > 0.01:
            raise SourceError(
                f"tensor {key!r} is not the table of rotary positions that config.json means; "
                "the network is another one"
            )
