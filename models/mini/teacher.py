"""Embeds texts with the teacher, all-MiniLM-L6-v2: mean over tokens, normalized, 384 wide.

It was trained on 128 tokens. A longer text is cut into windows of about equal length, and its
vector is the mean of theirs, each weighing as many tokens as it has. Writes one file for each
chunk of texts, so that an interrupted run goes on where it stopped.
"""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModel

from mini import batches
from mini.batches import Tokens
from mini.device import DEVICE

WIDTH = 384
WINDOW = 126  # tokens of a text at once; two more stand around them
CHUNK = 131_072  # texts in one file
BATCH = 4096  # windows
TOKENS_IN_BATCH = 262_144 if DEVICE.type == "cuda" else 4_096


def embed(texts: Sequence[str], model: Path, folder: Path) -> NDArray[np.float16]:
    """Vectors (N, 384), float16, unit length; chunks already in `folder` are read, not made."""
    folder.mkdir(parents=True, exist_ok=True)
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    network: torch.nn.Module | None = None
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    around = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    files = [folder / f"{number:04d}-{_digest(chunk)}.npy" for number, chunk in enumerate(chunks)]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    started, made = time.monotonic(), 0
    with ThreadPoolExecutor(1) as ahead:  # tokenizes the next chunk while this one is embedded
        prepared = {n: ahead.submit(batches.tokenize, tokenizer, chunks[n]) for n in missing[:2]}
        for place, number in enumerate(missing):
            if network is None:
                kind = torch.float16 if DEVICE.type == "cuda" else torch.float32
                network = AutoModel.from_pretrained(str(model), dtype=kind).to(DEVICE).eval()
            vectors = _embed_chunk(prepared.pop(number).result(), around, network)
            for after in missing[place + 2 : place + 3]:
                prepared[after] = ahead.submit(batches.tokenize, tokenizer, chunks[after])
            part = files[number].with_suffix(".part")
            with part.open("wb") as stream:
                np.save(stream, vectors)
            part.replace(files[number])
            made += len(chunks[number])
            rate = made / (time.monotonic() - started)
            left = (len(missing) - place - 1) * CHUNK / rate / 60
            print(f"teacher: chunk {number + 1}/{len(chunks)}, {rate:.0f} texts/s, "
                  f"{left:.1f} min left", flush=True)  # fmt: skip
    return np.concatenate([np.load(file) for file in files])


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode("utf-8", "replace")).hexdigest()[:12]


@torch.inference_mode()
def _embed_chunk(
    tokens: Tokens, around: tuple[int, int], network: torch.nn.Module
) -> NDArray[np.float16]:
    """Vectors (N, 384) of texts that are tokenized as [CLS] … [SEP]."""
    inner = np.maximum(tokens.lengths - 2, 1)
    count = -(-inner // WINDOW)  # windows of each text
    size = -(-inner // count)
    texts = len(tokens.lengths)
    owner = np.repeat(np.arange(texts), count)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    starts = place * size[owner]
    lengths = np.minimum(starts + size[owner], inner[owner]) - starts
    firsts = tokens.starts[:-1].cpu().numpy()[owner] + 1 + starts
    sums = torch.zeros(texts, WIDTH, device=DEVICE)
    for rows in batches.by_length(lengths + 2, BATCH, TOKENS_IN_BATCH, np.random.default_rng(0)):
        states, mask = _states(tokens.ids, firsts[rows], lengths[rows], around, network)
        mean = (states * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
        weights = torch.from_numpy(lengths[rows]).to(DEVICE)[:, None]
        unit = torch.nn.functional.normalize(mean.float(), dim=1) * weights
        sums.index_add_(0, torch.from_numpy(owner[rows]).to(DEVICE), unit)
    return torch.nn.functional.normalize(sums, dim=1).half().cpu().numpy()


def _states(
    ids: Tensor, firsts: NDArray[np.int64], lengths: NDArray[np.int64], around: tuple[int, int],
    network: torch.nn.Module,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """States (B, S, 384) of windows of `ids` and what of them is text, (B, S)."""
    cls, sep = around
    wide = torch.arange(int(lengths.max()) + 2, device=DEVICE)[None]
    first, length = (torch.from_numpy(a).to(DEVICE)[:, None] for a in (firsts, lengths))
    window = ids[(first + wide - 1).clamp(0, len(ids) - 1)].long()
    window = torch.where(wide == 0, cls, torch.where(wide == length + 1, sep, window))
    mask = (wide <= length + 1).long()
    return network(input_ids=window * mask, attention_mask=mask).last_hidden_state, mask
