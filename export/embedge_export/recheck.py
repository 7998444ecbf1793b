"""An old pack against its source: every graph is compared again with the NumPy reference.

Takes a pack's folder and the opened source that it was made from; gives a report for each
precision, as a new export would put it into the manifest. Writes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from embedge.errors import OptionError, SourceError
from embedge.pack.files import open_pack
from embedge.pack.manifest import Manifest
from embedge.pack.verification import Report
from embedge_export.gate.compare import compare_graph, compare_image_graph
from embedge_export.gate.probe import Probe
from embedge_export.gate.report import report
from embedge_export.model import open_model, reference
from embedge_export.precision import PRECISIONS, Refinable
from embedge_export.source.folder import open_source
from embedge_export.source.overrides import Overrides, checked
from embedge_export.source.record import Source


def open_pack_source(
    manifest: Manifest,
    spec: str | Path,
    *,
    adapters: Mapping[str, str | Path] | None = None,
    base: str | Path | None = None,
) -> Source:
    """Opens the source of a pack in the way in which it was opened for the export.

    Args:
        manifest: the pack's; it has the tasks, the library of the network, and what counted in
            place of the files.
        spec: a folder, which is what it is, or a hub id, of which the pack's own commit is taken.
        adapters: folders of adapters that stand elsewhere; a manifest names no place.
        base: the base model, where `spec` is an adapter alone.

    Raises:
        SourceError: it cannot be opened, or the manifest notes something else than an export does.
    """
    overrides = manifest.source.get("overrides", {})
    try:
        noted = checked(overrides if isinstance(overrides, Mapping) else {"overrides": overrides})
    except (TypeError, OptionError) as error:
        raise SourceError(
            f"the pack's manifest has overrides in its source that cannot be used: {error}; export "
            "the pack again"
        ) from None
    noted |= Overrides(adapters=adapters, base=base)
    return open_source(
        spec,
        revision=None if Path(spec).is_dir() else manifest.revision,
        tasks=manifest.tasks,
        via=manifest.source.get("via"),
        **noted,
    )


def verify_pack(
    folder: Path, source: Source, *, threads: int, advance: Callable[[str], None] = lambda _: None
) -> dict[str, Report]:
    """Compares every graph of a pack with the reference of the source it was made from.

    Args:
        folder: the pack.
        source: opened with the pack's tasks.
        threads: for each run.
        advance: called with a label before each step.

    Returns:
        A report for each precision, as in the manifest.
    """
    pack = open_pack(folder)
    manifest, text = pack.manifest, pack.manifest.text
    model = open_model(source)
    gate = reference(model, advance=lambda task, label: advance(f"{task}: {label}"))
    reports = {}
    for name in manifest.precisions():
        tasks = {}
        for task in manifest.tasks:
            advance(f"{task}: {name}")
            graph = manifest.graph(task=task, precision=name)
            one = compare_graph(
                pack.file(graph.file),
                gate.ids,
                gate.vectors[task],
                pad_token_id=source.pad_token_id if text is None else text.pad_token_id,
                threads=threads,
            )
            if one.low(PRECISIONS[name]) and isinstance(PRECISIONS[name], Refinable):
                room = 1 - PRECISIONS[name].minimum_cosine
                one = replace(one, bfloat16=Probe(model, task, gate).ties(room))
            tasks[task] = one
        image = None
        if gate.pixels is not None and gate.image_vectors is not None:
            advance(f"image: {name}")
            graph = manifest.graph(task=manifest.default_task, precision=name, tower="image")
            image = compare_image_graph(
                pack.file(graph.file), gate.pixels, gate.image_vectors, threads=threads
            )
        reports[name] = report(PRECISIONS[name], tasks, len(gate.ids), image)
    return reports
