"""Embeds texts with the teacher, all-MiniLM-L6-v2: mean over tokens, normalized, 384 wide.

Writes one file for each chunk of texts, so that an interrupted run goes on where it stopped.
"""

import hashlib
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel

WIDTH = 384
TOKENS_MOST = 128
CHUNK = 16_384  # texts in one file
TOKENS_IN_BATCH = 4_096


def embed(texts: list[str], model: Path, folder: Path) -> NDArray[np.float16]:
    """Vectors (N, 384), float16, unit length; chunks already in `folder` are read, not made."""
    folder.mkdir(parents=True, exist_ok=True)
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    network: torch.nn.Module | None = None
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.enable_truncation(TOKENS_MOST)
    tokenizer.no_padding()
    found: list[NDArray[np.float16]] = []
    started, made = time.monotonic(), 0
    for number, chunk in enumerate(chunks):
        digest = hashlib.sha256("\n".join(chunk).encode("utf-8", "replace")).hexdigest()[:12]
        file = folder / f"{number:04d}-{digest}.npy"
        if not file.exists():
            if network is None:
                network = AutoModel.from_pretrained(str(model), dtype=torch.float32).eval()
            vectors = _embed_chunk(chunk, tokenizer, network)
            part = file.with_suffix(".part")
            with part.open("wb") as stream:
                np.save(stream, vectors)
            part.replace(file)
            made += len(chunk)
            rate = made / (time.monotonic() - started)
            left = (len(chunks) - number - 1) * CHUNK / rate / 60
            print(f"teacher: chunk {number + 1}/{len(chunks)}, {rate:.0f} texts/s, "
                  f"{left:.0f} min left", flush=True)  # fmt: skip
        found.append(np.load(file))
    return np.concatenate(found)


@torch.inference_mode()
def _embed_chunk(
    chunk: list[str], tokenizer: Tokenizer, network: torch.nn.Module
) -> NDArray[np.float16]:
    ids = [encoding.ids for encoding in tokenizer.encode_batch(chunk)]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    vectors = np.empty((len(chunk), WIDTH), np.float16)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and len(ids[order[stop]]) * (stop + 1 - start) <= TOKENS_IN_BATCH:
            stop += 1
        rows = order[start:stop]
        width = len(ids[rows[-1]])
        tokens = torch.zeros(len(rows), width, dtype=torch.long)  # (B, S), 0 is [PAD]
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for place, row in enumerate(rows):
            tokens[place, : len(ids[row])] = torch.tensor(ids[row])
            mask[place, : len(ids[row])] = 1
        states = network(input_ids=tokens, attention_mask=mask).last_hidden_state  # (B, S, 384)
        mean = (states * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
        vectors[rows] = torch.nn.functional.normalize(mean, dim=1).half().numpy()
        start = stop
    return vectors
