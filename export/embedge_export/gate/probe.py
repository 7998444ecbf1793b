"""What moves the vectors of the gate's texts, asked of the truth.

For a graph that loses too much: which layers a text hangs on, and whether it is a tie, that is a
text whose vector moves far at the least rounding, so that no precision can be blamed for all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedge_export.model import Gate, Model, text_vectors
from embedge_export.numbers.exact import product
from embedge_export.numbers.sensitivity import TABLE, Disturbance, moved_by_bfloat16, sensitivities

Array = NDArray[np.float32]
Ids = NDArray[np.int32]
# SmolLM2-135M: "the the " moves by 8 times int8's room, the next text by 0.02 of it.
_TIE = 0.1
_LONGEST = 64  # tokens; the noise of many tokens evens out


@dataclass(frozen=True, slots=True)
class Probe:
    """A task's truth and its vectors of the gate's texts."""

    model: Model
    task: str
    gate: Gate

    def moved(self, text: int) -> dict[str, float]:
        """By layer, and for the table: how far noise of int8's size moves a text's vector."""
        count = self.model.config.num_hidden_layers
        layers = (TABLE, *(f"layers.{index}" for index in range(count)))
        return sensitivities(self._run, self.gate.ids[text], layers)

    def ties(self, room: float) -> dict[int, float]:
        """The gate's short texts that bfloat16 moves by a tenth of `room` or more.

        Returns:
            For each its place, and the cosine that noise of bfloat16's size leaves it.
        """
        vectors = self.gate.vectors[self.task]
        places = [
            text
            for text, ids in enumerate(self.gate.ids)
            if len(ids) <= _LONGEST and vectors[text].any()  # one of zeros cannot turn
        ]
        moved = moved_by_bfloat16(self._run, [self.gate.ids[text] for text in places])
        return {text: 1 - m for text, m in zip(places, moved, strict=True) if m > _TIE * room}

    def _run(self, texts: Sequence[Ids], disturb: Disturbance) -> Array:
        weights = self.model.weights(self.task)
        return text_vectors(self.model, weights, texts, product=product, disturb=disturb)
