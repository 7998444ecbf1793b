"""Images that integers of an image tower are fitted to: none of those that it is gated on.

As the gate's (embedge/images/gate_images.py) they are made by arithmetic, so that an export needs
no photographs and gives the same graphs everywhere.
"""

import numpy as np
from numpy.typing import NDArray

from embedge.images.gate_images import photograph


def calibration_images(size: int) -> NDArray[np.uint8]:
    """All of them, uint8 (4, size, size, 3): scenes in daylight and dusk, and drawn things."""
    day, dusk = photograph(size, 1), photograph(size, 2) // 3
    pale = 255 - (255 - photograph(size, 3)) // 4
    return np.stack([day, dusk, pale, _drawn(size)]).astype(np.uint8)


def _drawn(size: int) -> NDArray[np.int64]:
    """Rings, checks, coarse noise and lines like those of a printed page, a quarter each."""
    y, x = np.mgrid[:size, :size].astype(np.int64)
    rings = (x - size // 4) ** 2 + (y - size // 4) ** 2
    rings = np.where((rings // (size + 1) % 2 == 0)[..., None], (240, 200, 30), (90, 20, 120))
    checks = np.where(((x // 11 + y // 11) % 2 == 0)[..., None], (255, 255, 255), (0, 0, 0))
    blocks = np.random.default_rng(4).integers(0, 256, (size // 4 + 1, size // 4 + 1, 3))
    coarse = blocks[y // 4, x // 4]
    ink = (y % 9 < 3) & (x * 7 % 31 + y // 9 * 5 % 13 > 14)
    page = np.where(ink[..., None], (40, 40, 50), (245, 242, 230))
    left, upper = (x < size // 2)[..., None], (y < size // 2)[..., None]
    below = np.where(left, coarse, page)
    return np.where(upper, np.where(left, rings, checks), below)
