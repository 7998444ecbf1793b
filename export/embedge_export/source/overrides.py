"""What a caller says of a model in place of its files: its pooling, prompts, names.

Takes keyword arguments as they were given; gives them checked, without those left out. What changes
vectors is noted in a pack's manifest with the rest, so that the pack can be compared with its
source again. Knows no file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from embedge.errors import OptionError
from embedge.printable import printable
from embedge_export.reading.fields import shown
from embedge_export.source.sentence_fields import POOLING_MODES

LONGEST_NAME = 200  # characters of a model's name, or of its license's


class Overrides(TypedDict, total=False):
    """Settings that count in place of what a model's files say. None: as the files say.

    Keys:
        adapters: folders of LoRA adapters as PEFT saves them, by task, beside the model's own.
        base: a folder or hub id of the model that the source is an adapter of.
        pooling: a mode of Sentence Transformers ("cls", "mean", "lasttoken", …), or several joined
            as "mean+max".
        prompts: texts put before an input, by name; others of the model stay.
        default_task: the task of a call that names none.
        license: of the model.
        name: of the model, in the manifest.
    """

    adapters: Mapping[str, str | Path] | None
    base: str | Path | None
    pooling: str | None
    prompts: Mapping[str, str] | None
    default_task: str | None
    license: str | None
    name: str | None


def checked(overrides: Mapping[str, Any]) -> Overrides:
    """The overrides that were given, each of a type and form that can be used.

    Raises:
        TypeError: an argument that does not exist.
        OptionError: a value that cannot be used.
    """
    for name in overrides:
        if name not in Overrides.__annotations__:
            raise TypeError(f"unexpected keyword argument {name!r}")
    given = {name: value for name, value in overrides.items() if value is not None}
    prompts = given.pop("prompts", {})
    if not isinstance(prompts, Mapping) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in prompts.items()
    ):
        raise OptionError(f"prompts is {shown(prompts)}; give texts by name")
    if "" in prompts:
        raise OptionError("a prompt has no name; give it one, such as query")
    adapters = given.pop("adapters", {})
    if not isinstance(adapters, Mapping) or not all(
        isinstance(task, str) and isinstance(path, str | Path) for task, path in adapters.items()
    ):
        raise OptionError(f"adapters is {shown(adapters)}; give folders by task")
    result = Overrides(prompts=dict(prompts)) if prompts else Overrides()
    if adapters:
        result["adapters"] = dict(adapters)
    if (base := given.pop("base", None)) is not None:
        result["base"] = base
    for name, value in given.items():
        if not isinstance(value, str) or not value.strip():
            raise OptionError(f"{name} is {shown(value)}; give a text that is not empty")
    if "pooling" in given:
        result["pooling"] = "+".join(pooling_modes(given["pooling"]))
    if "default_task" in given:
        result["default_task"] = given["default_task"]
    if "license" in given:
        result["license"] = plain_name(given["license"])
    if "name" in given:
        result["name"] = plain_name(given["name"])
    return result


def refuse_overrides(overrides: Mapping[str, Any]) -> None:
    """Refuses what was said of a source that is opened already.

    Raises:
        OptionError: there is any.
    """
    if given := checked(overrides):
        raise OptionError(
            f"{', '.join(given)}: the source is opened already; pass it to open_source"
        )


def pooling_modes(text: str) -> tuple[str, ...]:
    """The modes of "mean", or of "mean+max", as Sentence Transformers spells them.

    Raises:
        OptionError: one is not known, or stands twice.
    """
    ours = {mode: name for name, mode in POOLING_MODES.items()}
    modes = tuple(ours.get(part.strip(), part.strip()) for part in text.split("+"))
    if not set(modes) <= POOLING_MODES.keys() or len(set(modes)) != len(modes):
        raise OptionError(
            f"pooling {text!r} is not supported; choose from {', '.join(POOLING_MODES)}, or join "
            'several with "+"'
        )
    return modes


def plain_name(text: str) -> str:
    """A name for a manifest: on one line, of characters that a file can hold, and not a book."""
    return printable(text.encode("utf-8", "replace").decode()).strip()[:LONGEST_NAME]
