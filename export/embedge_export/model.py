"""An opened model: what every later stage of an export takes from.

Joins a source's config, weights and adapters, checks that they belong together, and computes the
reference vectors that its graphs are gated against.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.errors import SourceError
from embedge.texts.tokens import TextTokenizer
from embedge_export.corpus.texts import CALIBRATION_TEXTS, LONG_TEXTS, SHORT_TEXTS
from embedge_export.families.family import Family, ImageTower, TextConfig
from embedge_export.numbers.calibration import CalibrationRows
from embedge_export.numbers.exact import product
from embedge_export.source.record import Source
from embedge_export.source.tokenizer.ids import check_ids
from embedge_export.tensors.checkpoint import open_weights
from embedge_export.tensors.lora import Delta, MergedWeights
from embedge_export.tensors.weights import Weights


@dataclass(frozen=True, slots=True)
class Model:
    """A source with its config read, its weights open and its adapters checked."""

    source: Source
    family: Family[Any]
    config: TextConfig
    base: Weights
    adapters: Mapping[str, Delta]
    image: ImageTower | None = None
    notes: tuple[str, ...] = ()  # what the user should know of how it was taken

    def weights(self, task: str) -> MergedWeights:
        """The weights of a task, merged as they are read."""
        return MergedWeights(self.base, self.adapters.get(task))

    def adapted(self, key: str) -> bool:
        """Whether any task changes this weight, so that tasks cannot share it."""
        return any(key in adapter.adapted for adapter in self.adapters.values())


@dataclass(frozen=True, slots=True)
class Gate:
    """What graphs are compared with.

    Attributes:
        ids: token ids of the built-in texts, with the default prompt.
        vectors: for each task, float32 (texts, dimension), not normalized.
        pixels: the built-in images, float32 (images, 3, size, size), if there is an image tower.
        image_vectors: float32 (images, dimension), not normalized.
    """

    ids: Sequence[NDArray[np.int32]]
    vectors: Mapping[str, NDArray[np.float32]]
    pixels: NDArray[np.float32] | None = None
    image_vectors: NDArray[np.float32] | None = None


def open_model(source: Source) -> Model:
    """Opens what a source points to.

    Raises:
        SourceError: the network, a tensor or an adapter cannot be exported.
    """
    family = source.family
    stored = open_weights(source.weights_folder, family.dtypes)
    opened = family.open(
        source.model_folder, source.config, stored, adapters=source.adapters, tasks=source.tasks
    )
    config = opened.config
    image = family.open_image_tower(source.model_folder, source.config, stored)
    if image is not None and image.width != config.hidden_size:
        raise SourceError(
            f"{source.folder}: its towers give vectors of {config.hidden_size} and "
            f"{image.width} dimensions, which cannot be compared"
        )
    if image is not None and source.head.computed:
        raise SourceError(
            f"{source.folder}: modules behind the pooling of a model that reads images too are "
            "not supported: its images would have to pass through them as well"
        )
    if source.head.hidden_size != config.hidden_size:
        raise SourceError(
            f"{source.folder}: its config.json says that rows are {source.head.hidden_size} wide, "
            f"and the network's are {config.hidden_size}; download the model again"
        )
    notes = (*source.notes, *check_ids(source, config.vocab_size))
    return Model(source, family, config, opened.weights, opened.adapters, image, notes)


def reference(
    model: Model,
    tasks: Sequence[str] | None = None,
    *,
    advance: Callable[[str, str], None] = lambda task, label: None,
) -> Gate:
    """Reference vectors of the built-in texts; `advance(task, label)` before each step.

    `tasks` are those to compute; all of the source's by default.
    """
    source = model.source
    ids = _ids(source, (*SHORT_TEXTS, *LONG_TEXTS))
    vectors = {}
    for task in source.tasks if tasks is None else tasks:

        def step(label: str, task: str = task) -> None:
            advance(task, label)

        vectors[task] = text_vectors(model, model.weights(task), ids, advance=step)
        _check_finite(vectors[task], f"{source.folder}: the vectors of task {task!r}")
    if model.image is None:
        return Gate(ids, vectors)
    pixels = model.image.pixels()
    with np.errstate(all="ignore"):
        image_vectors = model.image.reference(pixels, advance=lambda label: advance("image", label))
    _check_finite(image_vectors, f"{source.folder}: the vectors of images")
    return Gate(ids, vectors, pixels, image_vectors)


def calibration(
    model: Model, task: str, *, advance: Callable[[str], None] = lambda label: None
) -> CalibrationRows:
    """What each linear of a task reads on texts that are not among those of the gate.

    Returns:
        float32 (tokens, in) by the key of a weight, for those that `Family.calibrated` names.
    """
    samples: CalibrationRows = {}
    names = model.family.calibrated()

    def observe(key: str, rows: NDArray[np.float32]) -> None:
        if key.removesuffix(".weight").endswith(names):
            samples[key] = rows

    ids = _ids(model.source, CALIBRATION_TEXTS)
    weights = model.weights(task)
    text_vectors(model, weights, ids, advance=advance, observe=observe, product=product)
    return samples


def text_vectors(
    model: Model, weights: Weights, ids: Sequence[NDArray[np.int32]], **calls: Any
) -> NDArray[np.float32]:
    """The truth's vectors, float32 (texts, dimension), not normalized.

    `calls` are its `advance`, `observe`, `product` and `disturb`.
    """
    with np.errstate(all="ignore"):  # NaN and infinity are looked for in the end
        return model.family.vectors(model.config, weights, ids, head=model.source.head, **calls)


def _check_finite(vectors: NDArray[np.float32], what: str) -> None:
    if not np.isfinite(vectors).all():
        raise SourceError(
            f"{what} are NaN or infinite for the exporter's own samples: the weights are finite, "
            "and too large to compute with. Get the model again"
        )


def _ids(source: Source, texts: Sequence[str]) -> list[NDArray[np.int32]]:
    """Token ids with the default prompt."""
    prompt = source.prompts.get(source.default_prompt or "", "")
    with tempfile.TemporaryDirectory() as folder:  # as the runtime will open it
        path = Path(folder) / source.tokenizer.name
        path.write_bytes(source.tokenizer_bytes())
        tokenizer = TextTokenizer(path)
    return tokenizer.encode(list(texts), prompt=prompt, max_length=source.max_length).ids
