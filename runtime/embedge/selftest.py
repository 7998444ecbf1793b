"""A pack's vectors against what they should be, on this machine: for commands, servers and hosts.

Takes an open embedder, gives a `Comparison` for each thing compared; nothing is printed. Bars are
the export's own with room, for another processor adds in another order. What is compared with are
vectors of the NumPy reference, which the export put into the pack.

>>> from embedge import Embedder
>>> from embedge.selftest import compare
>>> with Embedder("my-pack") as embedder:
...     all(comparison.passed for comparison in compare(embedder))
True
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedge.errors import MissingExtraError, PackFileError
from embedge.files.npy import NpyError, read_npy
from embedge.images.gate_images import gate_images
from embedge.pack.files import Pack, check_files
from embedge.pack.manifest import Manifest
from embedge.pack.verification import Bars
from embedge.reasons import one_line
from embedge.vectors import normalize, row_cosines

if TYPE_CHECKING:
    from embedge.embedder import Embedder

# Names of comparisons that are not of one task.
SAMPLES, IMAGES, BATCHES = "samples", "images", "batches"
# For packs whose report names no bars.
LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.98, "int4": 0.9}
LARGEST_SHIFT = 1e-5  # of a component of a vector of length 1
# For packs without texts of their own; of several lengths, so that a batch has padding.
_TEXTS = ("Mars", "Which planet is the Red Planet?", "Venus is a twin of the Earth.", "a ring")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that was compared, and its bar.

    Attributes:
        name: a task, IMAGES or BATCHES; SAMPLES stands for all tasks of a pack without samples.
        value: of a task or of images the least cosine to the reference, which may not be below the
            bar; of batches the most that a component of a text's vector moves between alone and in
            a batch, which may not be above it. None: not compared.
        bar: see `value`.
        passed: whether the bar is met; False for NaN, True where nothing was compared.
        skipped: why nothing was compared, in words; else empty.
    """

    name: str
    value: float | None
    bar: float
    passed: bool
    skipped: str = ""


def compare(embedder: "Embedder") -> Iterator[Comparison]:
    """Compares all that a pack can be checked for: its tasks, its images, texts in batches.

    Raises:
        PackFileError: a file of the pack does not hold what the manifest says.
        EmbedgeError: the pack cannot be run, as `Embedder.encode` says.
    """
    yield from compare_tasks(embedder)
    if embedder.manifest.image is not None:
        yield compare_images(embedder)
    yield compare_batches(embedder)


def compare_tasks(embedder: "Embedder") -> Iterator[Comparison]:
    """Compares the vectors of each task with the pack's samples.

    Raises:
        PackFileError: the file does not hold what the manifest says.
    """
    manifest = embedder.manifest
    bar = cosine_bar(manifest, embedder.precision)
    samples = load_samples(embedder.folder, manifest)
    if samples is None or manifest.samples is None:
        yield Comparison(SAMPLES, None, bar, True, "the pack holds no sample vectors")
        return
    texts = list(manifest.samples.texts)
    # Spelt out: a task that is named may bring a prompt of its own.
    prompt = manifest.prompts[manifest.default_prompt] if manifest.default_prompt else ""
    for task, expected in zip(manifest.tasks, samples, strict=True):
        cosine = _least_cosine(embedder.encode(texts, task=task, prompt=prompt), expected)
        yield Comparison(task, cosine, bar, cosine >= bar)


def compare_images(embedder: "Embedder") -> Comparison:
    """Compares the image tower, from pixels to vectors, on images that every machine can make.

    Raises:
        PackFileError: the file does not hold what the manifest says.
    """
    manifest = embedder.manifest
    bar = cosine_bar(manifest, embedder.precision)
    samples = manifest.samples
    if samples is None or samples.images is None or manifest.image is None:
        return Comparison(IMAGES, None, bar, True, "the pack holds no sample images' vectors")
    try:
        images = gate_images(manifest.image.size)
        expected = _load(
            embedder.folder, manifest, samples.images, (len(images), manifest.dimension)
        )
        cosine = _least_cosine(embedder.encode_image(images), expected)
    except MissingExtraError as error:
        return Comparison(IMAGES, None, bar, True, one_line(error))
    return Comparison(IMAGES, cosine, bar, cosine >= bar)


def compare_batches(embedder: "Embedder", texts: Sequence[str] | None = None) -> Comparison:
    """Compares each text's vector alone and in a batch; the pack's sample texts by default."""
    manifest = embedder.manifest
    if texts is None:
        texts = _TEXTS if manifest.samples is None else manifest.samples.texts
    bar = shift_bar(manifest, embedder.precision)
    together = embedder.encode(list(texts), task=manifest.default_task)  # (n, D)
    alone = np.stack([embedder.encode(text, task=manifest.default_task) for text in texts])
    shift = float(np.abs(together - alone).max())
    return Comparison(BATCHES, shift, bar, shift <= bar)


def cosine_bar(manifest: Manifest, precision: str) -> float:
    """The least cosine to the reference that any text of a sound pack has on any machine."""
    cosine = _bars(manifest, precision).cosine_min
    return LEAST_COSINE[precision] if cosine is None else 1 - 2 * (1 - cosine)


def shift_bar(manifest: Manifest, precision: str) -> float:
    """The most that a component moves between alone and in a batch, on any machine."""
    shift = _bars(manifest, precision).batch_difference
    return LARGEST_SHIFT if shift is None else max(LARGEST_SHIFT, 2 * shift)


def load_samples(folder: Path, manifest: Manifest) -> np.ndarray[Any, Any] | None:
    """The reference vectors (tasks, texts, D) float32; None if the pack has none.

    Raises:
        PackFileError: the file does not hold what the manifest says.
    """
    samples = manifest.samples
    if samples is None:
        return None
    shape = (len(manifest.tasks), len(samples.texts), manifest.dimension)
    return _load(folder, manifest, samples.file, shape)


def _bars(manifest: Manifest, precision: str) -> Bars:
    report = manifest.verification.get(precision)
    return (report and report.bars) or Bars()


def _least_cosine(vectors: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    """Of vectors (n, D) of length 1 to those expected (n, D)."""
    return float(row_cosines(vectors, normalize(expected)).min())


def _load(
    folder: Path, manifest: Manifest, name: str, shape: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    check_files(Pack(folder, manifest), (name,))
    path = folder / name
    try:
        vectors = read_npy(path, shape)
    except NpyError as error:
        raise PackFileError(f"{path} {error}; export the pack again") from None
    if vectors.dtype != np.float32:
        raise PackFileError(f"{path} holds {vectors.dtype}, not float32; export the pack again")
    return vectors
