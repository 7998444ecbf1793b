"""From a source to a pack: the one road that every command and Makefile target takes.

    open source ─▶ for each task:  merge ─▶ reference vectors
                                  layers ─▶ (rotate) ─▶ graph + data of each precision ─▶ gate
                ─▶ manifest last

Precisions that an existing pack already holds, made by the same recipe from the same source,
are kept as they are.
"""

import contextlib
import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from embedge.errors import GateError, OptionError
from embedge.machine.resources import threads_here
from embedge.pack.contract import IMAGE_INPUTS, INPUTS, OUTPUT
from embedge.pack.manifest import FileEntry, Graph, Manifest
from embedge.vectors import normalise
from embedge_export.families.eva02.blocks import write_evas
from embedge_export.families.eva02.tower import ImageTower
from embedge_export.families.register import write_networks
from embedge_export.gate import compare as verify
from embedge_export.gate.probe import Probe
from embedge_export.gate.refine import refine
from embedge_export.graph.builder import GraphBuilder, WeightFile
from embedge_export.model import Gate, Model, calibration, open_model, reference
from embedge_export.numbers.calibration import SampleRows
from embedge_export.output.describe import (
    IMAGE_SAMPLES,
    SAMPLE_TEXTS,
    SAMPLES,
    TOKENIZER,
    description,
    pack_names,
    rehearse,
)
from embedge_export.output.destination import check_apart, check_place, check_space
from embedge_export.output.pack import commit, entries, existing, refuse_strangers, remove_dropped
from embedge_export.output.reuse import Reuse, plan, refuse_another, removals
from embedge_export.output.space import pack_bytes
from embedge_export.output.stage import Stage, check_contents, stage
from embedge_export.precision import PRECISIONS, Precision
from embedge_export.source.folder import Source, open_source
from embedge_export.source.places import local_folder

# Raise one when its graphs change: packs made by an older recipe are then made anew.
RECIPES = {"fp32": 4, "fp16": 5, "int8": 4, "int4": 3}
# What is added for families whose graphs alone changed.
_RECIPES_OF_FAMILY = {"xlm-roberta": 1}


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of an export: `done` of `total` units, and what comes next."""

    task: str
    precision: str  # "" while several are made in step
    label: str
    done: int
    total: int


@dataclass(slots=True)
class _Steps:
    """Counts the steps of a whole export and reports each."""

    report: Callable[[Progress], None]
    total: int
    done: int = 0

    def advance(self, precision: str, task: str, label: str) -> None:
        self.report(Progress(task, precision, label, self.done, self.total))
        self.done += 1


def export_pack(
    source: str | Path | Source,
    *,
    out: str | Path,
    tasks: Sequence[str] | None = None,
    precisions: Sequence[str] = ("fp16", "int8"),
    revision: str | None = None,
    offline: bool = False,
    accept_failures: bool = False,
    replace: bool = False,
    threads: int | None = None,
    progress: Callable[[Progress], None] = lambda step: None,
    notice: Callable[[str], None] = lambda sentence: None,
) -> Manifest:
    """Makes a pack, or brings an existing one up to date.

    Args:
        source: a model folder in its Hugging Face layout, a hub id (`owner/name`), or a source
            that is opened already, with its tasks.
        out: the pack's folder: a new or an empty one, or that of a pack of this model.
        tasks: only these; all of the source's by default.
        precisions: of "fp32", "fp16", "int8", "int4".
        revision: branch, tag or commit of a hub id.
        offline: do not ask the hub; take its local cache.
        accept_failures: keep graphs that miss their bar. The manifest says that they did, and
            the runtime does not choose them by itself.
        replace: `out` may hold the pack of another model, whose files are then removed.
        threads: of the gate's runs; by default as `Embedder` chooses.
        progress: called before every step.
        notice: called with a sentence for what users should know, such as a task of the old pack
            that the new one will not have, or a setting that libraries take in different ways.

    Returns:
        The pack's manifest; every precision's report is in its `verification`.

    Raises:
        SourceError: the source cannot be exported; nothing was written.
        GateError: a precision missed its bar; the folder is as it was before.
        ExportError: the folder cannot be written, or holds something else than a pack of this
            model; nothing was written.
    """
    wanted = _check_precisions(precisions)
    out = check_place(out, "--out")
    if not isinstance(source, Source) and (folder := local_folder(source)) is not None:
        check_apart(out, folder, "--out")
    check_contents(out, "--out")  # before gigabytes are fetched or hashed
    if not isinstance(source, Source):
        source = open_source(source, revision=revision, offline=offline, tasks=tasks)
    check_apart(out, source.folder, "--out")
    model = open_model(source)
    for note in model.notes:
        notice(note)
    with stage(out) as place:
        if not replace:
            refuse_another(place.contents.manifest, model, out)
        found = existing(out)
        reuse = plan(found, model, out, [p.name for p in wanted], _recipes(model))
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


def _recipes(model: Model) -> dict[str, int]:
    """The recipe of every precision's graphs for this network."""
    added = _RECIPES_OF_FAMILY.get(model.config.family, 0)
    return {precision: number + added for precision, number in RECIPES.items()}


