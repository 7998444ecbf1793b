"""`make bench-clip`: jina-clip-v2's two towers against other ways to run the same weights.

Seeded weights of the real one's sizes. Each tower is a race of its own (compete.py), in which every
contender is a process and all take turns. Our graphs are those of the exporter, written without
its gate, whose NumPy reference would take minutes at this size, and with int8 weights rounded
without sample inputs: neither changes a graph's speed or memory. They run in the runtime's own
session; decoding and scaling of image files, and the tokenizer, are nobody's here. Exits with 0
whatever the figures are.
"""

import argparse
import contextlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from bench import places
from bench.machine import facts
from bench.race.command_line import listed, race_options
from bench.race.compete import Race, Result
from bench.race.peers import Contender, PeerError, environment, once, run
from bench.race.report import bars_table, left_out, speed_table, start_table
from bench.race.work import Work, parse
from embedge_export.families.bert.config import BertConfig
from embedge_export.graph.weight_file import WeightFile
from embedge_export.model import Model, open_model
from embedge_export.precision import PRECISIONS
from embedge_export.source.folder import open_source
from embedge_export.write import image_network, text_network, write

NAMES = (
    "embedge int8",
    "embedge fp32",
    "OpenVINO int8 f32",
    "OpenVINO int8 bf16",
    "OpenVINO bf16",
    "torch fp32",
    "torch bf16",
)
TOWERS = ("image", "text")
IMAGES = "1,4,8"
TEXTS = "1x16,1x128,1x512,16x64"
TASK = "retrieval.query"
WORKER = ("-m", "bench.clip.worker")
CONVERT = ("-m", "bench.clip.convert")


def seeded_source(folder: Path, size: str) -> Path:
    """The seeded model in `folder`, made once."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / ("jina-clip-v2" if size == "full" else f"jina-clip-v2-{size}")
    if not source.exists():
        options = ["--model", "jina-clip-v2", "--size", size, "--seed", "0"]
        run([sys.executable, places.ROOT / "models/seeded", source, *options])
    return source


def write_graphs(source: Path, out: Path, precisions: Sequence[str]) -> None:
    """Both towers' graphs as an export writes them; no gate, no samples, no manifest."""
    model = open_model(open_source(source, tasks=[TASK]))
    chosen = [PRECISIONS[name] for name in precisions]
    out.mkdir(parents=True)
    with contextlib.ExitStack() as files:
        shared = {
            p.name: files.enter_context(WeightFile(out / f"shared.{p.name}.data")) for p in chosen
        }
        write(text_network(model, TASK), chosen, out, shared=shared)
    assert model.image is not None
    write(image_network(model.image, [TASK]), chosen, out)


def write_merged(source: Path, out: Path) -> None:
    """The text tower as transformers reads it: float32, its adapter merged in."""
    model = open_model(open_source(source, tasks=[TASK]))
    weights = model.weights(TASK)
    out.mkdir(parents=True)
    tensors = {key: np.ascontiguousarray(weights.read(key)) for key in model.base.keys()}  # noqa: SIM118
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(_transformers_config(model), indent=2))


def _transformers_config(model: Model) -> dict[str, Any]:
    config = model.config
    assert isinstance(config, BertConfig)
    words, types = (
        len(model.base.read(f"embeddings.{name}_embeddings.weight"))
        for name in ("word", "token_type")
    )
    return {
        "architectures": ["JinaEmbeddingsV3Model"],
        "model_type": "jina_embeddings_v3",
        "hidden_act": "gelu",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "layer_norm_eps": config.layer_norm_eps,
        "max_position_embeddings": config.max_position_embeddings,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
        "type_vocab_size": types,
        "vocab_size": words,
    }


