"""What of a pack that stands there already is kept, and what an export has to make.

The unit is one graph: a task's (or the image tower's) at one precision. A graph is kept if it is
whole, of today's recipe, and made from the files that the source has now. Takes the old pack's
manifest and the opened model. Reads files of the pack to hash them; writes nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedge.pack.manifest import Graph, Manifest
from embedge_export.model import Model
from embedge_export.output.pack import find_damaged
from embedge_export.precision import PRECISIONS
from embedge_export.source.files import ADAPTERS, adapter_name
from embedge_export.source.record import Source

# Raise one when its graphs change: packs made by an older recipe are then made again.
RECIPES = {"fp32": 4, "fp16": 6, "int8": 5, "int4": 4}
IMAGE = "image"  # the image tower among the names of tasks
Names = Mapping[str, tuple[str, ...]]  # by precision: tasks, and IMAGE


@dataclass(frozen=True, slots=True)
class Reuse:
    """What an export makes, and what it takes from the old pack.

    Attributes:
        old: the manifest of the old pack, if it comes from the source's files of today.
        tasks: of the pack that will be: those of the old one that stay, and the source's.
        others: those of them that the old pack has and this export does not make.
        kept: graphs of the old pack that stay.
        missing: graphs to make; a precision without any is not in it.
        tokenizer: whether the old pack's tokenizer is whole.
        samples: whether the old pack's sample vectors are whole, and those of `tasks`.
        rows: tasks whose sample vectors can be taken from the old pack.
    """

    old: Manifest | None
    tasks: tuple[str, ...]
    others: tuple[str, ...] = ()
    kept: Names = field(default_factory=dict)
    missing: Names = field(default_factory=dict)
    tokenizer: bool = False
    samples: bool = False
    rows: tuple[str, ...] = ()

    def precisions(self) -> list[str]:
        """Those of the pack that will be."""
        return [name for name in PRECISIONS if name in self.kept or name in self.missing]

    def unmade(self, task: str) -> tuple[str, ...]:
        """The precisions in which a task's graph is missing."""
        return tuple(name for name, tasks in self.missing.items() if task in tasks)


def recipes(model: Model) -> dict[str, int]:
    """The recipe of every precision's graphs for this network."""
    added = model.family.recipe_added
    return {name: number + added(model.config, name) for name, number in RECIPES.items()}


def plan(
    found: Manifest | None,
    model: Model,
    folder: Path,
    wanted: Sequence[str],
    recipes: Mapping[str, int],
    *,
    drop: bool = False,
) -> Reuse:
    """What to keep of the pack in `folder`, whose files are hashed for it.

    Args:
        found: the old pack's manifest, if there is one.
        model: what is exported.
        folder: the pack's.
        wanted: precisions.
        recipes: today's, by precision.
        drop: whether tasks of the old pack that this export does not make go.
    """
    source = model.source
    parts = source.tasks if model.image is None else (*source.tasks, IMAGE)
    if found is None or outdated(found, source):
        return Reuse(None, source.tasks, missing=dict.fromkeys(wanted, parts))
    others = () if drop else tuple(task for task in found.tasks if task not in source.tasks)
    fresh = {task for task in found.tasks if _same_adapter(found, source, task)}
    made = found.source.get("recipes")
    current = made if isinstance(made, Mapping) else {}
    whole, names = dict[str, set[str]](), list(wanted)
    for precision in found.precisions():
        graphs = [graph for graph in found.graphs if graph.precision == precision]
        good = {_part(g) for g in graphs if not find_damaged(folder, found, (g.file, *g.data))}
        today = current.get(precision) == recipes[precision]
        if today or good != {_part(graph) for graph in graphs}:
            names.append(precision)
        whole[precision] = (good & {*fresh, IMAGE}) if today else set()
    kept, missing = dict[str, tuple[str, ...]](), dict[str, tuple[str, ...]]()
    for precision in dict.fromkeys(names):
        good = whole.get(precision, set())
        if stay := tuple(part for part in (*others, *parts) if part in good):
            kept[precision] = stay
        if lacking := tuple(part for part in parts if part not in good):
            missing[precision] = lacking
    tasks = source.tasks
    if others:
        stay = tuple(task for task in found.tasks if task in (*others, *tasks))
        tasks = (*stay, *(task for task in tasks if task not in stay))
    text, samples = found.text, found.samples
    sampled = samples is not None and not find_damaged(
        folder, found, [n for n in (samples.file, samples.images) if n]
    )
    return Reuse(
        found,
        tasks,
        others,
        kept,
        missing,
        tokenizer=text is not None and not find_damaged(folder, found, [text.tokenizer]),
        samples=sampled and found.tasks == tasks and fresh.issuperset(tasks),
        rows=tuple(task for task in found.tasks if task in fresh) if sampled else (),
    )


def outdated(found: Manifest, source: Source) -> str | None:
    """Why no graph of an old pack can be kept, as what the pack is; None if some can."""
    if _shared_files(found.source.get("files"), found.tasks) != _shared_files(
        source.files, source.tasks
    ):
        return "was made from other files"
    if found.source.get("via") != source.via:
        return "has the same network from elsewhere (--via)"
    if not _pools_the_same_texts(found, source):
        return "has another pooling or default prompt"
    return None


def adapter_files(files: Any, task: str) -> dict[str, Any]:
    """The hashes of a task's adapter, among those that a manifest notes."""
    start = adapter_name(task, "")
    entries = files if isinstance(files, Mapping) else {}
    return {name: value for name, value in entries.items() if name.startswith(start)}


def _shared_files(files: Any, tasks: Sequence[str]) -> dict[str, Any]:
    """The hashes of all but the adapters."""
    adapters = {name for task in tasks for name in adapter_files(files, task)}
    entries = files if isinstance(files, Mapping) else {}
    return {name: value for name, value in entries.items() if name not in adapters}


def _same_adapter(found: Manifest, source: Source, task: str) -> bool:
    """Whether a task's adapter is what it was, as far as the source has it."""
    old = adapter_files(found.source.get("files"), task)
    if task in source.tasks:
        return old == adapter_files(source.files, task)
    place = source.folder / ADAPTERS / task
    paths = {place / name.rpartition("/")[2]: value for name, value in old.items()}
    return all(_hash(path) == value for path, value in paths.items() if path.is_file())


def _hash(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _part(graph: Graph) -> str:
    return IMAGE if graph.tower == "image" else graph.task


def _pools_the_same_texts(found: Manifest, source: Source) -> bool:
    """Whether the same pooling and default prompt counted in place of what the files say.

    Of the same files the rest is the same: a manifest's own words are only written again.
    """
    noted = found.source.get("overrides")
    old = noted if isinstance(noted, Mapping) else {}
    return _changing(old, source) == _changing(source.overrides, source)


def _changing(overrides: Mapping[str, Any], source: Source) -> tuple[Any, Any]:
    """The overrides that graphs depend on."""
    prompts = overrides.get("prompts")
    default = prompts.get(source.default_prompt) if isinstance(prompts, Mapping) else None
    return overrides.get("pooling"), default
