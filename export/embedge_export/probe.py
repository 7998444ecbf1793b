"""What moves the vectors of the gate's texts, asked of the truth.

For a graph that loses too much: which layers a text hangs on, and whether it is a tie, that is a
text whose vector moves far at the least rounding, so that no precision can be blamed for all of it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from embedge.vectors import normalise
from embedge_export.exact import product
from embedge_export.model import Gate, Model, text_vectors
from embedge_export.sensitivity import TABLE, Disturbance, sensitivities
from embedge_export.weights import Weights

Array = NDArray[np.float32]
Ids = NDArray[np.int32]
_TIE = 0.1  # of SmolLM2's texts "the the " moves by 0.6 of int8's room, the next one by 0.01


@dataclass(frozen=True, slots=True)
class Probe:
    """A task's truth and its vectors of the gate's texts."""

    model: Model
    task: str
    gate: Gate

    def moved(self, text: int) -> dict[str, float]:
        """By layer, and for the table: how far noise of int8's size moves a text's vector."""
        weights = self.model.weights(self.task)

        def run(texts: Sequence[Ids], disturb: Disturbance) -> Array:
            return text_vectors(self.model, weights, texts, product=product, disturb=disturb)

        count = self.model.config.num_hidden_layers
        layers = (TABLE, *(f"layers.{index}" for index in range(count)))
        return sensitivities(run, self.gate.ids[text], layers)

    def ties(self, room: float) -> dict[int, float]:
        """The gate's texts that weights rounded to bfloat16 move by a tenth of `room` or more.

        Returns:
            For each its place, and its cosine to the vector of the exact weights.
        """
        rounded = Bfloat16Weights(self.model.weights(self.task))
        got = text_vectors(self.model, rounded, self.gate.ids)
        want = self.gate.vectors[self.task]
        cosines = (normalise(got).astype(np.float64) * normalise(want)).sum(axis=1)
        return {text: float(c) for text, c in enumerate(cosines) if 1 - c > _TIE * room}


@dataclass(frozen=True, slots=True)
class Bfloat16Weights:
    """Weights rounded to bfloat16, as most checkpoints of this kind are served. A `Weights`."""

    exact: Weights

    def keys(self) -> Collection[str]:
        """See Weights."""
        return self.exact.keys()

    def __contains__(self, key: object) -> bool:
        return key in self.exact

    def shape(self, key: str) -> tuple[int, ...]:
        """See Weights."""
        return self.exact.shape(key)

    def read(self, key: str) -> Array:
        """See Weights."""
        return np.asarray(self.exact.read(key).astype(ml_dtypes.bfloat16), np.float32)
