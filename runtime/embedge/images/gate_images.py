"""Images that every machine can make: what image towers are gated on, and checked with.

Made by arithmetic on whole numbers, so that they are the same everywhere and no pack has to hold
them. They hold what hurts: a gradient, flat areas with edges, noise, fine stripes, a dark frame
with one bright spot, and something with the spectrum of a photograph.
"""

import numpy as np
from numpy.typing import NDArray


def gate_images(size: int) -> NDArray[np.uint8]:
    """All of them, uint8 (6, size, size, 3)."""
    y, x = np.mgrid[:size, :size].astype(np.int64)
    generator = np.random.default_rng(20260217)
    noise = generator.integers(0, 256, (size, size, 3))
    gradient = np.stack([255 * x // size, 255 * y // size, 255 * (x + y) // (2 * size)], -1)
    shapes = np.full((size, size, 3), (230, 220, 200), np.int64)
    shapes[(x - size // 3) ** 2 + (y - size // 3) ** 2 < (size // 5) ** 2] = (200, 30, 40)
    shapes[size // 2 : size * 4 // 5, size // 2 : size * 9 // 10] = (20, 60, 160)
    stripes = np.where(((x // 3 + y // 7) % 2 == 0)[..., None], (250, 250, 240), (15, 10, 30))
    night = np.full((size, size, 3), 4, np.int64)
    night[size // 4 : size // 4 + 9, size // 2 : size // 2 + 9] = (255, 250, 200)
    images = (gradient, shapes, noise, stripes, night, photograph(size, 20260218))
    return np.stack(images).astype(np.uint8)


def photograph(size: int, seed: int) -> NDArray[np.int64]:
    """Soft fields of every scale with less and less contrast, and a horizon: (size, size, 3)."""
    generator = np.random.default_rng(seed)
    total = np.zeros((size, size, 3), np.int64)
    y, x = np.mgrid[:size, :size]
    for octave in range(6):
        cells = 2 << octave
        grid = generator.integers(-128, 128, (cells + 1, cells + 1, 3))
        # Bilinear, in steps of 1 / size.
        row, column = y * cells // size, x * cells // size
        down, right = (y * cells % size)[..., None], (x * cells % size)[..., None]
        top = grid[row, column] * (size - right) + grid[row, column + 1] * right
        below = grid[row + 1, column] * (size - right) + grid[row + 1, column + 1] * right
        total += (top * (size - down) + below * down) // (size * size) >> octave
    ground = np.where((y * 5 > size * 3)[..., None], (60, 90, 40), (120, 150, 200))
    return np.clip(ground + total // 2, 0, 255)