def whole(out: Path, write: Any, *given: Any) -> Path:
    """Makes a folder whole or not at all, once."""
    if not out.exists():
        part = out.with_name(out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        print(f"  {out.name}", file=sys.stderr, flush=True)
        write(given[0], part, *given[1:])
        part.rename(out)
    return out


def prepare(
    folder: Path, source: Path, wanted: Sequence[str]
) -> tuple[dict[str, list[Contender]], dict[str, str]]:
    """Makes what is missing: the contenders of each tower, and who is absent and why.

    Our graphs are kept by precision; remove `<model>.graphs-*` after a change to the exporter.
    """
    places: dict[str, dict[str, Path]] = {tower: {} for tower in TOWERS}
    pythons: dict[str, Path] = {}
    absent: dict[str, str] = {}

    def place(what: str) -> Path:
        return folder / f"{source.name}.{what}"

    for name in wanted:
        if name.startswith("embedge "):
            precision = name.split()[1]
            graphs = whole(place(f"graphs-{precision}"), write_graphs, source, [precision])
            for tower in TOWERS:
                places[tower][name], pythons[name] = graphs, Path(sys.executable)
    for name in wanted:
        if name.startswith("embedge "):
            continue
        try:
            pythons[name] = environment(folder, "openvino")  # torch is there, too
            sources = {"image": source, "text": whole(place("text"), write_merged, source)}
            for tower in TOWERS:
                places[tower][name] = sources[tower]
                if name.startswith("OpenVINO"):
                    kind = "int8.xml" if "int8" in name else "fp16.xml"
                    places[tower][name] = (
                        _converted(pythons[name], tower, sources[tower], place(f"openvino-{tower}"))
                        / kind
                    )
        except PeerError as error:
            absent[name] = str(error)
    contenders = {
        tower: [
            Contender(name, pythons[name], f"{tower} {name}", places[tower][name])
            for name in wanted
            if name not in absent
        ]
        for tower in TOWERS
    }
    return contenders, absent


def _converted(python: Path, tower: str, source: Path, out: Path) -> Path:
    return once(out, lambda part: [python, *CONVERT, tower, source, part])


def report(
    title: str,
    here: dict[str, Any],
    threads: int,
    results: dict[str, dict[str, Result]],
    works: dict[str, list[Work]],
    absent: dict[str, str],
) -> str:
    """Markdown: both towers' figures, each with memory, agreement and the bars."""
    versions = {
        name: number
        for tower in results.values()
        for result in tower.values()
        for name, number in result.versions.items()
    }
    parts = [f"# {title}", facts.sentence(here, threads, versions) + "."]
    told = {
        "image": "Images a second, best (median); a column's name is the images in one run, x 1.",
        "text": "Texts x tokens: tokens a second, best (median).",
    }
    for tower, found in results.items():
        parts += [
            f"## The {tower} tower",
            told[tower],
            speed_table(found, works[tower], digits=3 if tower == "image" else 0),
            "Start, memory, and the lowest cosine to torch fp32 (to embedge fp32 without it):",
            start_table(found),
            "embedge int8's speed over the peer's best setting, ratio of the best runs (of the "
            "medians):",
            bars_table(found, works[tower]),
        ]
        if missing := left_out(found, absent):
            parts.append(missing)
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Prepares, measures, writes results-<model>.md and .json."""
    options = _options()
    source = seeded_source(options.out, options.size)
    contenders, absent = prepare(options.out, source, options.peers)
    if options.prepare_only:
        return
    vocabulary = len(open_model(open_source(source)).base.read("embeddings.word_embeddings.weight"))
    here = facts.machine()
    works = {"image": options.images, "text": options.texts}
    results: dict[str, dict[str, Result]] = {}
    for tower in TOWERS:
        if not works[tower]:
            continue
        race = Race(
            contenders[tower],
            vocabulary=vocabulary,
            threads=options.threads,
            seconds=options.seconds,
            longest=options.longest,
            program=WORKER,
        )
        for work in works[tower]:
            race.run(work, options.rounds)
        results[tower] = race.finish()
    title = f"jina-clip-v2, seeded, {options.size} size"
    text = report(title, here, options.threads, results, works, absent)
    record = {
        "machine": here,
        "threads": options.threads,
        "rounds": options.rounds,
        "absent": absent,
        "towers": {
            tower: {name: asdict(result) for name, result in found.items()}
            for tower, found in results.items()
        },
    }
    (options.out / f"results-{source.name}.md").write_text(text, encoding="utf-8")
    (options.out / f"results-{source.name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--images", default=IMAGES, help=f"in a run (default: {IMAGES})")
    parser.add_argument("--texts", default=TEXTS, help=f"texts x tokens (default: {TEXTS})")
    parser.add_argument("--prepare-only", action="store_true", help="make what is missing, no run")
    options = race_options(parser, NAMES)
    try:
        options.images = [parse(f"{count}x1") for count in listed(options.images)]
        options.texts = [parse(name) for name in listed(options.texts)]
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    main()
