"""preprocessor_config.json of jina-clip-v2: how images become pixels."""

from pathlib import Path

from embedge.errors import SourceError
from embedge.pack.manifest import ImageInput
from embedge_export.families.clip.fields import PREPROCESSOR_FIELDS
from embedge_export.families.eva02.config import EvaConfig
from embedge_export.families.eva02.tower import memory_per_image
from embedge_export.reading.fields import Settings, is_whole
from embedge_export.reading.json_files import read_json

PREPROCESSOR = "preprocessor_config.json"
_LARGEST_LEVEL = 1000.0  # levels are numbers about 1


def read_preprocessor(folder: Path, tower: EvaConfig, logit_scale: float | None) -> ImageInput:
    """How images become pixels for the tower.

    Args:
        folder: of the source.
        tower: whose size must be that of the images.
        logit_scale: what similarities of texts and images are multiplied by, if the model says.

    Raises:
        SourceError: the file is missing, or asks for what the runtime does not do.
    """
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
        per_image=memory_per_image(tower),
        logit_scale=logit_scale,
    )
