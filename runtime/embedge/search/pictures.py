"""Images in an index: the bytes of a file to the square that is embedded, and squares to vectors.

A square is what the image tower sees of an image, so it can wait for its turn in less than a
megabyte, where a photo takes a hundred. Knows no index.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from embedge.embedder import Embedder
from embedge.errors import MissingExtraError
from embedge.images.pixels import crop, prepare
from embedge.images.sources import RefusedImageError, decode, load_pillow, open_source
from embedge.pack.manifest import ImageInput
from embedge.search.files import RefusedError
from embedge.vectors import Vectors

if TYPE_CHECKING:
    from PIL import Image


class Pictures:
    """The image tower of an embedder, for an index.

    Attributes:
        missing: what has to be installed before images can be read; None where nothing has.
    """

    def __init__(self, embedder: Embedder, spec: ImageInput, *, task: str, width: int) -> None:
        self._embedder = embedder
        self._size = spec.size
        self._task = task
        self._width = width
        self.missing: str | None = None
        try:
            load_pillow()
        except MissingExtraError as error:
            self.missing = str(error)

    def square(self, data: bytes) -> "Image.Image":
        """What the tower sees of an image file, upright.

        Raises:
            RefusedError: it is no image, or a damaged one.
        """
        try:
            with open_source(data, allow_urls=False) as image:
                decode(image, shared=False)
                return crop(prepare(image, upright=True), self._size)
        except RefusedImageError as error:
            raise RefusedError(str(error).removeprefix("the bytes ")) from None

    def embed(
        self,
        squares: Sequence["Image.Image"],
        *,
        progress: Callable[[int, int], None],
        cancel: threading.Event | None,
    ) -> Vectors:
        """The vectors (n, D) of squares, of length 1: those of the whole images, to the bit."""
        return self._embedder.encode_image(
            squares,
            task=self._task,
            truncate_dim=self._width,
            upright=False,  # they are, and what the camera said of it still clings to them
            progress=progress,
            cancel=cancel,
        )
