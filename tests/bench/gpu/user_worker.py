"""One contender of the part "user", in its own process and environment: whole calls, texts in.

    python -m bench.gpu.user_worker KIND PATH TEXTS.json DEVICE

Prints one JSON line: seconds of each call by the name of its texts, the first 64 vectors of each,
and which batch size was the quickest where there is a choice. Imports nothing of the other
contenders.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before ONNX Runtime is imported: no usage reports

ROUNDS = 2
BATCHES = (32, 128, 512)
COMPARED = 64
Encode = Callable[[list[str], int], Any]  # texts, and how many of them in a batch


def open_embedge(path: str, device: str) -> tuple[Encode, tuple[int, ...]]:
    """A pack, with what is chosen for the device; it sizes its runs by itself."""
    from embedge import Embedder

    embedder = Embedder(path, device=device, precision="fp16")
    return lambda texts, batch: embedder.encode(texts), (0,)


def open_sentence_transformers(
    path: str, device: str, dtype: str
) -> tuple[Encode, tuple[int, ...]]:
    """A plain folder, in Sentence Transformers."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(path, device=device, model_kwargs={"dtype": getattr(torch, dtype)})

    def encode(texts: list[str], batch: int) -> Any:
        return model.encode(
            texts, batch_size=batch, normalize_embeddings=True, show_progress_bar=False
        )

    return encode, BATCHES


def measure(encode: Encode, batches: tuple[int, ...], texts: list[str]) -> dict[str, Any]:
    """Whole calls at every batch size; the quickest counts."""
    found: dict[int, list[float]] = {}
    vectors = None
    for batch in batches:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            vectors = encode(texts, batch)
            found.setdefault(batch, []).append(time.perf_counter() - start)
    best = min(found, key=lambda batch: min(found[batch]))
    first = np.asarray(vectors, np.float32)[:COMPARED]
    return {"seconds": found[best], "batch": best, "vectors": first.tolist()}


def main() -> None:
    """See the module."""
    kind, path, texts, device = sys.argv[1:5]
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a package has to say goes elsewhere
    if kind == "embedge":
        encode, batches = open_embedge(path, device)
    else:
        encode, batches = open_sentence_transformers(path, device, kind)
    jobs: dict[str, list[str]] = json.loads(Path(texts).read_text(encoding="utf-8"))
    for some in jobs.values():
        encode(some[:64], batches[0] or 64)  # what is made once
    found = {name: measure(encode, batches, some) for name, some in jobs.items()}
    print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
