"""Writes the graphs of one network, at all precisions in one walk over its layers.

A `Network` is a task's text network, or the image tower that all tasks share. Takes it and the
folder, gives the manifest's entries of what was written. `write_refined` also compares every graph
with the truth, and writes it again with finer parts while it misses its bar.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Protocol

import onnx_ir as ir

from embedge.pack.contract import IMAGE_INPUTS, INPUTS, OUTPUT
from embedge.pack.manifest import Graph
from embedge_export.families.family import ImageTower, Targets, TextTask
from embedge_export.gate.probe import Probe
from embedge_export.gate.refine import refine
from embedge_export.gate.report import TaskReport
from embedge_export.graph.builder import GraphBuilder
from embedge_export.graph.head import finish
from embedge_export.graph.weight_file import SharedWeights, WeightFile
from embedge_export.model import Model, calibration
from embedge_export.numbers.calibration import CalibrationRows
from embedge_export.precision import Precision

OnLabel = Callable[[str], None]  # called with a label before each step


class _Writer(Protocol):
    """Adds a network's nodes to the graph of every precision; gives each graph's vectors."""

    def __call__(
        self,
        targets: Sequence[tuple[Precision, GraphBuilder]],
        *,
        samples: CalibrationRows,
        advance: OnLabel,
    ) -> list[ir.Value]: ...


@dataclass(frozen=True, slots=True)
class Network:
    """What graphs are written of.

    Attributes:
        name: of the task, or "image".
        tower: "text" or "image", as the manifest has it.
        tasks: which tasks its graph serves.
        inputs: names of the graph's inputs.
        width: of its vectors.
        steps: how often a walk over its layers calls `advance`.
        write: adds its nodes to graphs.
        file_names: of a precision's name: what its graph and its data file are called.
        calibrate: runs the truth on calibration texts or images; gives the rows that each linear
            reads.
    """

    name: str
    tower: str
    tasks: tuple[str, ...]
    inputs: tuple[str, ...]
    width: int
    steps: int
    write: _Writer
    file_names: Callable[[str], tuple[str, str]]
    calibrate: Callable[[OnLabel], CalibrationRows]


@dataclass(frozen=True, slots=True)
class Written:
    """A graph on disk.

    Attributes:
        path: its file.
        graphs: the manifest's entries, one for each task that it serves.
        losses: what its precision noted of each linear.
    """

    path: Path
    graphs: tuple[Graph, ...]
    losses: Mapping[str, float]

    def data_size(self) -> int:
        """Bytes of its data files."""
        return sum((self.path.parent / name).stat().st_size for name in self.graphs[0].data)


def text_network(
    model: Model,
    task: str,
    *,
    rows: bool = False,
    file_names: Callable[[str], tuple[str, str]] | None = None,
) -> Network:
    """A task's text network, its adapter merged in.

    Args:
        model: what is exported.
        task: one of its tasks.
        rows: as of `TextTask`.
        file_names: as in `Network`; those of a pack by default.
    """
    config = model.config
    return Network(
        name=task,
        tower="text",
        tasks=(task,),
        inputs=INPUTS,
        width=model.source.head.width,
        steps=model.family.steps(config),
        write=partial(_write_text, model, task, rows=rows),
        file_names=file_names or partial(_pack_names, task),
        calibrate=lambda advance: calibration(model, task, advance=advance),
    )


def _write_text(
    model: Model,
    task: str,
    targets: Targets,
    *,
    rows: bool,
    samples: CalibrationRows,
    advance: OnLabel,
) -> list[ir.Value]:
    """The family's graphs, with the steps behind the pooling."""
    head = model.source.head
    about = TextTask(
        weights=model.weights(task), head=head, adapted=model.adapted, rows=rows, samples=samples
    )
    pooled = model.family.write(model.config, about, targets, advance=advance)
    return [
        finish(graph, value, head, stored=precision.head)
        for (precision, graph), value in zip(targets, pooled, strict=True)
    ]


def image_network(tower: ImageTower, tasks: Sequence[str]) -> Network:
    """The image tower, whose one graph serves all tasks."""
    return Network(
        name="image",
        tower="image",
        tasks=tuple(tasks),
        inputs=IMAGE_INPUTS,
        width=tower.width,
        steps=tower.steps,
        write=tower.write,
        file_names=partial(_pack_names, "image"),
        calibrate=lambda advance: tower.calibration(advance=advance),
    )


