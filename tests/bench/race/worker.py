"""One contender of the benchmark, in its own process and environment.

Started as `python -m bench.race.worker KIND PATH THREADS VOCABULARY`; prints a JSON line when it
is ready, then answers each JSON line on standard input with one on standard output:

    {"work": "1x128", "seconds": 2}  ->  {"times": [0.1, ...], "vector": [...]}
    {"memory": true}                 ->  {"peak": MiB, "anonymous": MiB, ...}
    anything that fails              ->  {"error": "in a sentence"}

Imports nothing of the other contenders: a worker runs wherever its own package is installed.
"""

import dataclasses
import gc
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import smaps
from bench.race.work import Ids, Work, parse, texts_of

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before ONNX Runtime is imported: no usage reports

Vectors = NDArray[np.float32]  # (n, D), pooled at the last token, not normalized
Run = Callable[[list[Ids], int], Vectors]  # texts, and how many of them at most in one batch
Opener = Callable[..., Run]  # path, threads; embedge's also takes a token budget
Forward = Callable[[Ids, Ids], Vectors]  # padded ids and mask, both (B, S)

# Texts of a stream in one batch of a peer, sorted by length: Sentence Transformers' default.
BATCH = 32
WARM_UP = "1x16"
# Larger than any shape here, so that embedge's plan cuts none of a GPU's batches.
ONE_RUN, ALL_MEMORY = 2**31, "1TB"


def batched(forward: Forward) -> Run:
    """Runs texts as a peer's users would: sorted by length, batches of a number, padded right."""

    def run(texts: list[Ids], most: int) -> Vectors:
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        vectors: list[Any] = [None] * len(texts)
        for start in range(0, len(order), most):
            chosen = order[start : start + most]
            ids, mask = pad([texts[index] for index in chosen])
            for index, vector in zip(chosen, forward(ids, mask), strict=True):
                vectors[index] = vector
        return np.stack(vectors)

    return run


def pad(texts: list[Ids]) -> tuple[Ids, Ids]:
    """Ids, padded with 0 on the right, and the mask: both (B, S)."""
    shape = (len(texts), max(map(len, texts)))
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return ids, mask


def last(hidden: NDArray[Any], mask: Ids) -> Vectors:
    """(B, S, D) -> (B, D): where the mask's last 1 is."""
    return np.asarray(hidden[np.arange(len(mask)), mask.sum(axis=1) - 1], np.float32)


def open_embedge(
    path: str, threads: int, *, precision: str, device: str = "cpu", budget: int | None = None
) -> Run:
    """A pack, as `Embedder.encode` runs it once it has token ids: its plan, its limits."""
    from embedge.calls import Call
    from embedge.choices import choose
    from embedge.items import Items
    from embedge.pack.files import open_pack
    from embedge.runner import Runner
    from embedge.sessions import Sessions

    pack = open_pack(path)
    assert pack.manifest.text is not None
    choices = choose(
        pack,
        precision=precision,
        device=device,
        threads=threads,
        token_budget=ONE_RUN if device == "cuda" else budget,
        memory_limit=ALL_MEMORY if device == "cuda" else None,
    )
    sessions = Sessions(pack, choices, arena=False, spin=True, prepared=None)
    runner = Runner(pack, choices, sessions, pad_token_id=pack.manifest.text.pad_token_id)
    call = Call.of(pack.manifest)
    runner.load(call)  # the session alone: the peers load no tokenizer either

    def run(texts: list[Ids], most: int) -> Vectors:
        batches = runner.text_batches([text.astype(np.int32) for text in texts])
        return runner.run(call, batches, Items("texts", total=len(texts)))

    return run