def _brought_up_to_date(
    model: Model, old: Manifest, place: Stage, reuse: Reuse, notice: Callable[[str], None]
) -> Manifest:
    """A pack whose graphs are all there and whole; its tokenizer and manifest may not be."""
    new = dataclasses.replace(old, **description(model))
    if new == old and reuse.tokenizer:
        remove_dropped(place, old)
        notice(f"{place.folder} is up to date")
        return old
    if not reuse.tokenizer:
        (place.files / TOKENIZER).write_bytes(model.source.tokenizer.read_bytes())
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
    progress: Callable[[Progress], None],
) -> Manifest:
    """Makes all that is missing in the stage; the manifest of it and of what is kept."""
    part, missing = place.files, [PRECISIONS[name] for name in reuse.missing]
    walks = 2 if missing else 1  # the reference, the graphs; and samples of what the linears read
    if any(p.samples for p in missing):
        walks += 1
    each = walks * (model.config.num_hidden_layers + 1) + len(missing)  # steps of one task
    total = len(model.source.tasks) * each
    if model.image is not None:
        total += walks * (model.image.config.layers + 1) + len(missing)
    steps = _Steps(progress, total=total)
    gate = reference(model, advance=partial(steps.advance, ""))
    graphs: list[Graph] = []
    compared: dict[str, dict[str, verify.TaskReport]] = {p.name: {} for p in missing}
    with contextlib.ExitStack() as files:
        shared = {
            p: files.enter_context(WeightFile(part / f"shared.{p.name}.data")) for p in missing
        }
        for task in model.source.tasks if missing else ():
            judge = partial(
                verify.compare_graph,
                texts=gate.ids,
                reference=gate.vectors[task],
                pad_token_id=model.source.pad_token_id,
                threads=threads_here(threads).value,
            )
            for graph, report in _make_task(model, gate, task, shared, part, judge, steps):
                graphs.append(graph)
                compared[graph.precision][task] = report
        images: dict[str, verify.TaskReport] = {}
        if model.image is not None and missing:
            assert gate.pixels is not None
            assert gate.image_vectors is not None
            judge = partial(
                verify.compare_image_graph,
                pixels=gate.pixels,
                reference=gate.image_vectors,
                threads=threads_here(threads).value,
            )
            made = _make_image(model.source.default_task, model.image, missing, part, judge, steps)
            for graph, report in made:
                graphs += [dataclasses.replace(graph, task=task) for task in model.source.tasks]
                images[graph.precision] = report
    reports = {
        p.name: verify.report(p, compared[p.name], len(gate.ids), images.get(p.name))
        for p in missing
    }
    if not accept_failures:
        _refuse_failures(reports)
    return _manifest(model, part, gate, graphs, reports, reuse)


