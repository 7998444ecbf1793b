"""Plain per-task model folders, for programs that read models rather than packs.

Takes an opened source; writes `<out>/<task>/` with the adapter merged in, the configuration of the
plain network, the tokenizer and the Sentence Transformers files, as vLLM, TEI, llama.cpp's
converter and Sentence Transformers read them. One tensor is in memory at a time. A folder appears
under its name only when it is whole. One that an earlier run wrote is brought up to date; any other
that is there already is never touched. It knows nothing of graphs.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

from embedge.errors import ExportError, SourceError
from embedge_export.output.destination import check_apart, check_place, check_space, contains
from embedge_export.output.record import check_own, is_current, write_record
from embedge_export.output.space import merged_bytes
from embedge_export.output.stage import stage
from embedge_export.plain_folder import OnTensor, numpy_dtype, plain_class, write_plain_folder
from embedge_export.source.files import adapter_name
from embedge_export.source.folder import open_source
from embedge_export.source.overrides import Overrides
from embedge_export.source.record import Source
from embedge_export.tensors.checkpoint import SafetensorsWeights, open_weights

_OPTION = "--merged"
_VERSION = 1  # raised when other files are written of the same model


def open_for_merging(
    source: str | Path,
    out: str | Path,
    *,
    pack: Path | None = None,
    dtype: str | None = None,
    tasks: Sequence[str] | None = None,
    revision: str | None = None,
    offline: bool = False,
    **overrides: Unpack[Overrides],
) -> Source:
    """Opens a model that `write_merged` can write in plain form, or refuses it early.

    A network without a plain form is refused before its weights are fetched or hashed.

    Args:
        source: As in `open_source`.
        out: Folder for the task folders, as the user named it.
        pack: The folder of the pack that is made too; the two have to be apart.
        dtype: As in `write_merged`.
        tasks: As in `open_source`.
        revision: As in `open_source`.
        offline: As in `open_source`.
        overrides: As in `open_source`.

    Raises:
        ExportError: `out` is no place to write to, its disk has no room for the folders that are
            not there yet, or somebody else's folder has a task's name.
        SourceError: the source cannot be opened, or the network has no plain form.
    """
    check_place(out, _OPTION)
    opened = open_source(
        source,
        revision=revision,
        offline=offline,
        tasks=tasks,
        check_config=plain_class,
        **overrides,
    )
    folder = check_merged(opened, out, pack=pack, again=True)
    new = [task for task in opened.tasks if not os.path.lexists(folder / task)]
    _check_room(folder, open_weights(opened.weights_folder), len(new), dtype)
    return opened


def check_merged(
    source: Source,
    out: str | Path,
    *,
    pack: Path | None = None,
    option: str = _OPTION,
    again: bool = False,
) -> Path:
    """Whether task folders can be written there, asked before hours of other work.

    Args:
        source: The opened model.
        out: Folder for the task folders, as the user named it.
        pack: The folder of the pack that is made too; the two have to be apart.
        option: What the user calls `out`.
        again: Whether a task's folder that an earlier run wrote may be there.

    Returns:
        The folder.

    Raises:
        ExportError: it is no place to write to, or a task's folder is there already.
        SourceError: the network has no plain form.
    """
    folder = check_place(out, option)
    for place in source.folders:
        check_apart(folder, place, option, above=False)
        for task in source.tasks:
            check_apart(folder / task, place, option)
    if source.via is not None:
        raise SourceError(
            f"a network that is taken from {source.via} has no plain folder but its own; open the "
            "source without via, or make a pack of it"
        )
    plain_class(source.config)
    for task in source.tasks:
        if pack is not None and (contains(pack, folder) or contains(folder / task, pack)):
            raise ExportError(
                f"{option} {folder} and the pack's folder {pack} are in each other's way; name a "
                "folder elsewhere"
            )
        if again:
            check_own(folder / task)
        elif os.path.lexists(folder / task):
            raise ExportError(f"{folder / task} exists already; remove it, or name another folder")
    return folder


def write_merged(
    source: Source,
    out: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    dtype: str | None = None,
    progress: OnTensor | None = None,
    notice: Callable[[str], None] = lambda sentence: None,
) -> list[Path]:
    """Writes one plain model folder a task; each is `W + (B @ A) * scaling` rounded once.

    Folders that an earlier run wrote are made again where the model or the dtype is another now, or
    where a file is damaged.

    Args:
        source: The opened model.
        out: Folder for the task folders; made if need be.
        tasks: Only these; all of the source's unless given.
        dtype: "bfloat16" (rounded to nearest even), "float16" or "float32"; that of the model's
            own weights unless given.
        progress: Called after each tensor.
        notice: Called with a sentence for each folder that is up to date, or made again.

    Returns:
        The tasks' folders.

    Raises:
        ExportError: somebody else's folder has a task's name, another export is writing here, or a
            value does not fit the dtype.
    """
    chosen = source.tasks if tasks is None else tuple(tasks)
    if dtype is not None:
        numpy_dtype(dtype)
    for task in chosen:
        if task not in source.tasks:
            raise SourceError(f"the source has no task {task!r}; it has {', '.join(source.tasks)}")
    source = dataclasses.replace(source, tasks=chosen)
    out = check_merged(source, out, again=True)
    base = open_weights(source.weights_folder)
    dtype = dtype or stored_dtype(base)
    todo = []
    for task in chosen:
        if is_current(out / task, _made_from(source, task, dtype)):
            notice(f"{out / task} is up to date")
        else:
            todo.append(task)
    if todo:
        old = [task for task in todo if os.path.lexists(out / task)]
        _check_room(out, base, len(todo), dtype)
        with stage(out) as place:
            for number, task in enumerate(todo):
                part = place.files / str(number)
                part.mkdir()
                write_plain_folder(source, task, part, dtype=dtype, progress=progress)
                source.check_unchanged()
                write_record(part, _made_from(source, task, dtype))
                if task in old:
                    check_own(out / task)  # once more: hours may have passed
                    notice(f"{out / task} was of other files or another dtype, or damaged")
                    (out / task).rename(place.files / f"{task}.replaced")
                put_in_place(part, out / task)
    return [out / task for task in chosen]


def _check_room(folder: Path, base: SafetensorsWeights, tasks: int, dtype: str | None) -> None:
    itemsize = numpy_dtype(dtype or stored_dtype(base)).itemsize
    check_space(folder, merged_bytes(base, tasks, itemsize), "the plain folders take")


def stored_dtype(weights: SafetensorsWeights) -> str:
    """The dtype of a model's matrices; float32, which holds all, where there are several."""
    kinds = {
        weights.dtype(key)
        for key in weights.keys()  # noqa: SIM118 - no mapping
        if len(weights.shape(key)) == 2 and not key.startswith("lm_head.")
    }
    return kinds.pop() if len(kinds) == 1 else "float32"


def _made_from(source: Source, task: str, dtype: str) -> dict[str, Any]:
    """What a task's folder is made from: if none of it changes, neither does the folder."""
    others = tuple(adapter_name(other, "") for other in source.adapters if other != task)
    files = {name: value for name, value in source.files.items() if not name.startswith(others)}
    said = {name: source.overrides.get(name) for name in ("pooling", "prompts")}
    return {
        "format_version": _VERSION,
        "task": task,
        "dtype": dtype,
        "files": files,
        **{name: value for name, value in said.items() if value is not None},
    }


def put_in_place(part: Path, folder: Path) -> None:
    """Gives a folder that is whole its name.

    Raises:
        ExportError: the name was taken meanwhile.
    """
    if os.path.lexists(folder):  # a rename would replace an empty folder
        raise ExportError(f"{folder} appeared meanwhile; remove it, and run it again")
    part.rename(folder)
