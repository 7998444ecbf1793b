"""Images in an index: the bytes of a file to the square that is embedded, and squares to vectors.

A square is what the image tower sees of an image, so it can wait for its turn in less than a
megabyte, where a photo takes a hundred. Knows no index.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedge.calls import Call
from embedge.embedder import Embedder
from embedge.errors import MissingExtraError
from embedge.images.pillow import RefusedImageError, decode, load_pillow
from embedge.images.pixels import to_square
from embedge.images.sources import open_source
from embedge.pack.manifest import ImageInput
from embedge.search.files import RefusedError
from embedge.vectors import Vectors

Square: TypeAlias = NDArray[np.uint8]  # (size, size, 3)


class Pictures:
    """The image tower of an embedder, for an index.

    Args:
        embedder: of a pack that has an image tower.
        spec: what the tower takes.
        call: with the task and the width of the index's vectors.

    Attributes:
        missing: what has to be installed before images can be read; None where nothing has.
    """

    def __init__(self, embedder: Embedder, spec: ImageInput, call: Call) -> None:
        self._embedder = embedder
        self._spec = spec
        self._call = call
        self.missing: str | None = None
        try:
            load_pillow()
        except MissingExtraError as error:
            self.missing = str(error)

    def square(self, data: bytes) -> Square:
        """What the tower sees of an image file, upright.

        Raises:
            RefusedError: it is not an image, or a damaged one.
        """
        try:
            with open_source(data, allow_urls=False) as image:
                decode(image, shared=False)
                return to_square(image, self._spec, upright=True)
        except RefusedImageError as error:
            raise RefusedError(str(error).removeprefix("the file ")) from None

    def embed(
        self,
        squares: Sequence[Square],
        *,
        progress: Callable[[int, int], None],
        cancel: threading.Event | None,
    ) -> Vectors:
        """The vectors (n, D) of squares, of length 1: those of the whole images, to the bit."""
        return self._embedder.encode_squares(
            squares,
            task=self._call.task,
            truncate_dim=self._call.width,
            progress=progress,
            cancel=cancel,
        )
