"""Hub folders: a model's tasks as the folders that other programs load, with graphs in `onnx/`.

Takes a source; writes `<out>/<task>/` as the per-task repositories of the Hugging Face hub have it:
the plain network (plain_folder.py), and beside it a graph for each precision under the name that
Optimum, Sentence Transformers and transformers.js look for. Such a graph also gives all rows of the
last layer, and takes padding on either side, since these programs pad as a tokenizer's settings
say. Both outputs pass the gate of a pack. A folder appears under its name only when all is done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from embedge.machine.resources import threads_here
from embedge.pack.verification import Report
from embedge_export.gate.compare import compare_graph, compare_rows, worst_of
from embedge_export.gate.probe import Probe
from embedge_export.gate.report import TaskReport, refuse_failures, report
from embedge_export.head import truth
from embedge_export.merged import check_merged, put_in_place
from embedge_export.model import Gate, Model, open_model, reference
from embedge_export.output.destination import check_place, check_space
from embedge_export.output.space import hub_bytes
from embedge_export.output.stage import stage
from embedge_export.plain_folder import numpy_dtype, plain_class, write_plain_folder
from embedge_export.precision import Precision, choose_precisions
from embedge_export.source.folder import open_source
from embedge_export.source.overrides import Overrides, refuse_overrides
from embedge_export.source.record import Source
from embedge_export.steps import OnProgress, Steps
from embedge_export.write import Network, text_network, walks, write_refined

ONNX = "onnx"
# What Optimum and transformers.js call the graph of a precision.
STEMS = {"fp32": "model", "fp16": "model_fp16", "int8": "model_quantized", "int4": "model_q4"}


@dataclass(frozen=True, slots=True)
class HubFolders:
    """What was written.

    Attributes:
        model_id: the model's name.
        license: as the model card says.
        folders: by task.
        verification: by precision, what the gate said of its graphs.
    """

    model_id: str
    license: str | None
    folders: Mapping[str, Path]
    verification: Mapping[str, Report]


def export_hub_folders(
    source: str | Path | Source,
    *,
    out: str | Path,
    tasks: Sequence[str] | None = None,
    precisions: Sequence[str] = ("fp32", "fp16", "int8"),
    dtype: str = "float32",
    revision: str | None = None,
    offline: bool = False,
    accept_failures: bool = False,
    threads: int | None = None,
    progress: OnProgress = lambda step: None,
    notice: Callable[[str], None] = lambda sentence: None,
    **overrides: Unpack[Overrides],
) -> HubFolders:
    """Writes a folder for each task that transformers, Optimum and others load.

    Args:
        source: a model folder in its Hugging Face layout, a hub id (`owner/name`), or a source
            that is opened already, with its tasks.
        out: folder for the task folders; made if need be. None of them may exist.
        tasks: only these; all of the source's by default.
        precisions: of "fp32", "fp16", "int8", "int4": one graph each in `onnx/`.
        dtype: of `model.safetensors`: "float32", "bfloat16" or "float16".
        revision: branch, tag or commit of a hub id.
        offline: do not ask the hub; take its local cache.
        accept_failures: keep graphs that miss their bar.
        threads: of the gate's runs; by default as `Embedder` chooses.
        progress: called before every step.
        notice: called with a sentence for what users should know.
        overrides: `adapters`, `base`, `pooling` and `prompts` in place of what the model's files
            say; see `Overrides`. An opened source has its own.

    Raises:
        SourceError: the source cannot be exported, or its network has no plain form.
        GateError: a precision missed its bar; nothing was written.
        ExportError: the folder cannot be written, or a task's folder is there already.
    """
    wanted = choose_precisions(precisions)
    itemsize = numpy_dtype(dtype).itemsize
    out = check_place(out, "--out")
    if not isinstance(source, Source):
        source = open_source(
            source,
            revision=revision,
            offline=offline,
            tasks=tasks,
            check_config=plain_class,
            **overrides,
        )
    else:
        refuse_overrides(overrides)
    out = check_merged(source, out, option="--out")
    model = open_model(source)
    for note in model.notes:
        notice(note)
    check_space(
        out, hub_bytes(model, [p.name for p in wanted], itemsize), "the folders of all tasks take"
    )
    parts = [text_network(model, task, rows=True, file_names=_file_names) for task in source.tasks]
    total = sum(walks(wanted) * part.steps + len(wanted) + 1 for part in parts)
    steps = Steps(progress, total)
    gate = reference(model, advance=lambda task, label: steps.advance(task, "", label))
    found: dict[str, dict[str, TaskReport]] = {p.name: {} for p in wanted}
    with stage(out) as place:
        for part in parts:
            folder = place.files / part.name
            folder.mkdir()
            steps.advance(part.name, "", "weights")
            write_plain_folder(source, part.name, folder, dtype=dtype, noted=_noted(wanted))
            for precision, figures in _write_graphs(
                part, model, gate, wanted, folder / ONNX, threads_here(threads).value, steps
            ):
                found[precision.name][part.name] = figures
        reports = {p.name: report(p, found[p.name], len(gate.ids)) for p in wanted}
        if not accept_failures:
            refuse_failures(reports)
        source.check_unchanged()
        for task in source.tasks:
            put_in_place(place.files / task, out / task)
    folders = {task: out / task for task in source.tasks}
    return HubFolders(source.model_id, source.license, folders, reports)


def _write_graphs(
    part: Network,
    model: Model,
    gate: Gate,
    precisions: Sequence[Precision],
    folder: Path,
    threads: int,
    steps: Steps,
) -> list[tuple[Precision, TaskReport]]:
    """Writes a task's graphs, refined; what the gate says of each."""
    folder.mkdir()
    made = write_refined(
        part,
        precisions,
        folder,
        judge=partial(_judge, part.name, model, gate, threads),
        probe=Probe(model, part.name, gate),
        advance=partial(steps.advance, part.name),
    )
    return [(p, figures) for p, (_, figures) in zip(precisions, made, strict=True)]


def _judge(task: str, model: Model, gate: Gate, threads: int, path: Path) -> TaskReport:
    """A graph's vectors of right-padded texts, and those of its rows of left-padded ones."""
    pad_token_id, texts, vectors = model.source.pad_token_id, gate.ids, gate.vectors[task]
    about = {"pad_token_id": pad_token_id, "threads": threads}
    return worst_of(
        compare_graph(path, texts, vectors, **about),
        compare_rows(
            path,
            texts,
            vectors,
            pool=lambda rows, bounds: truth.vectors(rows, bounds, model.source.head),
            **about,
        ),
    )


def _noted(precisions: Sequence[Precision]) -> dict[str, Any]:
    """What transformers.js reads of config.json: it fetches only the data files named there."""
    graphs = [_file_names(precision.name)[0] for precision in precisions]
    return {"transformers.js_config": {"use_external_data_format": dict.fromkeys(graphs, True)}}


def _file_names(precision: str) -> tuple[str, str]:
    stem = STEMS[precision]
    return f"{stem}.onnx", f"{stem}.onnx_data"
