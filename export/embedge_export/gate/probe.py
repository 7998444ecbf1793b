"""What moves the vectors of the gate's texts, asked of the truth.

For a graph that loses too much: which layers a text hangs on, and whether it is a tie, that is a
text whose vector moves far at the least rounding, so that no precision can be blamed for all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedge_export.model import Gate, Model, text_vectors
from embedge_export.numbers.exact import product
from embedge_export.numbers.sensitivity import TABLE, Disturbance, moved_by_bfloat16, sensitivities
from embedge_export.truth import Product, float_product

Array = NDArray[np.float32]
Ids = NDArray[np.int32]
# SmolLM2-135M: "the the " moves by 8 times int8's room, the next text by 0.02 of it.
_TIE = 0.1
_NEAR = 0.5  # of the bar for a tie: below it in float32, a text is none in exact arithmetic either
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
        return sensitivities(partial(self._run, product), self.gate.ids[text], layers)

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
        texts = [self.gate.ids[text] for text in places]
        # In float32 first, whose last bits hang on the CPU and are 10^-4 of bfloat16's: what is
        # clearly no tie there is none. What may be one is measured with the same bits everywhere.
        clean = vectors[places]
        rough = moved_by_bfloat16(partial(self._run, float_product), texts, clean=clean)
        near = [place for place, moved in enumerate(rough) if not moved <= _NEAR * _TIE * room]
        if not near:
            return {}
        moved = moved_by_bfloat16(partial(self._run, product), texts, among=near)
        return {
            places[place]: 1 - m for place, m in zip(near, moved, strict=True) if m > _TIE * room
        }

    def _run(self, multiply: Product, texts: Sequence[Ids], disturb: Disturbance) -> Array:
        weights = self.model.weights(self.task)
        return text_vectors(self.model, weights, texts, product=multiply, disturb=disturb)
