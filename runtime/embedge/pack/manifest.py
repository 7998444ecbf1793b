"""The pack's contract: what manifest.json says of a model, as frozen records.

A pack is one folder. Its manifest names the model, its tasks and prompts, and every other file
with size and sha256. `reading.py` reads and writes the file; this module opens nothing.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from embedge.pack.verification import Report

MANIFEST = "manifest.json"
PRECISIONS = ("fp32", "fp16", "int8", "int4")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of the pack."""

    size: int  # bytes
    sha256: str  # 64 lower-case hexadecimal digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """One ONNX graph: a task at a precision."""

    task: str
    precision: str  # one of PRECISIONS
    tower: str  # "text" or "image"
    file: str
    data: tuple[str, ...]  # external data files that the graph refers to
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextInput:
    """How texts become token ids for this model."""

    tokenizer: str  # file name, `tokenizers` JSON format
    max_length: int  # tokens, special tokens and prompt included
    pad_token_id: int
    padding: str  # "right", or "either" where the graphs take left padding too
    # Rows of the network's embedding table: token ids are below it. None: an older pack, not known.
    vocabulary_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """How images become pixels for this model: resized, cropped to a square, normalized."""

    size: int  # pixels, width and height of the square
    resize: str  # "shortest": the shorter edge becomes `size`, then the middle is cut out
    interpolation: str  # "bicubic", Pillow's
    mean: tuple[float, ...]  # of red, green and blue, from 0 to 1
    std: tuple[float, ...]
    fill: int  # 0 to 255, where a crop reaches past the image; with "shortest" it never does
    per_image: int  # transient bytes of a CPU run, for each image in it, weights not included
    logit_scale: float | None = None  # exp taken: cosines times it are zero-shot logits


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCost:
    """Estimate of the transient memory of one CPU run: B texts padded to S tokens, in bytes.

    `per_token * B * S + per_token_squared * B * S * S`, weights not included. The squared term is
    the full square of attention scores, which ONNX Runtime before 1.28 holds for every head in its
    operator GroupQueryAttention; from 1.28 on the runtime counts it as 0. An operator that holds
    the square in every version cannot be described by it.
    """

    per_token: int
    per_token_squared: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Vectors of the NumPy reference, so that any machine can check what it computes.

    The file is a .npy array, float32 (tasks, texts, dimension), rows of length 1, tasks in the
    manifest's order, each text with the default prompt. That of the images, where there is an
    image tower, is float32 (images, dimension): `embedge.images.gate_images` makes them again.
    """

    file: str
    texts: tuple[str, ...]
    images: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a pack is. Field for field the JSON file, in its order."""

    model_id: str
    family: str  # the network's name, e.g. "qwen3"
    revision: str | None  # commit of the source, where it came from a hub
    license: str | None  # SPDX-like identifier from the model card
    # ISO 639 codes such as "en", or "multilingual"; empty where it is not known.
    languages: tuple[str, ...] = ()
    tasks: tuple[str, ...]
    default_task: str
    prompts: Mapping[str, str]  # name -> text put before the input
    default_prompt: str | None
    dimension: int
    matryoshka_dimensions: tuple[int, ...]
    pooling: str
    text: TextInput | None
    image: ImageInput | None = None  # None: the pack has no image tower
    memory: MemoryCost
    samples: Expected | None
    graphs: tuple[Graph, ...]
    files: Mapping[str, FileEntry]
    source: Mapping[str, Any] = field(default_factory=dict)  # provenance: file hashes, recipe
    verification: Mapping[str, Report] = field(default_factory=dict)  # of each precision
    written_by: Mapping[str, str] = field(default_factory=dict)  # package -> version

    def precisions(self) -> tuple[str, ...]:
        """The precisions at hand for every task and tower, in the order of PRECISIONS."""
        held = {(graph.task, graph.precision, graph.tower) for graph in self.graphs}
        towers = {graph.tower for graph in self.graphs}
        wanted = [(task, tower) for task in self.tasks for tower in towers]
        return tuple(
            p for p in PRECISIONS if all((task, p, tower) in held for task, tower in wanted)
        )

    def graph(self, *, task: str, precision: str, tower: str = "text") -> Graph:
        """The graph of a task at a precision; `KeyError` if the pack has none."""
        for graph in self.graphs:
            if (graph.task, graph.precision, graph.tower) == (task, precision, tower):
                return graph
        raise KeyError((task, precision, tower))

    def size_of(self, precision: str) -> int:
        """Bytes of the graphs of a precision and of their data, shared files counted once."""
        graphs = [graph for graph in self.graphs if graph.precision == precision]
        return self._bytes_of({name for graph in graphs for name in (graph.file, *graph.data)})

    def graph_size(self, graph: Graph) -> int:
        """Bytes of one graph and its data: mostly weights."""
        return self._bytes_of((graph.file, *graph.data))

    def _bytes_of(self, names: Iterable[str]) -> int:
        return sum(self.files[name].size for name in names)

    def passed_gate(self, precision: str) -> bool:
        """Whether the export's report says that this precision met its bar."""
        report = self.verification.get(precision)
        return report is not None and report.passed

    def fingerprint(self, precision: str) -> str:
        """16 hexadecimal digits that change when the pack's vectors do; keep them with an index.

        They say nothing of the machine: another version of ONNX Runtime, or another kind of CPU,
        rounds otherwise (cosine of at least 0.9998 between versions 1.23 and 1.32).
        """
        names = {
            name for g in self.graphs if g.precision == precision for name in (g.file, *g.data)
        }
        if self.text is not None:
            names.add(self.text.tokenizer)
        parts = [f"{name}:{self.files[name].sha256}" for name in sorted(names)]
        if self.image is not None:
            preprocessing = replace(self.image, per_image=0, logit_scale=None)
            parts.append(json.dumps(dataclasses.asdict(preprocessing)))
        parts += [f"{name}={prompt}" for name, prompt in sorted(self.prompts.items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
