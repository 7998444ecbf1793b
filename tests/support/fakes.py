"""What the command-line tests share: a fake embedder whose vectors a reader can check."""

import dataclasses
import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedge.choice import Choice
from embedge.errors import ClosedError, NonFiniteError, OptionError, TextTooLongError
from embedge.pack.manifest import Expected, FileEntry, Graph, Manifest, MemoryCost, TextInput
from embedge.pack.reading import dump_manifest
from embedge.pack.verification import Report
from embedge.vectors import normalize, quantize

WIDTH = 4
MANIFEST = Manifest(
    model_id="fake/words",
    family="fake",
    revision=None,
    license="cc-by-nc-4.0",
    tasks=("retrieval", "text-matching"),
    default_task="text-matching",
    prompts={"query": "Query: ", "document": "Document: "},
    default_prompt="document",
    dimension=WIDTH,
    matryoshka_dimensions=(2, 4),
    pooling="last_token",
    text=TextInput(tokenizer="tokenizer.json", max_length=9, pad_token_id=0, padding="right"),
    memory=MemoryCost(per_token=1, per_token_squared=0.0),
    samples=None,
    graphs=tuple(
        Graph(
            task=task,
            precision=precision,
            tower="text",
            file=f"{task}.{precision}.onnx",
            data=(f"shared.{precision}.data",),
            inputs=("input_ids", "attention_mask"),
            outputs=("sentence_embedding",),
        )
        for task in ("retrieval", "text-matching")
        for precision in ("fp32", "int8")
    ),
    files={
        name: FileEntry(size=size, sha256="0" * 64)
        for name, size in {
            "tokenizer.json": 10,
            "shared.fp32.data": 4096,
            "shared.int8.data": 1024,
            "retrieval.fp32.onnx": 100,
            "retrieval.int8.onnx": 100,
            "text-matching.fp32.onnx": 100,
            "text-matching.int8.onnx": 100,
        }.items()
    },
    verification={"fp32": Report(passed=True), "int8": Report(passed=False)},
    written_by={"embedge": "0.1.0"},
)


def write_pack(folder: Path, manifest: Manifest = MANIFEST) -> Path:
    """A folder with a manifest and nothing else: what `info` needs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(dump_manifest(manifest), encoding="utf-8")
    return folder


def vector(text: str) -> list[float]:
    """The lengths of the first words, before normalizing: "ab c" -> [2, 1, 0, 0]."""
    lengths = [len(word) for word in text.split()[:WIDTH]]
    return [float(length) for length in lengths] + [0.0] * (WIDTH - len(lengths))


class FakeEmbedder:
    """An `Embedder` that counts letters. A text of more than 9 words is too long."""

    manifest = MANIFEST
    tasks = MANIFEST.tasks
    dimension = WIDTH
    precision = "int8"
    device = "cpu"
    threads = 3
    max_length = 9

    def __init__(self, folder: Path = Path("fake")) -> None:
        self.folder = folder
        self.calls: list[dict[str, Any]] = []
        self.truncations = 0
        self.closed = False
        self.choices = {"precision": Choice("int8", "told so"), "threads": Choice(3, "counted")}

    def __enter__(self) -> "FakeEmbedder":
        self.closed, self.truncations = False, 0
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def load(self, task: str | None = None) -> None:
        pass

    def count_tokens(
        self, texts: Sequence[str], *, task: str | None = None
    ) -> "np.ndarray[Any, Any]":
        return np.array([len(text.split()) + 1 for text in texts])

    def encode(
        self,
        texts: str | Sequence[str],
        *,
        task: str | None = None,
        truncate_dim: int | None = None,
        embedding_type: Any = "float32",
        ranges: Any = None,
        on_overflow: str = "truncate",
        on_error: Callable[[int, str], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancel: threading.Event | None = None,
        **options: Any,
    ) -> "np.ndarray[Any, Any]":
        if self.closed:
            raise ClosedError("closed")
        if task is not None and task not in self.tasks:
            raise OptionError(f"task {task!r} is not in this pack")
        items = [texts] if isinstance(texts, str) else list(texts)
        self.calls.append({"texts": items, "task": task, **options})
        long = [i for i, item in enumerate(items) if len(item.split()) > 9]
        refused = long if on_overflow == "error" else []
        if refused and on_error is None:
            raise TextTooLongError(f"item {long[0]} is longer than 9 tokens; shorten it")
        for index in refused:
            assert on_error is not None
            on_error(index, "is longer than 9 tokens; shorten it")
        self.truncations += len(long) - len(refused)
        if "nan" in items:
            raise NonFiniteError("item 0: NaN")
        rows = np.array([vector(item) for item in items], np.float32).reshape(-1, WIDTH)
        rows = normalize(rows[:, :truncate_dim])
        if progress is not None:
            progress(len(items), len(items))
        result = quantize(rows, embedding_type, ranges=ranges)
        return result[0] if isinstance(texts, str) else result

    encode_query = encode
    encode_document = encode


def samples_for(fake: FakeEmbedder, tmp_path: Path, wrong: float = 0.0) -> None:
    """Gives the fake a pack folder with samples; `wrong` tilts one of them."""
    texts = ("a bb", "ccc d e")
    rows = np.stack([fake.encode(list(texts), task=task) for task in MANIFEST.tasks])
    rows[1, 1] += np.float32(wrong)
    np.save(tmp_path / "samples.npy", rows)
    fake.manifest = dataclasses.replace(
        MANIFEST, samples=Expected(file="samples.npy", texts=texts), files=MANIFEST.files
    )
    list_samples(fake, tmp_path)
    fake.folder = tmp_path


def list_samples(fake: FakeEmbedder, tmp_path: Path) -> None:
    """Makes the fake's manifest agree with the file."""
    data = (tmp_path / "samples.npy").read_bytes()
    entry = FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    files = {**fake.manifest.files, "samples.npy": entry}
    fake.manifest = dataclasses.replace(fake.manifest, files=files)