def _check_precisions(names: Sequence[str]) -> list[Precision]:
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or not names:
        raise OptionError(
            f"precision {', '.join(map(repr, unknown)) or 'list is empty'}: choose from "
            f"{', '.join(PRECISIONS)}"
        )
    return [PRECISIONS[name] for name in dict.fromkeys(names)]


def _make_task(
    model: Model,
    gate: Gate,
    task: str,
    shared: Mapping[Precision, WeightFile],
    part: Path,
    judge: Callable[[Path], verify.TaskReport],
    steps: _Steps,
) -> Iterator[tuple[Graph, verify.TaskReport]]:
    """One task's graphs with what the gate says of them."""
    advance = partial(steps.advance, "", task)
    samples: SampleRows = {}
    if any(precision.samples for precision in shared):
        samples = calibration(model, task, advance=advance)
    written = _write_task(model, task, shared, part, advance, samples)
    for (precision, data), (graph, losses) in zip(shared.items(), written, strict=True):
        steps.advance(precision.name, task, "gate")

        def again(finer: Precision, data: WeightFile = data) -> None:
            _write_task(model, task, {finer: data}, part, _quiet, samples)

        probe = Probe(model, task, gate)
        yield graph, _refined(precision, graph, losses, part, judge, again, probe)


def _make_image(
    task: str,
    tower: ImageTower,
    precisions: Sequence[Precision],
    part: Path,
    judge: Callable[[Path], verify.TaskReport],
    steps: _Steps,
) -> Iterator[tuple[Graph, verify.TaskReport]]:
    """The image tower's graphs, which all tasks share, with what the gate says of them."""
    advance = partial(steps.advance, "", "image")
    samples: SampleRows = {}
    if any(precision.samples for precision in precisions):
        samples = tower.calibration(advance=advance)
    written = _write_image(task, tower, precisions, part, advance, samples)
    for precision, (graph, losses) in zip(precisions, written, strict=True):
        steps.advance(precision.name, "image", "gate")

        def again(finer: Precision) -> None:
            _write_image(task, tower, [finer], part, _quiet, samples)

        yield graph, _refined(precision, graph, losses, part, judge, again, None)


def _refined(
    precision: Precision,
    graph: Graph,
    losses: Mapping[str, float],
    part: Path,
    judge: Callable[[Path], verify.TaskReport],
    write: Callable[[Precision], None],
    probe: Probe | None,
) -> verify.TaskReport:
    """`refine` of a graph that stands in the folder `part`."""
    return refine(
        precision,
        losses,
        judge=partial(judge, part / graph.file),
        write=write,
        size=partial(_data_size, part, graph),
        probe=probe,
    )


def _quiet(label: str) -> None:
    """For steps that are taken again, and are not in the count."""


def _data_size(part: Path, graph: Graph) -> int:
    """Bytes of a graph's data files."""
    return sum((part / name).stat().st_size for name in graph.data)


def _write_task(
    model: Model,
    task: str,
    shared: Mapping[Precision, WeightFile],
    part: Path,
    advance: Callable[[str], None],
    samples: SampleRows,
) -> list[tuple[Graph, dict[str, float]]]:
    """Writes one task's graph at every precision; the shared files are those of all tasks.

    Returns:
        Each graph with what its precision noted of each linear.
    """
    config = model.config
    with contextlib.ExitStack() as files:
        targets = [
            (
                precision,
                GraphBuilder(
                    f"{task}.{precision.name}",
                    own=files.enter_context(WeightFile(part / f"{task}.{precision.name}.data")),
                    shared=shared_file,
                ),
            )
            for precision, shared_file in shared.items()
        ]
        pooled = write_networks(
            config,
            model.weights(task),
            targets,
            pooling=model.source.pooling,
            touched=model.touched,
            samples=dict(samples),
            advance=advance,
        )
    written = []
    for (precision, graph), vectors in zip(targets, pooled, strict=True):
        shared[precision].flush()
        own = part / f"{task}.{precision.name}.data"
        if not own.stat().st_size:
            own.unlink()  # without adapters, all weights are in the shared file
        data = tuple(p.name for p in (shared[precision].path, own) if p.exists())
        path = part / f"{task}.{precision.name}.onnx"
        graph.save(path, {OUTPUT: vectors}, ("batch", config.hidden_size))
        entry = Graph(
            task=task,
            precision=precision.name,
            tower="text",
            file=path.name,
            data=data,
            inputs=INPUTS,
            outputs=(OUTPUT,),
        )
        written.append((entry, graph.notes))
    return written


