"""What of a pack that stands there already is kept, and what an export would take away.

Takes the old pack's manifest and the opened model; decides, and words what users should know
before hours of an earlier export are gone. Reads files of the pack to hash them; writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedge.errors import ExportError
from embedge.pack.manifest import Manifest
from embedge_export.model import Model
from embedge_export.output.pack import find_damaged
from embedge_export.precision import PRECISIONS
from embedge_export.source.files import weight_names
from embedge_export.source.folder import Source

# Raise one when its graphs change: packs made by an older recipe are then made again.
RECIPES = {"fp32": 4, "fp16": 5, "int8": 4, "int4": 3}


@dataclass(frozen=True, slots=True)
class Reuse:
    """What an export makes, and what it takes from the old pack.

    Attributes:
        old: the manifest of the old pack, if it comes from this very source with these tasks.
        kept: its precisions whose files are whole and whose recipe is today's.
        missing: the precisions to make.
        tokenizer: whether the old pack's tokenizer is whole.
        samples: whether the old pack's sample vectors are.
    """

    old: Manifest | None
    kept: tuple[str, ...]
    missing: tuple[str, ...]
    tokenizer: bool = False
    samples: bool = False


def recipes(model: Model) -> dict[str, int]:
    """The recipe of every precision's graphs for this network."""
    added = model.family.recipe_added(model.config)
    return {precision: number + added for precision, number in RECIPES.items()}


def refuse_another(found: Mapping[str, Any] | None, model: Model, folder: Path) -> None:
    """Makes sure that a pack is of this model: of its name and shape, or of its weights.

    Args:
        found: the old pack's manifest as plain JSON, of any version; None if there is none.
        model: what is exported.
        folder: the pack's.

    Raises:
        ExportError: it is another model's.
    """
    if found is None:
        return
    source, config = model.source, model.config
    same = {
        "model_id": source.model_id,
        "family": config.family,
        "dimension": source.head.width,
    }
    if all(found.get(name) == value for name, value in same.items()):
        return
    provenance = found.get("source")
    hashes = provenance.get("files") if isinstance(provenance, Mapping) else None
    weights = {source.files[name] for name in weight_names(source.folder, source.network)}
    if isinstance(hashes, Mapping) and any(value in weights for value in hashes.values()):
        return  # the same weights under another name
    raise ExportError(
        f"{folder} holds the pack of another model, {str(found.get('model_id'))[:100]!r}; name "
        f"another folder, or pass --replace (replace=True) to put {source.model_id!r} in its place"
    )


def plan(
    found: Manifest | None,
    model: Model,
    folder: Path,
    wanted: Sequence[str],
    recipes: Mapping[str, int],
) -> Reuse:
    """What to keep of the pack in `folder`, whose files are hashed for it."""
    source = model.source
    if (
        found is None
        or found.source.get("files") != dict(source.files)
        or found.tasks != source.tasks
        or found.source.get("via") != source.via
        or not _pools_the_same_texts(found, source)
    ):
        return Reuse(None, (), tuple(wanted))
    made = found.source.get("recipes")
    current = made if isinstance(made, Mapping) else {}
    kept, broken = [], []
    for precision in found.precisions():
        if find_damaged(folder, found, _files(found, precision)):
            broken.append(precision)
        elif current.get(precision) == recipes[precision]:
            kept.append(precision)
    names = (*wanted, *broken)
    missing = tuple(name for name in PRECISIONS if name in names and name not in kept)
    text, samples = found.text, found.samples
    return Reuse(
        found,
        tuple(kept),
        tuple(sorted(missing, key=names.index)),
        tokenizer=text is not None and not find_damaged(folder, found, [text.tokenizer]),
        samples=samples is not None
        and not find_damaged(folder, found, [n for n in (samples.file, samples.images) if n]),
    )


def removals(found: Manifest | None, model: Model, reuse: Reuse, folder: Path) -> str | None:
    """What the old pack has and the new one will not, as a sentence; None if nothing."""
    if found is None:
        return None
    source = model.source
    if found.model_id != source.model_id:
        return f"{folder}: the pack of {found.model_id} is replaced by that of {source.model_id}"
    tasks = [task for task in found.tasks if task not in source.tasks]
    precisions = [p for p in found.precisions() if p not in (*reuse.kept, *reuse.missing)]
    gone = [
        f"the {name}{'s' if len(names) > 1 else ''} {', '.join(names)}"
        for name, names in (("task", tasks), ("precision", precisions))
        if names
    ]
    if not gone:
        return None
    why = "was made by an older version"
    if found.tasks != source.tasks:
        why = "has other tasks"
    elif found.source.get("via") != source.via:
        why = "has the same network from elsewhere (--via)"
    elif not _pools_the_same_texts(found, source):
        why = "has another pooling or default prompt"
    elif reuse.old is None:
        why = "was made from other files"
    return (
        f"{folder}: the pack that is there {why}; {' and '.join(gone)} will be removed from it. "
        "Name them too to keep them"
    )


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


def _files(manifest: Manifest, precision: str) -> tuple[str, ...]:
    graphs = [graph for graph in manifest.graphs if graph.precision == precision]
    return tuple(dict.fromkeys(name for g in graphs for name in (g.file, *g.data)))
