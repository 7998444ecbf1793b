"""From a source to a pack: the one road that every command and Makefile target takes.

    open source ─▶ for each task:  merge ─▶ reference vectors
                                  layers ─▶ (rotate) ─▶ graph + data of each precision ─▶ gate
                ─▶ manifest last

Graphs that an existing pack already holds, made by the same recipe from the same source, are kept
as they are: precisions and tasks add.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Unpack

from embedge.engine.devices import precisions_here
from embedge.errors import OptionError
from embedge.machine.resources import threads_here
from embedge.pack.manifest import Graph, Manifest
from embedge_export.gate.compare import compare_graph, compare_image_graph
from embedge_export.gate.probe import Probe
from embedge_export.gate.report import TaskReport, refuse_failures, report
from embedge_export.graph.weight_file import SharedWeights, WeightFile, keep
from embedge_export.model import Gate, Model, open_model, reference
from embedge_export.output.describe import (
    TOKENIZER,
    describe_pack,
    description,
    kept_graphs,
    pack_names,
    provenance,
    rehearse,
    write_samples,
)
from embedge_export.output.destination import check_apart, check_place, check_space
from embedge_export.output.losses import refuse_another, refuse_losses, removals
from embedge_export.output.pack import (
    commit,
    entries,
    read_existing,
    refuse_strangers,
    remove_dropped,
)
from embedge_export.output.reuse import IMAGE, Reuse, plan, recipes
from embedge_export.output.space import graph_bytes
from embedge_export.output.stage import Stage, check_contents, stage
from embedge_export.precision import PRECISIONS, Precision, choose_precisions
from embedge_export.source.folder import open_source
from embedge_export.source.overrides import Overrides, refuse_overrides
from embedge_export.source.places import local_folder
from embedge_export.source.record import Source
from embedge_export.steps import OnProgress, Steps
from embedge_export.write import Network, networks, walks, write_refined


def export_pack(
    source: str | Path | Source,
    *,
    out: str | Path,
    tasks: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    revision: str | None = None,
    offline: bool = False,
    via: str | None = None,
    accept_failures: bool = False,
    replace: bool = False,
    threads: int | None = None,
    progress: OnProgress = lambda step: None,
    notice: Callable[[str], None] = lambda sentence: None,
    **overrides: Unpack[Overrides],
) -> Manifest:
    """Makes a pack, or brings an existing one up to date.

    Args:
        source: a model folder in its Hugging Face layout, a hub id (`owner/name`), or a source
            that is opened already, with its tasks.
        out: the pack's folder: a new or an empty one, or that of a pack of this model, whose other
            tasks and precisions stay.
        tasks: only these; all of the source's by default.
        precisions: of "fp32", "fp16", "int8", "int4"; by default those of the pack that tasks are
            added to, else what this machine would run: int8, and fp16 too where CUDA works.
        revision: branch, tag or commit of a hub id.
        offline: do not ask the hub; take its local cache.
        via: "optimum" takes the network from transformers and Optimum, where it is not written
            here; an opened source has its own.
        accept_failures: keep graphs that miss their bar. The manifest says that they did, and
            the runtime does not choose them by itself.
        replace: `out` may hold the pack of another model, whose files are then removed; of a pack
            of this model, the tasks that are not exported are.
        threads: of the gate's runs; by default as `Embedder` chooses.
        progress: called before every step.
        notice: called with a sentence for what users should know, such as a task of the old pack
            that the new one will not have, or a setting that libraries take in different ways.
        overrides: `adapters`, `base`, `pooling`, `prompts`, `default_task`, `license`, `name`: what
            counts in place of what the model's files say; see `Overrides`. An opened source has its
            own.

    Returns:
        The pack's manifest; every precision's report is in its `verification`.

    Raises:
        SourceError: the source cannot be exported; nothing was written.
        GateError: a precision missed its bar; the folder is as it was before.
        ExportError: the folder cannot be written, or holds something else than a pack of this
            model, or tasks that would be lost; nothing was written.
    """
    wanted = None if precisions is None else choose_precisions(precisions)
    out = check_place(out, "--out")
    if not isinstance(source, Source) and (folder := local_folder(source)) is not None:
        check_apart(out, folder, "--out")
    check_contents(out, "--out")  # before gigabytes are fetched or hashed
    if not isinstance(source, Source):
        source = open_source(
            source, revision=revision, offline=offline, tasks=tasks, via=via, **overrides
        )
    else:
        refuse_overrides(overrides)
    for folder in source.folders:
        check_apart(out, folder, "--out")
    _refuse_precisions(source, wanted or [])
    model = open_model(source)
    for note in model.notes:
        notice(note)
    with stage(out) as place:
        if not replace:
            refuse_another(place.contents.manifest, model, out)
        found = read_existing(out)
        reuse = _plan(found, model, out, wanted, replace=replace, notice=notice)
        if sentence := removals(found, model, reuse, out):
            notice(sentence)
        if reuse.others:
            notice(f"{out}: {_named(reuse.others)}, not exported now, kept")
        if reuse.old is not None and not reuse.missing and reuse.samples:
            return _brought_up_to_date(model, reuse.old, place, reuse, notice)
        names = pack_names(model, reuse)
        rehearse(model, reuse, names)
        refuse_strangers(place, names)
        check_space(out, _needed(model, reuse), "the pack takes")
        manifest = _make(model, reuse, place, threads, accept_failures, progress)
        source.check_unchanged()
        commit(place, manifest)
    return manifest


def _plan(
    found: Manifest | None,
    model: Model,
    out: Path,
    wanted: Sequence[Precision] | None,
    *,
    replace: bool,
    notice: Callable[[str], None],
) -> Reuse:
    """What to keep and what to make; refused where tasks would be lost."""

    def planned(names: Sequence[str]) -> Reuse:
        return plan(found, model, out, names, recipes(model), drop=replace)

    if wanted is not None:
        reuse = planned([precision.name for precision in wanted])
    elif found is None or replace or set(found.tasks) <= set(model.source.tasks):
        names = precisions_here()
        if "fp16" not in names:
            notice(
                "precision int8, since only the CPU would run the pack here; for a GPU as well: "
                "--precisions fp16,int8 (precisions=)"
            )
        reuse = planned(names)
    else:  # in what the pack has
        reuse = planned(found.precisions())
    if not replace:
        refuse_losses(found, model, reuse, out)
    return reuse


def _named(tasks: Sequence[str]) -> str:
    return f"task{'s' if len(tasks) > 1 else ''} {', '.join(tasks)}"


def _needed(model: Model, reuse: Reuse) -> int:
    """Bytes, at the least, of all that is missing."""
    return sum(
        graph_bytes(
            model,
            precision,
            len([name for name in names if name != IMAGE or model.image is None]),
            shared=precision not in reuse.kept,
            image=IMAGE in names,
        )
        for precision, names in reuse.missing.items()
    )


def _refuse_precisions(source: Source, wanted: Sequence[Precision]) -> None:
    refused = source.family.refused_precisions
    for precision in wanted:
        if precision.name in refused:
            raise OptionError(f"precision {precision.name!r}: {refused[precision.name]}")


def _brought_up_to_date(
    model: Model, old: Manifest, place: Stage, reuse: Reuse, notice: Callable[[str], None]
) -> Manifest:
    """A pack whose graphs are all there and whole; its tokenizer and manifest may not be."""
    noted = {**old.source, "overrides": None, **provenance(model.source, reuse)}
    noted = {name: value for name, value in noted.items() if value is not None}
    new = dataclasses.replace(old, **description(model, reuse), source=noted)
    if new == old and reuse.tokenizer:
        remove_dropped(place, old)
        notice(f"{place.folder} is up to date")
        return old
    if not reuse.tokenizer:
        (place.files / TOKENIZER).write_bytes(model.source.tokenizer_bytes())
        model.source.check_unchanged()
        new = dataclasses.replace(new, files={**new.files, **entries(place.files)})
    commit(place, new)
    notice(f"{place.folder}: its tokenizer or its manifest was made again, the graphs are kept")
    return new


def _make(
    model: Model,
    reuse: Reuse,
    place: Stage,
    threads: int | None,
    accept_failures: bool,
    progress: OnProgress,
) -> Manifest:
    """Makes all that is missing in the stage; the manifest of it and of what is kept."""
    folder, missing = place.files, [PRECISIONS[name] for name in reuse.missing]
    parts = {part.name: part for part in networks(model, reuse.tasks)}
    todo = {name: [PRECISIONS[p] for p in reuse.unmade(name)] for name in parts}
    # What the gate has to know: the tasks to make, and those that the samples lack.
    judged = [t for t in model.source.tasks if todo[t] or t not in reuse.rows]
    steps = Steps(
        progress,
        sum(
            walks(wanted) * parts[name].steps + len(wanted)
            for name, wanted in todo.items()
            if wanted or name in judged or parts[name].tower == IMAGE
        ),
    )
    gate = reference(model, judged, advance=lambda task, label: steps.advance(task, "", label))
    graphs: list[Graph] = []
    texts: dict[str, dict[str, TaskReport]] = {p.name: {} for p in missing}
    images: dict[str, TaskReport] = {}
    with contextlib.ExitStack() as files:
        shared = {p.name: files.enter_context(_shared(p.name, reuse, place)) for p in missing}
        for name, precisions in todo.items():
            if not precisions:
                continue
            network = parts[name]
            of_images = network.tower == IMAGE
            made = write_refined(
                network,
                precisions,
                folder,
                judge=_judge(network, model, gate, threads_here(threads).value),
                probe=None if of_images else Probe(model, name, gate),
                shared=None if of_images else {p.name: shared[p.name] for p in precisions},
                advance=partial(steps.advance, name),
            )
            for precision, (written, found) in zip(precisions, made, strict=True):
                graphs += written.graphs
                if of_images:
                    images[precision.name] = found
                else:
                    texts[precision.name][name] = found
    reports = {p.name: report(p, texts[p.name], len(gate.ids), images.get(p.name)) for p in missing}
    if not accept_failures:
        refuse_failures(reports)
    write_samples(model, gate, reuse, place)
    return describe_pack(model, reuse, graphs, entries(folder), reports)


@contextlib.contextmanager
def _shared(precision: str, reuse: Reuse, place: Stage) -> Iterator[SharedWeights]:
    """The data file of what tasks share: a new one, or that of the graphs that are kept."""
    name = f"shared.{precision}.data"
    old = [] if reuse.old is None else kept_graphs(reuse.old, reuse)
    kept = [g for g in old if g.precision == precision and name in g.data]
    if not kept:
        with WeightFile(place.files / name) as new:
            yield new
        return
    weights = keep(place.folder / name, [place.folder / g.file for g in kept], place.files)
    yield weights
    weights.path.unlink()  # it stands in the pack already


def _judge(
    network: Network, model: Model, gate: Gate, threads: int
) -> Callable[[Path], TaskReport]:
    """What compares a network's graph with the truth."""
    if network.tower == IMAGE:
        assert gate.pixels is not None
        assert gate.image_vectors is not None
        return partial(
            compare_image_graph, pixels=gate.pixels, reference=gate.image_vectors, threads=threads
        )
    return partial(
        compare_graph,
        texts=gate.ids,
        reference=gate.vectors[network.name],
        pad_token_id=model.source.pad_token_id,
        threads=threads,
    )
