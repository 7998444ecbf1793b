"""`make fidelity`: how faithful a lower precision is to fp32, on some 260 texts of all kinds.

Takes packs, or model folders, which are exported first; by default SmolLM2 (a real decoder) and
embedge-mini. Every precision's vectors, through `Embedder`, are compared with the fp32 pack's, and
each text's vector alone with the same text's in shuffled batches and under more padding. Plain
dynamic int8 of the same weights stands beside it. Prints Markdown, writes JSON; exit code 1 if a
bar is missed.
"""

import argparse
import datetime
import json
import platform
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from bench import places
from bench.fidelity.corpus import corpus
from bench.fidelity.measures import BARS, Vectors, compare, cosines, least_by_kind, missed
from bench.fidelity.stand_ins import padded, plain_int8
from embedge import Embedder, TruncationWarning
from embedge.engine.kernels import integer_kernel
from embedge.machine.resources import cpu_name
from embedge.pack.verification import Report
from embedge_export.corpus.texts import LONG_TEXTS, SHORT_TEXTS
from embedge_export.export import export_pack

SOURCES = (places.ROOT / "models" / "smollm2-135m", places.ROOT / "models" / "embedge-mini")
MAX_LENGTH = 2048  # tokens
BATCHES = (2, 7, 32)  # texts given to one call
SHORT = 200  # tokens; longer texts meet others only in the call with all of them
PADDING = (1, 150)  # columns
WORST = 5


def measure(folder: Path, task: str, precision: str, options: dict[str, Any]) -> dict[str, Any]:
    """Everything told about one task of a pack in one precision.

    Args:
        folder: the pack; it holds fp32 too.
        task: one of its tasks.
        precision: one of its precisions.
        options: of `Embedder`, such as threads.
    """
    with Embedder(folder, precision="fp32", **options) as embedder:
        graph = embedder.manifest.graph(task=task, precision="fp32").file
        lengths = embedder.count_tokens([text for _, text in corpus()])
        chosen = [pair for pair, tokens in zip(corpus(), lengths, strict=True) if tokens > 0]
        kinds, texts = zip(*chosen, strict=True)
        lengths = np.minimum(lengths[lengths > 0], min(MAX_LENGTH, embedder.max_length))
        want = _encode(embedder, task, texts)
    short = [index for index, tokens in enumerate(lengths) if tokens <= SHORT]
    with Embedder(folder, precision=precision, **options) as embedder:
        started = time.perf_counter()
        got = _encode(embedder, task, texts)
        seconds = time.perf_counter() - started
        alone = np.concatenate([_encode(embedder, task, [text]) for text in texts])
        batched = {"all": _largest(got, alone)}
        for size in BATCHES:
            batched[str(size)] = _shuffled(embedder, task, texts, short, size, alone)
    padding = {}
    for columns in PADDING:
        with padded(columns), Embedder(folder, precision=precision, **options) as embedder:
            wide = _encode(embedder, task, [texts[index] for index in short])
            padding[str(columns)] = _largest(wide, alone[short])
    each = cosines(got, want)
    ties = _ties(embedder.manifest.verification, precision, task)
    result = {
        "texts": len(texts),
        "tokens": int(lengths.sum()),
        "seconds": seconds,
        **compare(got, want),
        "cosine_min_but_ties": float(each[[text not in ties for text in texts]].min()),
        "batch_difference": max(batched.values()),
        "padding_difference": max(padding.values()),
        "differences": {"by batch": batched, "by columns of padding": padding},
        "least_by_kind": least_by_kind(each, kinds),
        "worst": [
            {
                "cosine": float(each[i]),
                "kind": kinds[i],
                "tokens": int(lengths[i]),
                "text": texts[i],
            }
            for i in np.argsort(each)[:WORST]
        ],
    }
    result["missed"] = missed(result, BARS.get(precision))
    with (
        tempfile.TemporaryDirectory() as scratch,
        plain_int8(folder / graph, Path(scratch)),
        Embedder(folder, precision="fp32", **options) as embedder,
    ):
        batch = _encode(embedder, task, texts)
        lone = np.concatenate([_encode(embedder, task, [text]) for text in texts])
    result["plain int8"] = {
        "alone": compare(lone, want),
        "batch": compare(batch, want),
        "batch_difference": _largest(batch, lone),
    }
    return result


def _ties(verification: Mapping[str, Report], precision: str, task: str) -> set[str]:
    """The built-in texts that the export found to be ties."""
    places = verification[precision].tasks[task].ties or {}
    return {(*SHORT_TEXTS, *LONG_TEXTS)[int(place)] for place in places}


