"""LoRA adapters that stand among a checkpoint's own weights, as its config names them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge_export.reading.fields import is_number, is_whole, shown


@dataclass(frozen=True, slots=True)
class StoredAdapters:
    """All of them: one for each task, of one rank."""

    tasks: tuple[str, ...]
    rank: int
    alpha: float


def read_stored_adapters(path: Path, settings: Mapping[str, Any]) -> StoredAdapters | None:
    """Reads them from the settings of the file `path`; None where these name none."""
    tasks = settings.get("lora_adaptations")
    if tasks is None:
        return None
    rank, alpha = settings.get("lora_rank"), settings.get("lora_alpha")
    if not isinstance(tasks, list) or not tasks or not all(isinstance(t, str) for t in tasks):
        raise SourceError(f'{path}: "lora_adaptations" is not a list of names')
    if len(set(tasks)) != len(tasks):
        raise SourceError(f'{path}: "lora_adaptations" has a name twice')
    if not is_whole(rank) or rank < 1:
        raise SourceError(f'{path}: "lora_rank" is {shown(rank)}, not a whole number above 0')
    if not is_number(alpha) or alpha <= 0:
        raise SourceError(f'{path}: "lora_alpha" is {shown(alpha)}, not a number above 0')
    return StoredAdapters(tuple(tasks), rank, float(alpha))
