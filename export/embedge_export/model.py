"""An opened model: what every later stage of an export takes from.

Joins a source's config, weights and adapters, checks that they belong together, and computes the
reference vectors that its graphs are gated against.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge.errors import SourceError
from embedge.tokens import TextTokenizer
from embedge_export.architectures import (
    SAMPLED,
    NetworkConfig,
    SampleRows,
    batch_kind,
    network_config,
)
from embedge_export.lora import Adapter, MergedWeights, load_adapter
from embedge_export.reference import network_vectors
from embedge_export.sources import Source
from embedge_export.texts import CALIBRATION_TEXTS, LONG_TEXTS, SHORT_TEXTS
from embedge_export.weights import Weights, open_weights


@dataclass(frozen=True, slots=True)
class Model:
    """A source with its config read, its weights open and its adapters checked."""

    source: Source
    config: NetworkConfig
    base: Weights
    adapters: Mapping[str, Adapter]

    def weights(self, task: str) -> MergedWeights:
        """The weights of a task, merged as they are read."""
        return MergedWeights(self.base, self.adapters.get(task))

    def touched(self, key: str) -> bool:
        """Whether any task changes this weight, so that tasks cannot share it."""
        return any(key in adapter.touched for adapter in self.adapters.values())


@dataclass(frozen=True, slots=True)
class Gate:
    """What graphs are compared with.

    Attributes:
        ids: token ids of the built-in texts, with the default prompt.
        vectors: for each task, float32 (texts, dimension), not normalised.
    """

    ids: Sequence[NDArray[np.int32]]
    vectors: Mapping[str, NDArray[np.float32]]


def open_model(source: Source) -> Model:
    """Opens what a source points to.

    Raises:
        SourceError: the network, its pooling, a tensor or an adapter cannot be exported.
    """
    base = open_weights(source.folder)
    config = network_config(source.config, base)
    poolings = batch_kind(config).poolings
    if source.pooling not in poolings:
        raise SourceError(
            f"the source pools by {source.pooling!r}; a graph of a {config.family} network pools "
            f"by {' or '.join(map(repr, poolings))}, and another pooling would give other vectors"
        )
    adapters = {task: load_adapter(path, base) for task, path in source.adapters.items()}
    return Model(source, config, base, adapters)


def reference(
    model: Model, *, advance: Callable[[str, str], None] = lambda task, label: None
) -> Gate:
    """Reference vectors of the built-in texts; `advance(task, label)` before each step."""
    source = model.source
    ids = _ids(source, (*SHORT_TEXTS, *LONG_TEXTS))
    vectors = {}
    for task in source.tasks:

        def step(label: str, task: str = task) -> None:
            advance(task, label)

        vectors[task] = network_vectors(
            model.config, model.weights(task), ids, pooling=source.pooling, advance=step
        )
    return Gate(ids, vectors)


def calibration(
    model: Model, task: str, *, advance: Callable[[str], None] = lambda label: None
) -> SampleRows:
    """What each linear of a task reads on texts that are not among those of the gate.

    Returns:
        float32 (tokens, in) by the key of a weight, for those named in `SAMPLED`.
    """
    samples: SampleRows = {}

    def observe(key: str, rows: NDArray[np.float32]) -> None:
        if key.removesuffix(".weight").endswith(SAMPLED):
            samples[key] = rows

    network_vectors(
        model.config,
        model.weights(task),
        _ids(model.source, CALIBRATION_TEXTS),
        pooling=model.source.pooling,
        advance=advance,
        observe=observe,
    )
    return samples


def _ids(source: Source, texts: Sequence[str]) -> list[NDArray[np.int32]]:
    """Token ids with the default prompt."""
    prompt = source.prompts.get(source.default_prompt or "", "")
    tokenizer = TextTokenizer(source.tokenizer)
    return tokenizer.encode(list(texts), prompt=prompt, max_length=source.max_length).ids
