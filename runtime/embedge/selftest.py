"""Checks of a pack's vectors that `verify` and `doctor` share.

Takes an open embedder and its manifest, gives numbers; deciding and telling is the commands'
part. The samples are vectors of the NumPy reference that the export put into the pack.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedge.errors import PackFileError
from embedge.files.npy import NpyError, read_npy
from embedge.images.gate_images import sample_images
from embedge.pack.files import Pack, check_files
from embedge.pack.manifest import Manifest
from embedge.pack.verification import Bars as GateBars
from embedge.vectors import normalise

if TYPE_CHECKING:
    from embedge.embedder import Embedder

# For packs whose report does not tell its bars.
LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.98, "int4": 0.9}
LARGEST_SHIFT = 1e-5  # of a component of a vector of length 1


@dataclass(frozen=True, slots=True)
class Bars:
    """What a sound pack keeps on any machine."""

    cosine: float  # the least, of any text to the reference
    shift: float  # the most that a component moves between alone and in a batch


def bars(manifest: Manifest, precision: str) -> Bars:
    """The export's own bars, with room: another processor adds in another order."""
    report = manifest.verification.get(precision)
    gate = (report and report.bars) or GateBars()
    cosine, shift = gate.cosine_min, gate.batch_difference
    return Bars(
        cosine=LEAST_COSINE[precision] if cosine is None else 1 - 2 * (1 - cosine),
        shift=LARGEST_SHIFT if shift is None else max(LARGEST_SHIFT, 2 * shift),
    )


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


def _load(
    folder: Path, manifest: Manifest, name: str, expected: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    check_files(Pack(folder, manifest), (name,))
    path = folder / name
    try:
        vectors = read_npy(path, expected)
    except NpyError as error:
        raise PackFileError(f"{path} {error}; export the pack again") from None
    if vectors.dtype != np.float32:
        raise PackFileError(f"{path} holds {vectors.dtype}, not float32; export the pack again")
    return vectors


def sample_cosines(
    embedder: "Embedder", manifest: Manifest, samples: np.ndarray[Any, Any]
) -> dict[str, float]:
    """The least cosine of each task to the reference."""
    assert manifest.samples is not None  # else there were no samples to load
    texts = list(manifest.samples.texts)
    # Spelt out: a task that is named may bring a prompt of its own.
    prompt = manifest.prompts[manifest.default_prompt] if manifest.default_prompt else ""
    worst = {}
    for index, task in enumerate(manifest.tasks):
        vectors = embedder.encode(texts, task=task, prompt=prompt)  # (n, D), rows of length 1
        cosines = (vectors.astype(np.float64) * normalise(samples[index])).sum(axis=1)
        worst[task] = float(cosines.min())
    return worst


def image_cosine(embedder: "Embedder", manifest: Manifest, folder: Path) -> float | None:
    """The least cosine of the sample images to the reference; None if the pack has none.

    Raises:
        MissingExtraError: Pillow is not installed.
        PackFileError: the file does not hold what the manifest says.
    """
    if manifest.samples is None or manifest.samples.images is None or manifest.image is None:
        return None
    images = sample_images(manifest.image.size)
    shape = (len(images), manifest.dimension)
    expected = _load(folder, manifest, manifest.samples.images, shape)
    vectors = embedder.encode_image(images)  # (n, D), rows of length 1
    return float((vectors.astype(np.float64) * normalise(expected)).sum(axis=1).min())


def batch_shift(embedder: "Embedder", texts: list[str], task: str) -> float:
    """The most that a component of any text's vector moves between alone and in a batch."""
    together = embedder.encode(texts, task=task)  # (n, D)
    alone = np.stack([embedder.encode(text, task=task) for text in texts])  # (n, D)
    return float(np.abs(together - alone).max())
