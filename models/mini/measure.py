"""Measures a model folder on held-out data: `python models/mini/measure.py WORK MODEL STS`.

Exports the model with one more adapter, `base`, that changes nothing, in fp32 and int8; runs all
tests with embedge; prints Markdown tables and writes `measured.json` beside the corpus.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from embedge import Embedder
from embedge_export.export import export_pack
from mini import corpus
from mini.evaluate import KINDS, Suite, bm25, encode, measure, suite
from mini.targets import WIDTHS

BASE = "base"
PRECISIONS = ("fp32", "int8")
HALVES = ("watched", "kept")


def main() -> None:
    """Exports, measures, prints."""
    parser = argparse.ArgumentParser(description="Measure embedge-mini on held-out data.")
    parser.add_argument("work", type=Path, help="the folder that training kept its corpus in")
    parser.add_argument("model", type=Path, help="the trained model folder")
    parser.add_argument("sts", type=Path, help="STS-B's development set: two sentences, grade")
    options = parser.parse_args()
    tests = suite(corpus.read(options.work / "corpus.jsonl"), options.sts)
    found: dict[str, Any] = {"bm25": bm25(tests)}
    with tempfile.TemporaryDirectory() as scratch:
        model, pack = Path(scratch, "model"), Path(scratch, "pack")
        _with_base(options.model, model)
        export_pack(model, out=pack, precisions=PRECISIONS)
        for precision in PRECISIONS:
            with Embedder(pack, precision=precision) as embedder:
                encoded = {task: encode(tests, embedder, task) for task in embedder.tasks}
            found[precision] = {
                str(width): {
                    task: measure(tests, vectors, width=width) for task, vectors in encoded.items()
                }
                for width in WIDTHS
            }
    (options.work / "measured.json").write_text(json.dumps(found, indent=2) + "\n")
    _print(found, tests)


def _with_base(model: Path, copy: Path) -> None:
    """A copy of the model with an adapter of zeros."""
    shutil.copytree(model, copy)
    config = json.loads((copy / "config.json").read_text())
    some = config["task_names"][0]
    config["task_names"].append(BASE)
    (copy / "config.json").write_text(json.dumps(config))
    shutil.copytree(copy / "adapters" / some, copy / "adapters" / BASE)
    file = copy / "adapters" / BASE / "adapter_model.safetensors"
    save_file({name: np.zeros_like(value) for name, value in load_file(file).items()}, file)


def _print(found: dict[str, Any], tests: Suite) -> None:
    full, quarter = str(WIDTHS[-1]), str(WIDTHS[-3])
    print(f"\nint8, {full} wide; in brackets fp32. A row an adapter, a column a kind of work.\n")
    print("| adapter | " + " | ".join(KINDS) + " |\n|---|" + "---:|" * len(KINDS))
    for task in found["int8"][full]:
        cells = []
        for kind in KINDS:
            ours, exact = (found[p][full][task][kind] for p in ("int8", "fp32"))
            best = max(row[kind] for row in found["int8"][full].values()) == ours
            cells.append(f"**{ours:.1f}** ({exact:.1f})" if best else f"{ours:.1f} ({exact:.1f})")
        print(f"| {task} | " + " | ".join(cells) + " |")
    print("\n| width | STS-B dev | binary codes | recall@10 |\n|---:|---:|---:|---:|")
    for width, rows in found["int8"].items():
        matching, answers = rows["text-matching"], rows["retrieval"]
        three = (matching["text-matching"], matching["text-matching binary"], answers["retrieval"])
        print(f"| {width} | " + " | ".join(f"{score:.1f}" for score in three) + " |")
    first, last = (found["int8"][full]["text-matching"][f"text-matching {n}"] for n in HALVES)
    print(f"\nSTS-B dev, the half that choices were made by: {first:.1f}; the other: {last:.1f}.")
    print("\n| recall@10 | queries | documents | embedge-mini | BM25 |\n|---|---:|---:|---:|---:|")
    for name, questions in tests.questions.items():
        ours, theirs = found["int8"][full]["retrieval"][f"retrieval {name}"], found["bm25"][name]
        counts = f"{len(questions.queries)} | {len(questions.documents)}"
        print(f"| {name} | {counts} | {ours:.1f} | {theirs:.1f} |")
    lost = max(
        found["fp32"][width][task][task] - found["int8"][width][task][task]
        for width in (full, quarter)
        for task in KINDS
    )
    print(f"\nint8 loses at most {lost:.2f} points against fp32 ({full} and {quarter} wide).")


if __name__ == "__main__":
    main()
