"""The bundled model, which EmbedBatches embeds with, and texts with rows that cannot be embedded.

Not part of the suite: `make test-engines` makes an environment that has the engines. Vectors that
come through an engine have to be those of `Embedder`, number for number.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from embedge import Embedder

TEXTS = [f"The {name} is number {number}." for number in range(50) for name in ("moon", "sun")]
TEXTS[7] = TEXTS[3]  # equal ones are embedded once


@pytest.fixture(scope="session")
def library() -> Iterator[Embedder]:
    with Embedder() as embedder:
        yield embedder


@pytest.fixture(scope="session")
def rows(library: Embedder) -> np.ndarray:
    """(100, 256), the vectors of TEXTS as documents."""
    return library.encode_document(TEXTS)


@pytest.fixture
def columns() -> dict[str, list[Any]]:
    return {"id": list(range(len(TEXTS))), "text": list(TEXTS)}


@pytest.fixture
def with_bad(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same, with null in row 5."""
    columns["text"][5] = None
    return columns
