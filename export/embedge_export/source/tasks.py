"""The tasks of a source: which adapters it has, which tasks are taken, and which is the default.

Takes a folder, its config.json and what the caller asked for. Opens no adapter.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedge.errors import OptionError, SourceError
from embedge_export.source.files import ADAPTERS, find_adapters

_DEFAULT = "text-matching"  # what the hosted API takes where a request names no task
_TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # becomes part of file names


def named_adapters(folder: Path, config: Mapping[str, Any]) -> dict[str, Path]:
    """Task -> adapter folder, in the order of the config's task_names, else of names.

    Raises:
        SourceError: `task_names` is not a list of names, each once.
    """
    names = config.get("task_names")
    if names is None:
        return find_adapters(folder)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SourceError(f'{folder / "config.json"}: "task_names" is not a list of names')
    if len(set(names)) != len(names):
        raise SourceError(f'{folder / "config.json"}: "task_names" has a name twice')
    return {name: folder / ADAPTERS / name for name in names}


def choose_tasks(
    folder: Path, known: tuple[str, ...], chosen: Sequence[str] | None
) -> tuple[str, ...]:
    """The chosen tasks in the source's order; each must be there.

    Raises:
        SourceError: one is not there, or cannot be part of a file name.
    """
    if isinstance(chosen, str):
        chosen = [chosen]
    for task in known if chosen is None else (task for task in known if task in chosen):
        if _TASK.fullmatch(task) is None:
            raise SourceError(
                f"{folder}: the task {task!r} cannot be part of a file name; letters, digits, "
                '"-", "_" and "." can'
            )
    for task in chosen or ():
        if task not in known:
            raise SourceError(
                f"{folder} has no task {task!r}; it has {', '.join(known)}. An adapter in a folder "
                "elsewhere is named with --adapter TASK=FOLDER (adapters=)"
            )
    if chosen is not None and not chosen:
        raise SourceError(f"no task was chosen; {folder} has {', '.join(known)}")
    return tuple(task for task in known if chosen is None or task in chosen)


def default_task(wanted: str | None, tasks: tuple[str, ...]) -> str:
    """The task of a call that names none.

    Raises:
        OptionError: the one that is wanted is not exported.
    """
    if wanted is None:
        return _DEFAULT if _DEFAULT in tasks else tasks[0]
    if wanted not in tasks:
        raise OptionError(
            f"default_task {wanted!r} is not exported; choose from {', '.join(tasks)}"
        )
    return wanted
