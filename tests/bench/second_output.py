"""What `last_hidden_state` costs: a hub folder's graph beside the pack's, of the same weights.

The graphs run in turn on the same ids: the pack's, and the hub folder's asked for the vector alone
(as Text Embeddings Inference asks) and for both outputs. Prints bytes of the graphs with their
data, and milliseconds of a run: the least of many, which other work on the machine moves little.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from embedge.engine.loading import load_runtime
from embedge.engine.session_options import session_options
from embedge.pack.contract import OUTPUT, ROWS
from embedge_export import export_hub_folders, export_pack
from embedge_export.hub_folder import STEMS

SHAPES = ((1, 16), (32, 32), (8, 256), (1, 1024))  # texts, tokens of each
PRECISIONS = ("fp32", "int8")


def main() -> None:
    """Exports both, runs them, prints a line for each precision and shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/embedge-mini"))
    parser.add_argument("--rounds", type=int, default=60, help="runs of each graph and shape")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        compare(options.model, Path(place), options.rounds, options.threads)


def compare(model: Path, place: Path, rounds: int, threads: int) -> None:
    """Of the model's first task."""
    manifest = export_pack(model, out=place / "pack", precisions=PRECISIONS)
    task = manifest.default_task
    hub = export_hub_folders(model, out=place / "hub", tasks=[task], precisions=PRECISIONS)
    for precision in PRECISIONS:
        graph = manifest.graph(task=task, precision=precision)
        pack_files = [place / "pack" / name for name in (graph.file, *graph.data)]
        stem = hub.folders[task] / "onnx" / f"{STEMS[precision]}.onnx"
        hub_files = [stem, stem.with_name(f"{stem.name}_data")]
        sizes = [sum(f.stat().st_size for f in files) for files in (pack_files, hub_files)]
        print(
            f"{precision}: {sizes[0]:,} bytes for one task of the pack, {sizes[1]:,} for the hub's"
        )
        sessions = [
            # A thread that spins after a run would take a core from the other session's next one.
            load_runtime().InferenceSession(str(files[0]), session_options(threads, spin=False))
            for files in (pack_files, hub_files)
        ]
        asked = ((sessions[0], [OUTPUT]), (sessions[1], [OUTPUT]), (sessions[1], [OUTPUT, ROWS]))
        for shape in SHAPES:
            runs = [runner(session, outputs, shape) for session, outputs in asked]
            pack, vector, both = in_turn(runs, rounds)
            print(
                f"{precision}, {shape[0]} x {shape[1]} tokens: pack {pack:.2f} ms, hub's vector "
                f"{vector:.2f} ms ({vector / pack - 1:+.1%}), both outputs {both:.2f} ms "
                f"({both / pack - 1:+.1%})"
            )


def runner(session: Any, outputs: list[str], shape: tuple[int, int]) -> Callable[[], object]:
    """Runs a graph on texts of one length."""
    ids = np.random.default_rng(0).integers(0, 20_000, shape)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    return lambda: session.run(outputs, feed)


def in_turn(runs: list[Callable[[], object]], rounds: int) -> list[float]:
    """The least of each, in milliseconds."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, found in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            found.append(1e3 * (time.perf_counter() - start))
    return [min(found) for found in times]


if __name__ == "__main__":
    main()
