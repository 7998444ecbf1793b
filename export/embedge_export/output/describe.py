"""The manifest of a pack, and the small files that stand beside its graphs.

Takes an opened model. Gives first the fields that do not depend on what the graphs turn out to be,
so that a model which no manifest can describe is refused before the work; in the end the whole.
"""

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embedge.errors import ManifestError, SourceError
from embedge.pack.contract import INPUTS, OUTPUT
from embedge.pack.manifest import Expected, FileEntry, Graph, Manifest, TextInput
from embedge.pack.reading import dump_manifest, parse_manifest
from embedge.pack.verification import IMAGE_TOWER, Report
from embedge.vectors import normalize
from embedge_export.corpus.texts import SHORT_TEXTS
from embedge_export.model import Gate, Model
from embedge_export.output.reuse import IMAGE, Reuse, adapter_files, recipes
from embedge_export.output.stage import Stage
from embedge_export.source.card import licenses
from embedge_export.source.record import Source

TOKENIZER = "tokenizer.json"
SAMPLES = "samples.npy"
IMAGE_SAMPLES = "image_samples.npy"
# How many of the short texts stand in the pack with their reference vectors.
SAMPLE_TEXTS = 8
_TRIAL = "trial.onnx"


def description(model: Model, reuse: Reuse) -> dict[str, Any]:
    """The fields of a manifest that say what the model is; nothing of its files.

    Where tasks of the old pack stay, so do its name, its default task and what was said of it.
    """
    source, config, stated = model.source, model.config, said_of(model.source, reuse)
    model_id, default_task, named = source.model_id, source.default_task, source.license
    if (old := reuse.old) is not None and reuse.others:
        model_id = stated.get("name") or old.model_id
        default_task = stated.get("default_task") or old.default_task
        named = stated.get("license") or _joined_licenses(old.license, source.license)
    return {
        "model_id": model_id,
        "family": config.family,
        "revision": source.revision,
        "license": named,
        "languages": source.languages,
        "tasks": reuse.tasks,
        "default_task": default_task,
        "prompts": {**source.prompts, **stated.get("prompts", {})},
        "default_prompt": source.default_prompt,
        "dimension": source.head.width,
        "matryoshka_dimensions": source.matryoshka_dimensions,
        "pooling": source.head.pooling,
        "text": TextInput(
            tokenizer=TOKENIZER,
            max_length=source.max_length,
            pad_token_id=source.pad_token_id,
            padding="right" if config.causal else "either",
            vocabulary_size=config.vocab_size,
        ),
        "image": None if model.image is None else model.image.input,
        "memory": model.family.memory_cost(config),
        "samples": Expected(
            file=SAMPLES,
            texts=SHORT_TEXTS[:SAMPLE_TEXTS],
            images=None if model.image is None else IMAGE_SAMPLES,
        ),
    }


def provenance(source: Source, reuse: Reuse) -> dict[str, Any]:
    """What the manifest notes of where a pack is from: enough to open its source in the same way.

    The recipes stand there too, which depend on the precisions.
    """
    files, overrides = dict(source.files), said_of(source, reuse)
    if reuse.old is not None:
        for task in reuse.others:
            files |= adapter_files(reuse.old.source.get("files"), task)
    return {
        "files": files,
        **({} if source.via is None else {"via": source.via}),
        **({"overrides": overrides} if overrides else {}),
    }


def said_of(source: Source, reuse: Reuse) -> dict[str, Any]:
    """What counts in place of the files: said now, or of the pack whose tasks stay."""
    said = dict[str, Any](source.overrides)
    noted = None if reuse.old is None else reuse.old.source.get("overrides")
    if not reuse.others or not isinstance(noted, Mapping):
        return said
    prompts = {**noted.get("prompts", {}), **said.get("prompts", {})}
    return {**noted, **said, **({"prompts": prompts} if prompts else {})}


def _joined_licenses(*texts: str | None) -> str | None:
    """Of texts like "apache-2.0 and mit": each license once."""
    names = [name for text in texts if text for name in text.split(" and ")]
    return licenses({"license": name} for name in names)


def pack_names(model: Model, reuse: Reuse) -> list[str]:
    """Every name that the pack's files may have."""
    towers, precisions = ["shared", *reuse.tasks], reuse.precisions()
    names = [TOKENIZER, SAMPLES]
    if model.image is not None:
        towers.append("image")
        names.append(IMAGE_SAMPLES)
    return names + [
        f"{tower}.{precision}.{ending}"
        for tower in towers
        for precision in precisions
        for ending in ("onnx", "data")
    ]


