"""From a source to a pack: the one road that every command and Makefile target takes.

    open source ─▶ for each task:  merge ─▶ reference vectors
                                  layers ─▶ (rotate) ─▶ graph + data of each precision ─▶ gate
                ─▶ manifest last

Precisions that an existing pack already holds, made by the same recipe from the same source,
are kept as they are.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
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
from embedge_export.graph.weight_file import WeightFile
from embedge_export.model import Gate, Model, open_model, reference
from embedge_export.output.describe import (
    TOKENIZER,
    describe_pack,
    description,
    pack_names,
    provenance,
    rehearse,
    write_samples,
)
from embedge_export.output.destination import check_apart, check_place, check_space
from embedge_export.output.pack import (
    commit,
    entries,
    read_existing,
    refuse_strangers,
    remove_dropped,
)
from embedge_export.output.reuse import Reuse, plan, recipes, refuse_another, removals
from embedge_export.output.space import pack_bytes
from embedge_export.output.stage import Stage, check_contents, stage
from embedge_export.precision import PRECISIONS, Precision, choose_precisions
from embedge_export.source.folder import Source, open_source
from embedge_export.source.overrides import Overrides, refuse_overrides
from embedge_export.source.places import local_folder
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
        out: the pack's folder: a new or an empty one, or that of a pack of this model.
        tasks: only these; all of the source's by default.
        precisions: of "fp32", "fp16", "int8", "int4"; by default what this machine would run: int8,
            and fp16 too where CUDA works.
        revision: branch, tag or commit of a hub id.
        offline: do not ask the hub; take its local cache.
        via: "optimum" takes the network from transformers and Optimum, where it is not written
            here; an opened source has its own.
        accept_failures: keep graphs that miss their bar. The manifest says that they did, and
            the runtime does not choose them by itself.
        replace: `out` may hold the pack of another model, whose files are then removed.
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
            model; nothing was written.
    """
    wanted = choose_precisions(precisions_here() if precisions is None else precisions)
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
    for folder in (source.folder, *source.adapters.values()):
        check_apart(out, folder, "--out")
    _refuse_precisions(source, wanted)
    model = open_model(source)
    for note in model.notes:
        notice(note)
    with stage(out) as place:
        if not replace:
            refuse_another(place.contents.manifest, model, out)
        found = read_existing(out)
        reuse = plan(found, model, out, [p.name for p in wanted], recipes(model))
        if reuse.old is not None and not reuse.missing and reuse.samples:
            return _brought_up_to_date(model, reuse.old, place, reuse, notice)
        if sentence := removals(found, model, reuse, out):
            notice(sentence)
        names = pack_names(model, reuse.missing)
        rehearse(model, names)
        refuse_strangers(place, names)
        check_space(out, pack_bytes(model, reuse.missing), "the pack takes")
        manifest = _make(model, reuse, place, threads, accept_failures, progress)
        source.check_unchanged()
        commit(place, manifest)
    return manifest


def _refuse_precisions(source: Source, wanted: Sequence[Precision]) -> None:
    refused = source.family.refused_precisions
    for precision in wanted:
        if precision.name in refused:
            raise OptionError(f"precision {precision.name!r}: {refused[precision.name]}")


def _brought_up_to_date(
    model: Model, old: Manifest, place: Stage, reuse: Reuse, notice: Callable[[str], None]
) -> Manifest:
    """A pack whose graphs are all there and whole; its tokenizer and manifest may not be."""
    noted = {**old.source, "overrides": None, **provenance(model.source)}
    noted = {name: value for name, value in noted.items() if value is not None}
    new = dataclasses.replace(old, **description(model), source=noted)
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
    parts = networks(model)
    total = sum(walks(missing) * network.steps + len(missing) for network in parts)
    steps = Steps(progress, total)
    gate = reference(model, advance=lambda task, label: steps.advance(task, "", label))
    graphs: list[Graph] = []
    texts: dict[str, dict[str, TaskReport]] = {p.name: {} for p in missing}
    images: dict[str, TaskReport] = {}
    with contextlib.ExitStack() as files:
        shared = {
            p.name: files.enter_context(WeightFile(folder / f"shared.{p.name}.data"))
            for p in missing
        }
        for network in parts if missing else ():
            of_images = network.tower == "image"
            made = write_refined(
                network,
                missing,
                folder,
                judge=_judge(network, model, gate, threads_here(threads).value),
                probe=None if of_images else Probe(model, network.name, gate),
                shared=None if of_images else shared,
                advance=partial(steps.advance, network.name),
            )
            for precision, (written, found) in zip(missing, made, strict=True):
                graphs += written.graphs
                if of_images:
                    images[precision.name] = found
                else:
                    texts[precision.name][network.name] = found
    reports = {p.name: report(p, texts[p.name], len(gate.ids), images.get(p.name)) for p in missing}
    if not accept_failures:
        refuse_failures(reports)
    write_samples(model, gate, folder)
    return describe_pack(model, reuse, graphs, entries(folder), reports)


def _judge(
    network: Network, model: Model, gate: Gate, threads: int
) -> Callable[[Path], TaskReport]:
    """What compares a network's graph with the truth."""
    if network.tower == "image":
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
