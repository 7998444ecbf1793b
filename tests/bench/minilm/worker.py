"""One contender of `make bench-minilm`, in its own process: from texts to vectors.

Speaks as bench.race.worker does. Its work is token ids, the same for all contenders; here each
stands for a word of the vocabulary, so that a text has just that many tokens and two special ones.
Every contender gets the words, and tokenizes by itself.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bench.race.work import Ids
from bench.race.worker import Opener, Run, Vectors, main

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before ONNX Runtime is imported: no usage reports

Encode = Callable[[list[str], int], Vectors]  # texts, and how many of them at most in one batch


def beside(model: str | Path, what: str) -> Path:
    """Where something made of a model's folder stands."""
    path = Path(model)
    return path.with_name(f"{path.name}.{what}")


def words_of(vocabulary: Sequence[str]) -> list[str]:
    """Whole words of a WordPiece vocabulary: letters alone, no piece of a word."""
    return [word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 2]


def on_words(path: str, encode: Encode) -> Run:
    """A run over token ids, as texts of the words that they stand for."""
    words = words_of((Path(path) / "vocab.txt").read_text(encoding="utf-8").split("\n"))

    def run(texts: list[Ids], most: int) -> Vectors:
        return encode([" ".join(words[i % len(words)] for i in text) for text in texts], most)

    return run


def open_embedge(path: str, threads: int, *, precision: str) -> Run:
    """The pack beside the model, batched by its own plan."""
    from embedge import Embedder

    embedder = Embedder(beside(path, "pack"), precision=precision, threads=threads)
    return on_words(path, lambda texts, most: embedder.encode(texts))


def open_torch(path: str, threads: int) -> Run:
    """Sentence Transformers as it comes."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(path, device="cpu")
    return on_words(path, partial(_encode, model))


def open_onnx(path: str, threads: int, *, file: str) -> Run:
    """Its ONNX backend, on the graphs of convert.py beside the model."""
    import onnxruntime
    from sentence_transformers import SentenceTransformer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    graphs = beside(path, "onnx")
    names = [found.name for found in (graphs / "onnx").glob(file)]
    settings = {"file_name": f"onnx/{names[0]}", "session_options": options}
    settings["provider"] = "CPUExecutionProvider"
    model = SentenceTransformer(str(graphs), device="cpu", backend="onnx", model_kwargs=settings)
    return on_words(path, partial(_encode, model))


def open_fastembed(path: str, threads: int) -> Run:
    """fastembed, on the same graph."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    graphs = beside(path, "onnx")
    TextEmbedding.add_custom_model(
        model="local/minilm",
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="local/minilm"),
        dim=384,
        model_file="onnx/model.onnx",
    )
    model = TextEmbedding("local/minilm", specific_model_path=str(graphs), threads=threads)
    return on_words(path, lambda texts, most: np.stack(list(model.embed(texts, batch_size=most))))


def _encode(model, texts: list[str], most: int) -> Vectors:  # type: ignore[no-untyped-def]
    return np.asarray(model.encode(texts, batch_size=most, show_progress_bar=False), np.float32)


KINDS: Mapping[str, Opener] = {
    "embedge-int8": partial(open_embedge, precision="int8"),
    "embedge-fp32": partial(open_embedge, precision="fp32"),
    "torch": open_torch,
    "onnx": partial(open_onnx, file="model.onnx"),
    "onnx-int8": partial(open_onnx, file="model_qint8*.onnx"),
    "fastembed": open_fastembed,
}


if __name__ == "__main__":
    main(KINDS)