def _encode(embedder: Embedder, task: str, texts: Any) -> Vectors:
    """Not normalized, so that a last bit cannot be lost in a division."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        length = min(MAX_LENGTH, embedder.max_length)
        return embedder.encode(list(texts), task=task, max_length=length, normalize=False)


def _shuffled(
    embedder: Embedder, task: str, texts: Any, indices: list[int], size: int, alone: Vectors
) -> float:
    """The largest difference between texts alone and in calls of `size` texts of mixed lengths."""
    order = list(indices)
    random.Random(size).shuffle(order)
    largest = 0.0
    for start in range(0, len(order), size):
        some = order[start : start + size]
        vectors = _encode(embedder, task, [texts[index] for index in some])
        largest = max(largest, _largest(vectors, alone[some]))
    return largest


def _largest(a: Vectors, b: Vectors) -> float:
    """The largest difference of one number, where vectors have length 1."""
    unit = np.linalg.norm(b.astype(np.float64), axis=1, keepdims=True)
    return float((np.abs(a.astype(np.float64) - b) / unit).max())


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: the figures, the plain int8 beside them, and which kinds of text hurt."""
    head = ["", "cosine min", "1st percentile", "mean", "Spearman", "top-10 kept"]
    head += ["alone vs batch", "vs padding", "plain int8, alone: min (mean)"]
    head += ["plain int8, in a batch: min (mean)", "plain alone vs batch"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name, one in results.items():
        keys = ("cosine_min", "cosine_p1", "cosine_mean", "spearman")
        cells = [name, *(f"{one[key]:.6f}" for key in keys), f"{one['neighbors_kept']:.3f}"]
        cells += [f"{one[key]:.1g}" for key in ("batch_difference", "padding_difference")]
        plain = one["plain int8"]
        for way in ("alone", "batch"):
            cells.append(f"{plain[way]['cosine_min']:.4f} ({plain[way]['cosine_mean']:.4f})")
        cells.append(f"{plain['batch_difference']:.1g}")
        lines.append("| " + " | ".join(cells) + " |")
    kinds = list(next(iter(results.values()))["least_by_kind"])
    lines += ["", "Least cosine by kind of text:", ""]
    lines += ["| | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds)]
    for name, one in results.items():
        least = [f"{one['least_by_kind'][kind]:.5f}" for kind in kinds]
        lines.append(f"| {name} | " + " | ".join(least) + " |")
    lines += ["", "The worst texts:", ""]
    for name, one in results.items():
        told = [f"{worst['cosine']:.5f} {worst['text'][:24]!r}" for worst in one["worst"]]
        lines.append(f"- {name}: {', '.join(told)}")
    return "\n".join(lines)


def _pack(path: Path, precisions: list[str], out: Path) -> Path:
    """The pack itself, or a new one of a model folder."""
    if (path / "manifest.json").exists():
        return path
    folder = out / "fidelity" / path.name
    # Made anew: a changed exporter may write other graphs of the same weights.
    shutil.rmtree(folder, ignore_errors=True)
    export_pack(path, out=folder, precisions=["fp32", *precisions], accept_failures=True)
    return folder


def main() -> int:
    """Measures everything, prints the tables; 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "packs", type=Path, nargs="*", help="packs with fp32, or model folders", default=SOURCES
    )
    parser.add_argument("--precisions", default="int8", help="comma-separated (default: int8)")
    parser.add_argument("--tasks", help="comma-separated (default: all)")
    parser.add_argument("--threads", type=int)
    parser.add_argument(
        "--out", type=Path, default=places.ROOT / "bench", help="where things are kept"
    )
    options = parser.parse_args()
    precisions = options.precisions.split(",")
    results: dict[str, dict[str, Any]] = {}
    for path in options.packs:
        folder = _pack(path, precisions, options.out)
        with Embedder(folder) as embedder:
            tasks = options.tasks.split(",") if options.tasks else embedder.tasks
        for task in tasks:
            for precision in precisions:
                started = time.perf_counter()
                name = f"{folder.name}, {task}, {precision}"
                results[name] = measure(folder, task, precision, {"threads": options.threads})
                took = time.perf_counter() - started
                print(f"  {name}: {took:.0f} s", file=sys.stderr, flush=True)
    record = {
        "cpu": cpu_name(),
        "kernel": integer_kernel().value,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("onnxruntime", "numpy", "tokenizers")},
        "results": results,
    }
    first = next(iter(results.values()))
    text = (
        f"{first['texts']} texts against fp32, {record['cpu']} ({record['kernel']}), ONNX Runtime "
        f"{record['onnxruntime']}, {record['date']}\n\n{table(results)}\n"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "fidelity.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    (options.out / "fidelity.md").write_text(text, encoding="utf-8")
    print(text)
    for name, one in results.items():
        for fault in one["missed"]:
            print(f"MISSED  {name}: {fault}")
    return 1 if any(one["missed"] for one in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