def rehearse(model: Model, reuse: Reuse, names: Sequence[str]) -> None:
    """Makes sure that a manifest can say what the model is, before the work and not after it.

    Raises:
        SourceError: it cannot.
    """
    folded = [name.casefold() for name in names]
    for name in names:
        if folded.count(name.casefold()) > 1:
            raise SourceError(
                f"{model.source.folder}: the name of the task {name.split('.')[0]!r} would be that "
                "of another file in the pack; call its adapter something else"
            )
    graph = Graph(
        task=model.source.tasks[0],
        precision="fp32",
        tower="text",
        file=_TRIAL,
        data=(),
        inputs=INPUTS,
        outputs=(OUTPUT,),
    )
    graphs = (graph,) if model.image is None else (graph, dataclasses.replace(graph, tower="image"))
    entry = FileEntry(size=1, sha256="0" * 64)
    manifest = Manifest(
        **description(model, reuse), graphs=graphs, files=dict.fromkeys([*names, _TRIAL], entry)
    )
    try:
        parse_manifest(dump_manifest(manifest).encode().decode())
    except (ManifestError, UnicodeError) as error:
        raise SourceError(
            f"{model.source.folder}: what the model says of itself does not fit into a manifest: "
            f"{error}"
        ) from None


def write_samples(model: Model, gate: Gate, reuse: Reuse, place: Stage) -> None:
    """Writes the tokenizer, and the reference vectors by which a machine can check itself.

    Those of tasks that the gate has no vectors of are taken from the old pack.
    """
    (place.files / TOKENIZER).write_bytes(model.source.tokenizer_bytes())
    vectors = {task: normalize(rows[:SAMPLE_TEXTS]) for task, rows in gate.vectors.items()}
    old = reuse.old
    if old is not None and old.samples is not None and not set(reuse.tasks) <= set(vectors):
        kept = np.load(place.folder / old.samples.file, allow_pickle=False)
        vectors = {**dict(zip(old.tasks, kept, strict=True)), **vectors}
    samples = np.stack([vectors[task] for task in reuse.tasks])
    np.save(place.files / SAMPLES, samples, allow_pickle=False)
    if gate.image_vectors is not None:
        path = place.files / IMAGE_SAMPLES
        np.save(path, normalize(gate.image_vectors), allow_pickle=False)


def describe_pack(
    model: Model,
    reuse: Reuse,
    graphs: Sequence[Graph],
    files: Mapping[str, FileEntry],
    reports: Mapping[str, Report],
) -> Manifest:
    """The manifest of what was just made, and of what is kept of the old pack.

    Args:
        model: what was exported.
        reuse: names what is kept.
        graphs: those just made.
        files: those just made.
        reports: by precision, what the gate said.
    """
    all_files, old_graphs = dict(files), list[Graph]()
    verification = dict(reports)
    if (old := reuse.old) is not None:
        old_graphs = kept_graphs(old, reuse)
        for graph in old_graphs:
            all_files |= {name: old.files[name] for name in (graph.file, *graph.data)}
        kept = {p: old.verification.get(p, Report()) for p in reuse.kept}
        verification = {p: _joined(kept[p], reports.get(p), reuse, p) for p in kept} | {
            p: entry for p, entry in reports.items() if p not in kept
        }
    known = recipes(model)
    return Manifest(
        **description(model, reuse),
        graphs=(*old_graphs, *graphs),
        files=all_files,
        source={
            **provenance(model.source, reuse),
            "recipes": {precision: known[precision] for precision in verification},
        },
        verification=verification,
        written_by={
            name: importlib.metadata.version(name)
            for name in (
                *("embedge", "numpy", "onnx-ir", "safetensors", "tokenizers"),
                *model.family.packages,
            )
        },
    )


def kept_graphs(old: Manifest, reuse: Reuse) -> list[Graph]:
    """The old pack's graphs that stay. The image tower's one graph serves every task."""
    graphs = []
    for graph in old.graphs:
        kept = reuse.kept.get(graph.precision, ())
        if graph.tower == IMAGE:
            if IMAGE in kept and graph.task == old.tasks[0]:
                graphs += [dataclasses.replace(graph, task=task) for task in reuse.tasks]
        elif graph.task in kept:
            graphs.append(graph)
    return graphs


def _joined(old: Report, new: Report | None, reuse: Reuse, precision: str) -> Report:
    """What the gate said of the graphs of a precision, some kept, some just made."""
    kept = reuse.kept[precision]
    names = {*kept, IMAGE_TOWER} if IMAGE in kept else {*kept}
    failures = {name: found for name, found in old.failures.items() if name in names}
    tasks = {task: figures for task, figures in old.tasks.items() if task in kept}
    joined = dataclasses.replace(old, failures=failures, tasks=tasks)
    if new is not None:
        joined = dataclasses.replace(
            new,
            failures={**failures, **new.failures},
            tasks={**tasks, **new.tasks},
            image=old.image if IMAGE in kept else new.image,
        )
    # A pack without a report says nothing of its gate, and has not passed it.
    passed = not joined.failures and (old.passed or bool(old.failures))
    return dataclasses.replace(joined, passed=passed)