def networks(model: Model, tasks: Sequence[str] | None = None) -> list[Network]:
    """All that a model has: the text network of each task, then the image tower.

    `tasks` are those that the image tower serves; the source's by default.
    """
    texts = [text_network(model, task) for task in model.source.tasks]
    if model.image is None:
        return texts
    return [*texts, image_network(model.image, tasks or model.source.tasks)]


def walks(precisions: Sequence[Precision]) -> int:
    """How often an export walks over a network's layers, truth included."""
    calibrated = any(precision.calibrates for precision in precisions)
    return 1 + bool(precisions) + calibrated


def write(
    network: Network,
    precisions: Sequence[Precision],
    folder: Path,
    *,
    shared: Mapping[str, SharedWeights] | None = None,
    samples: CalibrationRows | None = None,
    advance: OnLabel = lambda label: None,
) -> list[Written]:
    """Writes a network's graph at every precision.

    Args:
        network: what to write.
        precisions: one graph each.
        folder: for the files of `network.file_names`; files of these names are replaced.
        shared: by a precision's name, the data file of what several networks hold bit for bit.
        samples: the rows that each linear reads, for precisions that are fitted to them; emptied
            as they are used.
        advance: called `network.steps` times.
    """
    shared = shared or {}
    with contextlib.ExitStack() as files:
        targets = []
        data: list[list[SharedWeights]] = []
        for precision in precisions:
            name = f"{network.name}.{precision.name}"
            own = files.enter_context(WeightFile(folder / network.file_names(precision.name)[1]))
            common: SharedWeights = shared.get(precision.name, own)
            targets.append((precision, GraphBuilder(name, own=own, shared=common)))
            data.append([own] if common is own else [common, own])
        vectors = network.write(
            targets, samples={} if samples is None else samples, advance=advance
        )
        for file in shared.values():
            file.flush()
    return [
        _save(network, precision, builder, value, [file.path for file in held])
        for (precision, builder), value, held in zip(targets, vectors, data, strict=True)
    ]


def write_refined(
    network: Network,
    precisions: Sequence[Precision],
    folder: Path,
    *,
    judge: Callable[[Path], TaskReport],
    probe: Probe | None = None,
    shared: Mapping[str, SharedWeights] | None = None,
    advance: Callable[[str, str], None] = lambda precision, label: None,
) -> Iterator[tuple[Written, TaskReport]]:
    """Writes a network's graph at every precision, refined, with what the gate says of it.

    Args:
        network: as in `write`.
        precisions: as in `write`.
        folder: as in `write`.
        judge: compares the graph of that path with the truth.
        probe: the truth, where it can be asked which layers a text hangs on.
        shared: as in `write`.
        advance: called with a precision's name ("" while several are made in step) and a label,
            before every step of the walks and before each gate.
    """
    walk = partial(advance, "")
    samples: CalibrationRows = {}
    if any(precision.calibrates for precision in precisions):
        samples = network.calibrate(walk)
    written = write(network, precisions, folder, shared=shared, samples=samples, advance=walk)
    del samples  # while a gate runs, their memory is its graph's

    @cache
    def seen() -> CalibrationRows:
        """The rows once more: few graphs are written again, and those of small weights."""
        return network.calibrate(lambda label: None)

    for precision, graph in zip(precisions, written, strict=True):
        advance(precision.name, "gate")

        def again(finer: Precision) -> None:
            samples = dict(seen()) if finer.calibrates else {}
            write(network, [finer], folder, shared=shared, samples=samples)

        report = refine(
            precision,
            graph.losses,
            judge=partial(judge, graph.path),
            write=again,
            size=graph.data_size,
            probe=probe,
        )
        yield graph, report


def _pack_names(name: str, precision: str) -> tuple[str, str]:
    return f"{name}.{precision}.onnx", f"{name}.{precision}.data"


def _save(
    network: Network,
    precision: Precision,
    builder: GraphBuilder,
    vectors: ir.Value,
    data: Sequence[Path],
) -> Written:
    """Writes the graph file; `data` are its data files, its own last."""
    own = data[-1]
    if not own.stat().st_size:
        own.unlink()  # without adapters, all weights are in the shared file
    path = own.with_name(network.file_names(precision.name)[0])
    builder.save(path, {OUTPUT: vectors}, ("batch", network.width))
    graphs = [
        Graph(
            task=task,
            precision=precision.name,
            tower=network.tower,
            file=path.name,
            data=tuple(file.name for file in data if file.exists()),
            inputs=network.inputs,
            outputs=(OUTPUT,),
        )
        for task in network.tasks
    ]
    return Written(path, tuple(graphs), builder.notes)
