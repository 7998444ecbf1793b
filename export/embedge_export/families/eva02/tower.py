"""A source's image tower, opened: its network, how it wants its pixels, and what gates it.

Takes a source and its stored weights; gives an `ImageTower`, or None where the model reads text
alone. It is gated on the runtime's sample images, and its integers are fitted to others.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.errors import SourceError
from embedge.images.gate_images import sample_images
from embedge.images.pixels import from_square
from embedge.pack.manifest import ImageInput
from embedge_export.corpus.images import calibration_images
from embedge_export.families.bert.names import vision_layout
from embedge_export.families.eva02.blocks import SAMPLED, rotary_angles
from embedge_export.families.eva02.config import EvaConfig, eva_config
from embedge_export.families.eva02.fields import PREPROCESSOR_FIELDS
from embedge_export.families.eva02.truth import eva_vectors
from embedge_export.families.model_types import JINA_CLIP
from embedge_export.numbers.calibration import SampleRows
from embedge_export.numbers.exact import product
from embedge_export.reading.fields import Settings, is_whole
from embedge_export.reading.json_files import read_json
from embedge_export.tensors.weights import Weights

PREPROCESSOR = "preprocessor_config.json"
_LOGIT_SCALE = "logit_scale"
_TOWERS = ("text_model.", "vision_model.")
_LARGEST_LEVEL = 1000.0  # levels are numbers about 1
_EVERY = 5  # the first of so many tokens is a calibration row; their neighbours are much like them
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImageTower:
    """An image network, its weights, and how it wants its pixels."""

    config: EvaConfig
    weights: Weights
    input: ImageInput

    def pixels(self) -> Array:
        """The gate's images as the network takes them, float32 (images, 3, size, size)."""
        return from_square(sample_images(self.input.size), self.input)

    def calibration(self, *, advance: Callable[[str], None]) -> SampleRows:
        """What each linear of `SAMPLED` reads of images that are not the gate's.

        Returns:
            float32 (tokens, in) by the key of a weight: of every image the class token's row, which
            all attention ends in, and those of patches all over it.
        """
        samples: SampleRows = {}

        def observe(key: str, rows: Array) -> None:
            if key.removesuffix(".weight").endswith(SAMPLED):
                samples[key] = rows[:, ::_EVERY].reshape(-1, rows.shape[-1])

        pixels = from_square(calibration_images(self.input.size), self.input)
        eva_vectors(
            self.config, self.weights, pixels, advance=advance, observe=observe, product=product
        )
        return samples

    def reference(self, pixels: Array, *, advance: Callable[[str], None]) -> Array:
        """The truth: float32 (images, width), not normalised."""
        return eva_vectors(self.config, self.weights, pixels, advance=advance)


def open_image_tower(folder: Path, config: Mapping[str, Any], stored: Weights) -> ImageTower | None:
    """The image tower of jina-clip-v2; None for any other model.

    Raises:
        SourceError: the tower, or its preprocessing, is not what can be written.
    """
    if config.get("model_type") != JINA_CLIP:
        return None
    strangers = [
        k for k in sorted(stored.keys()) if not k.startswith(_TOWERS) and k != _LOGIT_SCALE
    ]
    if strangers:
        raise SourceError(
            f"{folder}: the tensor {strangers[0]!r} belongs to neither tower; leaving it out could "
            "change the vectors"
        )
    layout = vision_layout(stored)
    tower = eva_config(config, layout)
    _check_rotary(tower, stored)
    return ImageTower(tower, layout, _image_input(folder, tower, _logit_scale(stored)))


def _image_input(folder: Path, tower: EvaConfig, logit_scale: float | None) -> ImageInput:
    path = folder / PREPROCESSOR
    values = read_json(path)
    if not values:
        raise SourceError(f"{path} is missing, and it says how images become pixels; download it")
    settings = Settings(values, PREPROCESSOR_FIELDS, file=str(path))
    fixed = {"size": tower.image_size, "resize_mode": "shortest", "interpolation": "bicubic"}
    for name, value in fixed.items():
        if settings.get(name) != value or isinstance(settings.get(name), bool):
            raise settings.error(name, f"only {value!r} is supported")
    channels: dict[str, tuple[float, ...]] = {}
    for name in ("mean", "std"):
        levels = settings.get(name)
        if (
            not isinstance(levels, list)
            or len(levels) != 3
            or not all(isinstance(v, float) and 0 < v < _LARGEST_LEVEL for v in levels)
        ):
            raise settings.error(name, "it must be three numbers above 0")
        channels[name] = tuple(levels)
    fill = settings.get("fill_color")
    fill = 0 if fill is None else fill
    if not is_whole(fill) or not 0 <= fill <= 255:
        raise settings.error("fill_color", "not a level from 0 to 255")
    return ImageInput(
        size=tower.image_size,
        resize="shortest",
        interpolation="bicubic",
        mean=channels["mean"],
        std=channels["std"],
        fill=fill,
        per_image=_per_image(tower),
        logit_scale=logit_scale,
    )


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


def _per_image(tower: EvaConfig) -> int:
    """Bytes of a CPU run, from what runs of 1 to 4 images of 512 pixels were measured to take.

    The MLP's buffers are the widest moment: 37 (fp32) to 40 MB (int8) where it is 1,365 and the
    tower 512 wide, with ONNX Runtime 1.32. The factor is the next whole one above.
    """
    return 5 * 4 * (tower.inner + tower.width) * tower.tokens


def _check_rotary(tower: EvaConfig, stored: Weights) -> None:
    """Rotary tables that stand in the checkpoint must be the ones that the config means."""
    angles = np.repeat(rotary_angles(tower)[1:], 2, axis=1)  # (patches, head_width)
    for key in sorted(stored.keys()):
        name = key.rpartition(".")[2]
        if not key.startswith("vision_model.") or name not in ("freqs_cos", "freqs_sin"):
            continue
        expected = np.cos(angles) if name == "freqs_cos" else np.sin(angles)
        # 0.01: the stored ones may be bfloat16.
        if stored.shape(key) != expected.shape or np.abs(stored.read(key) - expected).max() > 0.01:
            raise SourceError(
                f"tensor {key!r} is not the table of rotary positions that config.json means; "
                "the network is another one"
            )
