"""One contender of the benchmark, in its own process and environment.

Started as `python worker.py KIND PATH THREADS VOCABULARY`; prints a JSON line when it is ready,
then answers each JSON line on standard input with one on standard output:

    {"rows": 1, "length": 128, "seconds": 2}  ->  {"times": [0.1, ...], "vector": [...]}
    {"memory": true}                          ->  {"peak": MiB, "private": MiB}

Imports nothing of the other contenders: a worker runs wherever its own package is installed.
"""

import importlib.metadata
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]  # (B, S); no padding: every text fills its row
Run = Callable[[Ids], NDArray[np.float32]]  # -> (B, D), pooled at the last token


def open_embedge(path: str, threads: int) -> Run:
    """A graph of a pack, through embedge's own engine."""
    from embedge.engine import OnnxSession

    session = OnnxSession(Path(path), device="cpu", threads=threads)
    return lambda ids: session.run(ids, np.ones_like(ids))


def open_onnx(path: str, threads: int) -> Run:
    """Any other graph with last_hidden_state, in ONNX Runtime as it comes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = {node.name for node in session.get_inputs()}

    def run(ids: Ids) -> NDArray[np.float32]:
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        if "position_ids" in names:
            feeds["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy()
        return np.asarray(session.run(["last_hidden_state"], feeds)[0][:, -1])

    return run


def open_torch(path: str, threads: int, dtype: str) -> Run:
    """transformers' own model, with its default attention (SDPA)."""
    import torch
    from transformers import AutoModel

    torch.set_num_threads(threads)
    model = AutoModel.from_pretrained(path, dtype=getattr(torch, dtype)).eval()

    def run(ids: Ids) -> NDArray[np.float32]:
        with torch.inference_mode():
            tokens = torch.from_numpy(ids)
            hidden = model(input_ids=tokens, use_cache=False).last_hidden_state
            return np.asarray(hidden[:, -1].float().numpy())

    return run


KINDS: dict[str, Callable[[str, int], Run]] = {
    "embedge": open_embedge,
    "onnx": open_onnx,
    "torch-float32": lambda path, threads: open_torch(path, threads, "float32"),
    "torch-bfloat16": lambda path, threads: open_torch(path, threads, "bfloat16"),
}
PACKAGES = ("embedge", "onnxruntime", "torch", "transformers", "optimum", "optimum-onnx", "numpy")


def make_ids(rows: int, length: int, vocabulary: int) -> Ids:
    """The same texts for every contender: random tokens, special ones (at the end) left out."""
    generator = np.random.default_rng(rows * 100_003 + length)
    return generator.integers(0, vocabulary - vocabulary // 50, (rows, length))


def measure(run: Run, ids: Ids, seconds: float) -> dict[str, Any]:
    """Runs one shape for a while, at least once."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        vectors = run(ids)
        times.append(time.perf_counter() - start)
    return {"times": times, "vector": vectors[0].astype(float).tolist()}


def memory() -> dict[str, float]:
    """Peak resident and private memory of this process, in MiB (Linux)."""
    status = Path("/proc/self/status").read_text()
    rollup = Path("/proc/self/smaps_rollup").read_text()
    private = sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+)", rollup, re.MULTILINE))
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    assert peak is not None
    return {"peak": int(peak[1]) / 1024, "private": private / 1024}


def versions() -> dict[str, str]:
    """Versions of what is installed here of the contenders' packages."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Loads, says so, and answers until standard input ends."""
    kind, path, threads, vocabulary = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4])
    start = time.perf_counter()
    run = KINDS[kind](path, threads)
    loaded = time.perf_counter()
    run(make_ids(1, 16, vocabulary))
    first = time.perf_counter()
    ready = {"load": loaded - start, "first": first - loaded, "versions": versions()}
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "memory" in request:
            answer: dict[str, Any] = memory()
        else:
            ids = make_ids(request["rows"], request["length"], vocabulary)
            answer = measure(run, ids, request["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
