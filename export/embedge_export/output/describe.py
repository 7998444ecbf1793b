"""The manifest of a pack, and the small files that stand beside its graphs.

Takes an opened model. Gives first the fields that do not depend on what the graphs turn out to be,
so that a model which no manifest can describe is refused before the work; in the end the whole.
"""

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedge.errors import ManifestError, SourceError
from embedge.pack.contract import INPUTS, OUTPUT
from embedge.pack.manifest import Expected, FileEntry, Graph, Manifest, TextInput
from embedge.pack.reading import dump_manifest, parse_manifest
from embedge.pack.verification import Report
from embedge.vectors import normalize
from embedge_export.corpus.texts import SHORT_TEXTS
from embedge_export.model import Gate, Model
from embedge_export.output.reuse import Reuse, recipes
from embedge_export.source.folder import Source

TOKENIZER = "tokenizer.json"
SAMPLES = "samples.npy"
IMAGE_SAMPLES = "image_samples.npy"
# How many of the short texts stand in the pack with their reference vectors.
SAMPLE_TEXTS = 8
_TRIAL = "trial.onnx"


def description(model: Model) -> dict[str, Any]:
    """The fields of a manifest that say what the model is; nothing of its files."""
    source, config = model.source, model.config
    return {
        "model_id": source.model_id,
        "family": config.family,
        "revision": source.revision,
        "license": source.license,
        "languages": source.languages,
        "tasks": source.tasks,
        "default_task": source.default_task,
        "prompts": dict(source.prompts),
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


def provenance(source: Source) -> dict[str, Any]:
    """What the manifest notes of where a pack is from: enough to open its source in the same way.

    The recipes stand there too, which depend on the precisions.
    """
    return {
        "files": dict(source.files),
        **({} if source.via is None else {"via": source.via}),
        **({"overrides": dict(source.overrides)} if source.overrides else {}),
    }


def pack_names(model: Model, precisions: Sequence[str]) -> list[str]:
    """Every name that the pack's files may have."""
    towers = ["shared", *model.source.tasks]
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


def rehearse(model: Model, names: Sequence[str]) -> None:
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
        **description(model), graphs=graphs, files=dict.fromkeys([*names, _TRIAL], entry)
    )
    try:
        parse_manifest(dump_manifest(manifest).encode().decode())
    except (ManifestError, UnicodeError) as error:
        raise SourceError(
            f"{model.source.folder}: what the model says of itself does not fit into a manifest: "
            f"{error}"
        ) from None


def write_samples(model: Model, gate: Gate, folder: Path) -> None:
    """Writes the tokenizer, and the reference vectors by which a machine can check itself."""
    (folder / TOKENIZER).write_bytes(model.source.tokenizer_bytes())
    samples = [normalize(gate.vectors[task][:SAMPLE_TEXTS]) for task in model.source.tasks]
    np.save(folder / SAMPLES, np.stack(samples), allow_pickle=False)
    if gate.image_vectors is not None:
        np.save(folder / IMAGE_SAMPLES, normalize(gate.image_vectors), allow_pickle=False)


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
    old, kept = reuse.old, reuse.kept
    verification, all_files = dict(reports), dict(files)
    old_graphs: list[Graph] = []
    if old is not None:
        verification = {**{p: old.verification.get(p, Report()) for p in kept}, **verification}
        old_graphs = [graph for graph in old.graphs if graph.precision in kept]
        for graph in old_graphs:
            all_files |= {name: old.files[name] for name in (graph.file, *graph.data)}
    known = recipes(model)
    return Manifest(
        **description(model),
        graphs=(*old_graphs, *graphs),
        files=all_files,
        source={
            **provenance(model.source),
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