def open_onnx(path: str, threads: int) -> Run:
    """Any other graph with last_hidden_state, in ONNX Runtime as it comes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = {node.name for node in session.get_inputs()}

    def forward(ids: Ids, mask: Ids) -> Vectors:
        feeds = {"input_ids": ids, "attention_mask": mask}
        if "position_ids" in names:
            feeds["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy()
        return last(session.run(["last_hidden_state"], feeds)[0], mask)

    return batched(forward)


def open_torch(path: str, threads: int, *, dtype: str, device: str = "cpu") -> Run:
    """transformers' own model, with its default attention (SDPA)."""
    import torch
    from transformers import AutoModel

    torch.set_num_threads(threads)
    model = AutoModel.from_pretrained(path, dtype=getattr(torch, dtype)).eval().to(device)
    model.config.use_cache = False

    def forward(ids: Ids, mask: Ids) -> Vectors:
        with torch.inference_mode():
            # Where nothing is padded, no mask is the quicker way to say so.
            told = None if mask.all() else torch.from_numpy(mask).to(device)
            tokens = torch.from_numpy(ids).to(device)
            hidden = model(input_ids=tokens, attention_mask=told).last_hidden_state
            ends = torch.from_numpy(mask.sum(axis=1) - 1).to(device)
            pooled = hidden[torch.arange(len(ends), device=device), ends]
            return np.asarray(pooled.float().cpu().numpy())

    return batched(forward)


def open_openvino(path: str, threads: int, *, precision: str, group: int | None = None) -> Run:
    """A graph of openvino_convert.py, which pools by itself."""
    import openvino

    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    if group is not None:
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = group
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    # A copy: the request writes its next answer into the same memory.
    return batched(lambda ids, mask: np.array(request.infer([ids, mask])[0], np.float32))


KINDS: Mapping[str, Opener] = {
    "embedge-int8": partial(open_embedge, precision="int8"),
    "embedge-fp32": partial(open_embedge, precision="fp32"),
    "embedge-fp16": partial(open_embedge, precision="fp16"),
    "embedge-fp16-cuda": partial(open_embedge, precision="fp16", device="cuda"),
    "onnx": open_onnx,
    "openvino-int8-f32": partial(open_openvino, precision="f32", group=128),
    "openvino-int8-bf16": partial(open_openvino, precision="bf16", group=128),
    "openvino-bf16": partial(open_openvino, precision="bf16"),
    "torch-float32": partial(open_torch, dtype="float32"),
    "torch-bfloat16": partial(open_torch, dtype="bfloat16"),
    "torch-float16": partial(open_torch, dtype="float16"),
    "torch-float32-cuda": partial(open_torch, dtype="float32", device="cuda"),
    "torch-bfloat16-cuda": partial(open_torch, dtype="bfloat16", device="cuda"),
    "torch-float16-cuda": partial(open_torch, dtype="float16", device="cuda"),
}


def opener(kind: str, kinds: Mapping[str, Opener]) -> Opener:
    """Of `kinds`; "embedge-int8-budget-4096" is embedge-int8 with that token_budget."""
    plain, _, budget = kind.partition("-budget-")
    return partial(kinds[plain], budget=int(budget)) if budget else kinds[plain]


PACKAGES = (
    "embedge",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "nncf",
    "optimum",
    "optimum-onnx",
    "torch",
    "transformers",
)


def measure(run: Run, work: Work, vocabulary: int, seconds: float) -> dict[str, Any]:
    """Runs one piece of work for a while, at least once; the vector is that of its first text."""
    texts = texts_of(work, vocabulary)
    most = BATCH if work.stream else len(texts)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        vectors = run(texts, most)
        times.append(time.perf_counter() - start)
    return {"times": times, "vector": vectors[0].astype(float).tolist()}


def versions() -> dict[str, str]:
    """Versions of what is installed here of the contenders' packages."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def answer(run: Run, vocabulary: int, request: dict[str, Any]) -> dict[str, Any]:
    """To one request; what fails is told, so that the next one can be answered."""
    try:
        if "memory" in request:
            return dataclasses.asdict(smaps.read())
        return measure(run, parse(request["work"]), vocabulary, request["seconds"])
    except Exception as error:  # each contender has errors of its own
        told = " ".join(str(error).split()) or type(error).__name__
    gc.collect()
    if torch := sys.modules.get("torch"):  # it keeps a GPU's memory after a failure, too
        torch.cuda.empty_cache()
    return {"error": told[:300]}


def main(kinds: Mapping[str, Opener] = KINDS) -> None:
    """Loads, says so, and answers until standard input ends."""
    kind, path, threads, vocabulary = *sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4])
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a package has to say goes elsewhere
    start = time.perf_counter()
    run = opener(kind, kinds)(path, threads)
    loaded = time.perf_counter()
    run(texts_of(parse(WARM_UP), vocabulary), 1)
    first = time.perf_counter()
    ready = {"load": loaded - start, "first": first - loaded, "versions": versions()}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        told = answer(run, vocabulary, json.loads(line))
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    main()
