"""One contender of `make bench-bulk-peers`, in a process of its own: all texts to vectors, once.

Started as `python -m bench.minilm.bulk_worker KIND MODEL TEXTS PAIRS OUT THREADS PROCESSES BATCH`.
TEXTS is a Parquet file with the column "text" for embedge bulk, and the JSON list beside it for all
others; PAIRS is a JSON list of further texts, whose vectors are wanted and not timed. Prints a JSON
line when it is ready and one when it is done, and leaves OUT-texts.npy and OUT-pairs.npy, float32
(texts, width). Imports nothing of the other contenders.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.minilm.worker import beside
from bench.race.worker import versions

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before ONNX Runtime is imported: no usage reports

Vectors = NDArray[np.float32]
Run = Callable[[Path], Vectors]  # a JSON list of texts, with its Parquet file beside it


@dataclass(frozen=True, slots=True)
class Setting:
    """What all contenders share.

    Attributes:
        model: the model's folder.
        threads: of all processes of the contender together.
        processes: of one that has several.
        batch: texts of a batch, for those that have to be given a number.
    """

    model: str
    threads: int
    processes: int
    batch: int


Opener = Callable[[Setting], contextlib.AbstractContextManager[Run]]


@contextlib.contextmanager
def open_embedge(setting: Setting, *, precision: str) -> Iterator[Run]:
    """`Embedder.encode` over the whole list."""
    from embedge import Embedder

    pack = beside(setting.model, "pack")
    with Embedder(pack, precision=precision, threads=setting.threads) as embedder:
        embedder.load(embedder.tasks[0])
        yield lambda path: embedder.encode(json.loads(path.read_text()))


@contextlib.contextmanager
def open_bulk(setting: Setting, *, precision: str) -> Iterator[Run]:
    """`embedge bulk`, from the Parquet file to parts on the disk; each run opens the pack."""
    import pyarrow.parquet as pq

    from embedge.cli import main as embedge

    options = ["-p", beside(setting.model, "pack"), "--precision", precision, "-q"]
    options += ["--threads", setting.threads, "--keep", ""]
    with tempfile.TemporaryDirectory() as folder:
        runs = iter(range(2))

        def run(path: Path) -> Vectors:
            out = Path(folder) / str(next(runs))
            command = ["bulk", path.with_suffix(".parquet"), "--out", out, *options]
            if embedge([str(part) for part in command]):
                raise SystemExit("embedge bulk failed")
            rows = pq.read_table(out / "parts")["embedding"].combine_chunks()
            return np.asarray(rows.flatten()).reshape(len(rows), -1)

        yield run


@contextlib.contextmanager
def open_torch(setting: Setting, *, pool: bool) -> Iterator[Run]:
    """Sentence Transformers: one process with all threads, or its own pool of processes."""
    if pool:  # read by its processes when they start
        os.environ["OMP_NUM_THREADS"] = str(max(1, setting.threads // setting.processes))
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(setting.threads)
    model = SentenceTransformer(setting.model, device="cpu")
    options: dict[str, Any] = {"batch_size": setting.batch, "show_progress_bar": False}
    if pool:
        options["pool"] = model.start_multi_process_pool(["cpu"] * setting.processes)
    try:
        yield lambda path: np.asarray(model.encode(json.loads(path.read_text()), **options))
    finally:
        if pool:
            model.stop_multi_process_pool(options["pool"])


@contextlib.contextmanager
def open_fastembed(setting: Setting, *, pool: bool) -> Iterator[Run]:
    """fastembed by the name that it knows the model by; its processes have one thread each."""
    from fastembed import TextEmbedding

    model = TextEmbedding(
        "sentence-transformers/all-MiniLM-L6-v2",
        specific_model_path=str(beside(setting.model, "fastembed")),
        threads=setting.threads,
        lazy_load=pool,
    )
    options = {"batch_size": setting.batch, "parallel": setting.processes if pool else None}
    yield lambda path: np.stack(list(model.embed(json.loads(path.read_text()), **options)))


KINDS: Mapping[str, Opener] = {
    "embedge-int8": partial(open_embedge, precision="int8"),
    "embedge-fp32": partial(open_embedge, precision="fp32"),
    "bulk-int8": partial(open_bulk, precision="int8"),
    "bulk-fp32": partial(open_bulk, precision="fp32"),
    "torch": partial(open_torch, pool=False),
    "torch-pool": partial(open_torch, pool=True),
    "fastembed": partial(open_fastembed, pool=False),
    "fastembed-pool": partial(open_fastembed, pool=True),
}


def main() -> None:
    """Runs, as the command line says."""
    kind, model, texts, pairs, out, *numbers = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a package has to say goes elsewhere

    def say(**answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    with KINDS[kind](Setting(model, *map(int, numbers))) as run:
        say(versions=versions())
        start = time.perf_counter()
        vectors = run(Path(texts))
        say(seconds=time.perf_counter() - start)
        np.save(f"{out}-texts.npy", vectors)
        np.save(f"{out}-pairs.npy", run(Path(pairs)))


if __name__ == "__main__":
    main()