def _write_image(
    task: str,
    tower: ImageTower,
    precisions: Sequence[Precision],
    part: Path,
    advance: Callable[[str], None],
    samples: SampleRows,
) -> list[tuple[Graph, dict[str, float]]]:
    """Writes the image tower's graph at every precision; returns as `_write_task`."""
    with contextlib.ExitStack() as files:
        targets = []
        for precision in precisions:
            data = files.enter_context(WeightFile(part / f"image.{precision.name}.data"))
            builder = GraphBuilder(f"image.{precision.name}", own=data, shared=data)
            targets.append((precision, builder))
        vectors = write_evas(tower.config, tower.weights, targets, samples=samples, advance=advance)
    written = []
    for (precision, builder), value in zip(targets, vectors, strict=True):
        path = part / f"image.{precision.name}.onnx"
        builder.save(path, {OUTPUT: value}, ("batch", tower.config.width))
        entry = Graph(
            task=task,
            precision=precision.name,
            tower="image",
            file=path.name,
            data=(f"image.{precision.name}.data",),
            inputs=IMAGE_INPUTS,
            outputs=(OUTPUT,),
        )
        written.append((entry, builder.notes))
    return written


def _refuse_failures(reports: Mapping[str, Mapping[str, Any]]) -> None:
    failures = [
        f"{precision}, {name if name == verify.IMAGE_TOWER else f'task {name}'}: {'; '.join(found)}"
        for precision, report in reports.items()
        for name, found in report["failures"].items()
    ]
    if failures:
        raise GateError(
            f"{' | '.join(failures)}. The graphs were not kept; export another precision, or pass "
            "--accept-failures to keep them marked as failed"
        )


def _manifest(
    model: Model,
    part: Path,
    gate: Gate,
    graphs: Sequence[Graph],
    reports: Mapping[str, Any],
    reuse: Reuse,
) -> Manifest:
    """Writes the last files and describes all: those just made, and those kept of the old pack."""
    source, old, kept = model.source, reuse.old, reuse.kept
    (part / TOKENIZER).write_bytes(source.tokenizer.read_bytes())
    samples = [normalise(gate.vectors[task][:SAMPLE_TEXTS]) for task in source.tasks]
    np.save(part / SAMPLES, np.stack(samples), allow_pickle=False)
    if gate.image_vectors is not None:
        np.save(part / IMAGE_SAMPLES, normalise(gate.image_vectors), allow_pickle=False)
    old_graphs = [g for g in old.graphs if g.precision in kept] if old else []
    files: dict[str, FileEntry] = entries(part)
    for graph in old_graphs:
        assert old is not None
        files |= {name: old.files[name] for name in (graph.file, *graph.data)}
    made = {**{p: old.verification.get(p) for p in kept}, **reports} if old else dict(reports)
    return Manifest(
        **description(model),
        graphs=(*old_graphs, *graphs),
        files=files,
        source={
            "files": dict(source.files),
            "recipes": {name: _recipes(model)[name] for name in made},
        },
        verification=made,
        written_by={
            name: importlib.metadata.version(name)
            for name in ("embedge", "numpy", "onnx-ir", "safetensors", "tokenizers")
        },
    )
