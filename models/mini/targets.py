"""What the student is to reproduce: the teacher's vectors, turned so that they may be cut.

A principal component analysis puts most of the variance first, which is what Matryoshka widths
need. Within each stretch between two widths a random rotation then spreads the variance evenly:
the similarity at those widths stays the same, and every sign of a binary code carries as much.
"""

import numpy as np
from numpy.typing import NDArray

WIDTHS = (32, 64, 128, 256)


def projection(
    vectors: NDArray[np.float16], *, widths: tuple[int, ...] = WIDTHS, seed: int = 0
) -> NDArray[np.float32]:
    """The matrix (384, D) that takes a teacher's vector to its target; orthonormal columns.

    Args:
        vectors: (N, 384), unit length; a sample is enough.
        widths: ascending; the last is D.
        seed: of the rotations.
    """
    sample = vectors.astype(np.float32)
    # Second moments, not covariance: cosine knows no mean.
    _, axes = np.linalg.eigh(sample.T @ sample)  # ascending
    axes = axes[:, ::-1][:, : widths[-1]]
    generator = np.random.default_rng(seed)
    for start, stop in zip((0, *widths), widths, strict=False):
        square = generator.normal(size=(stop - start, stop - start))
        axes[:, start:stop] = axes[:, start:stop] @ np.linalg.qr(square)[0]
    return np.ascontiguousarray(axes, dtype=np.float32)


def project(vectors: NDArray[np.float16], matrix: NDArray[np.float32]) -> NDArray[np.float16]:
    """Targets (N, D), unit length, float16."""
    found = np.empty((len(vectors), matrix.shape[1]), np.float16)
    for start in range(0, len(vectors), 65_536):
        part = vectors[start : start + 65_536].astype(np.float32) @ matrix
        found[start : start + 65_536] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return found
