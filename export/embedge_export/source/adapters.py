"""Adapters that stand in a folder of their own, outside of the model that they belong to.

Takes folders as a user named them, by task, or a lone adapter; gives checked folders, and the base
that a lone one names. It reads adapter_config.json and the card; `lora.py` reads the tensors.
"""

from collections.abc import Mapping
from pathlib import Path

from embedge.errors import AdapterError, OptionError, SourceError
from embedge_export.reading.fields import shown
from embedge_export.reading.files import read_json_file
from embedge_export.source.files import CONFIG, MODULES
from embedge_export.source.places import local_folder
from embedge_export.tensors import lora
from embedge_export.tensors.checkpoint import INDEX, SINGLE


def is_lone(folder: Path) -> bool:
    """Whether a folder is an adapter and not (also) a model: without config.json, or weights."""
    if not (folder / lora.CONFIG).exists():
        return False
    weights = any((folder / name).exists() for name in (SINGLE, INDEX))
    return not (folder / CONFIG).exists() or not weights


def given_adapters(
    adapters: Mapping[str, str | Path], *, settings_are_known: bool
) -> dict[str, Path]:
    """The folders of adapters that a caller names, by task.

    Args:
        adapters: as they were named.
        settings_are_known: whether the caller says how the model pools, or the adapter's own folder
            does.

    Raises:
        OptionError: there is no such folder.
        AdapterError: it does not hold an adapter, or settings that would be lost.
    """
    found = {}
    for task, name in adapters.items():
        folder = local_folder(name)
        if folder is None:
            raise OptionError(
                f"the adapter of {task!r}: there is no folder {str(name)!r}; name the folder that "
                f"holds {lora.CONFIG} and {lora.TENSORS}"
            )
        lora.adapter_files(folder)
        if (folder / MODULES).exists() and not settings_are_known:
            raise AdapterError(
                f"{folder} has {MODULES}, and beside other tasks an adapter takes the settings of "
                "its base model, which may be others. Export the folder itself, whose settings "
                "then count, or pass --pooling (pooling=) as its 1_Pooling/config.json says, and "
                "--prompt (prompts=) for its prompts"
            )
        found[task] = folder.absolute()
    return found


def base_of(folder: Path, given: str | Path | None) -> str | Path:
    """The base model of a lone adapter: as given, or as its configuration names it.

    Raises:
        SourceError: neither says it.
    """
    if given is not None:
        return given
    path = folder / lora.CONFIG
    try:
        config = read_json_file(path)
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path} cannot be read ({error}); download the adapter again") from None
    name = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise SourceError(
            f'{folder} is a LoRA adapter, and "base_model_name_or_path" of {lora.CONFIG} is '
            f"{shown(name)}; pass --base (base=) with the folder or hub id of its base model"
        )
    return name
