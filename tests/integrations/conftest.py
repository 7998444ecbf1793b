"""The bundled model, which the adapters embed with, and packs of `tiny.py` where images are needed.

Not part of the suite: `make test-integrations` makes environments that have the frameworks. Vectors
that come through a framework have to be those of `Embedder`, number for number.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedge import Embedder
from integrations.texts import TEXTS
from support.tiny import IMAGE, write_pack


@pytest.fixture(scope="session")
def library() -> Iterator[Embedder]:
    with Embedder() as embedder:
        # Where a framework mistakes one side for the other, its vectors have to differ.
        assert not np.array_equal(embedder.encode_query(TEXTS), embedder.encode_document(TEXTS))
        yield embedder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A pack with an image tower, and two image files."""
    place = tmp_path_factory.mktemp("pictures")
    pack = write_pack(place / "pack", image=IMAGE)
    paths = []
    for number, color in enumerate(((255, 51, 0), (0, 0, 255))):
        paths.append(place / f"{number}.png")
        Image.fromarray(np.full((8, 8, 3), color, np.uint8)).save(paths[-1])
    return pack, paths
