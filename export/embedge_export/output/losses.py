"""What an export would take away from a pack that stands there: refused, or said before it is gone.

Takes the old pack's manifest, the opened model and what is kept; gives sentences. Reads no file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedge.errors import ExportError
from embedge.pack.manifest import Manifest
from embedge_export.model import Model
from embedge_export.output.reuse import Reuse, outdated
from embedge_export.source.files import weight_names


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
    weights = {
        source.files[name] for name in weight_names(source.model_folder, source.weights_folder)
    }
    if isinstance(hashes, Mapping) and any(value in weights for value in hashes.values()):
        return  # the same weights under another name
    raise ExportError(
        f"{folder} holds the pack of another model, {str(found.get('model_id'))[:100]!r}; name "
        f"another folder, or pass --replace (replace=True) to put {source.model_id!r} in its place"
    )


def refuse_losses(found: Manifest | None, model: Model, reuse: Reuse, folder: Path) -> None:
    """Makes sure that tasks of the old pack which this export does not make can stay.

    They can where they are whole and in every precision of the pack that will be.

    Raises:
        ExportError: they cannot.
    """
    if found is None:
        return
    others = [task for task in found.tasks if task not in model.source.tasks]
    if not others:
        return
    why = outdated(found, model.source)
    if why is not None:
        raise _lost(folder, others, f"stands in a pack that {why}")
    for precision in reuse.precisions():
        lost = [task for task in others if task not in reuse.kept.get(precision, ())]
        if lost and precision in found.precisions():
            why = f"is damaged, or from an older version or other files, in {precision}"
            raise _lost(folder, lost, why)
        if lost:
            raise _lost(folder, lost, f"is not there in {precision}, which is for all tasks")
    if not set(others) <= set(reuse.rows):
        raise _lost(folder, others, "has damaged sample vectors")


def _lost(folder: Path, tasks: Sequence[str], why: str) -> ExportError:
    each = f"each of the tasks {', '.join(tasks)}" if len(tasks) > 1 else f"the task {tasks[0]}"
    return ExportError(
        f"{folder}: {each} {why}, so that it cannot stay beside what is exported. Name it too "
        "(--tasks, --adapter), pass --replace (replace=True) to remove it, or name another folder"
    )


def removals(found: Manifest | None, model: Model, reuse: Reuse, folder: Path) -> str | None:
    """What the old pack has and the new one will not, as a sentence; None if nothing."""
    if found is None:
        return None
    source = model.source
    if found.model_id != source.model_id and not reuse.others:
        return f"{folder}: the pack of {found.model_id} is replaced by that of {source.model_id}"
    tasks = [task for task in found.tasks if task not in reuse.tasks]
    precisions = [p for p in found.precisions() if p not in reuse.precisions()]
    gone = [
        f"the {name}{'s' if len(names) > 1 else ''} {', '.join(names)}"
        for name, names in (("task", tasks), ("precision", precisions))
        if names
    ]
    if not gone:
        return None
    why = outdated(found, source) or (
        "was made by an older version" if precisions else "has other tasks"
    )
    return (
        f"{folder}: the pack that is there {why}; {' and '.join(gone)} will be removed from it. "
        "Name them too to keep them"
    )
