"""An EVA02 tower, opened: its network, how it wants its pixels, and what gates it.

It is gated on the runtime's sample images, and its integers are fitted to others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedge.images.gate_images import gate_images
from embedge.images.pixels import from_square
from embedge.pack.manifest import ImageInput
from embedge_export.corpus.images import calibration_images
from embedge_export.families.eva02.config import EvaConfig
from embedge_export.families.family import Targets
from embedge_export.numbers.calibration import CalibrationRows
from embedge_export.numbers.exact import product
from embedge_export.tensors.weights import Weights

if TYPE_CHECKING:
    import onnx_ir as ir

_EVERY = 5  # the first of so many tokens is a calibration row; their neighbors are much like them
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EvaTower:
    """The network, its weights, and how it wants its pixels; an `ImageTower` of family.py."""

    config: EvaConfig
    weights: Weights
    input: ImageInput

    @property
    def width(self) -> int:
        """See ImageTower."""
        return self.config.width

    @property
    def steps(self) -> int:
        """See ImageTower."""
        return self.config.layers + 1

    def pixels(self) -> Array:
        """See ImageTower."""
        return from_square(gate_images(self.input.size), self.input)

    def calibration(self, *, advance: Callable[[str], None]) -> CalibrationRows:
        """What each linear of `CALIBRATED` reads of images that are not the gate's.

        Returns:
            float32 (tokens, in) by the key of a weight: of every image the class token's row, which
            all attention ends in, and those of patches all over it.
        """
        from embedge_export.families.eva02.blocks import CALIBRATED
        from embedge_export.families.eva02.truth import eva_vectors

        samples: CalibrationRows = {}

        def observe(key: str, rows: Array) -> None:
            if key.removesuffix(".weight").endswith(CALIBRATED):
                samples[key] = rows[:, ::_EVERY].reshape(-1, rows.shape[-1])

        pixels = from_square(calibration_images(self.input.size), self.input)
        eva_vectors(
            self.config, self.weights, pixels, advance=advance, observe=observe, product=product
        )
        return samples

    def reference(self, pixels: Array, *, advance: Callable[[str], None]) -> Array:
        """See ImageTower."""
        from embedge_export.families.eva02.truth import eva_vectors

        return eva_vectors(self.config, self.weights, pixels, advance=advance)

    def write(
        self,
        targets: Targets,
        *,
        samples: CalibrationRows | None,
        advance: Callable[[str], None],
    ) -> "list[ir.Value]":
        """See ImageTower."""
        from embedge_export.families.eva02.writer import write

        return write(self.config, self.weights, targets, samples=samples, advance=advance)


def memory_per_image(tower: EvaConfig) -> int:
    """Bytes of a CPU run, from what runs of 1 to 4 images of 512 pixels were measured to take.

    The MLP's buffers are the widest moment: 37 (fp32) to 40 MB (int8) where it is 1,365 and the
    tower 512 wide, with ONNX Runtime 1.32. The factor is the next whole one above.
    """
    return 5 * 4 * (tower.inner + tower.width) * tower.tokens
