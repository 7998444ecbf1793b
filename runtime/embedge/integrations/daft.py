"""Daft's `Provider`: what `embed_text` and `embed_image` of `daft.functions` embed a column with.

Written for daft 0.7; see `daft.ai.provider` and `daft.ai.protocols`. Daft sends a descriptor to its
workers, which make an embedder of it there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from embedge.integrations.libraries import needs
from embedge.integrations.model import Model, Options, PackOrEmbedder
from embedge.options import check_one_of

with needs("daft", package="daft"):
    from daft import DataType
    from daft.ai.protocols import (
        ImageEmbedder,
        ImageEmbedderDescriptor,
        TextEmbedder,
        TextEmbedderDescriptor,
    )
    from daft.ai.provider import Provider
    from daft.ai.typing import EmbeddingDimensions

_NAME = "embedge"
_SIDES = ("document", "query")
_Vectors = list[NDArray[np.float32] | None]  # (d,) each; None where the row is null


class EmbedgeProvider(Provider):
    """Embeds columns of texts as documents, or as queries with `side="query"`, and of images.

    `embed_text(column, provider=provider)` takes beside Daft's own options (`batch_size`,
    `concurrency`, `max_retries`, `on_error`): `model`, the folder or name of another pack;
    `dimensions`, how many to keep; `side`, "document" or "query". A null text gets a null vector.

    Args:
        pack: folder or name of the pack; the one that embedge bundles if None. Or an `Embedder`.
        options: task, truncate_dim, max_length, precision, device, threads: see
            `embedge.integrations.model.Model`.

    Raises:
        EmbedgeError: when an expression is made, as `Embedder` for the pack and its options; when
            it runs, as `Embedder.encode`.

    >>> import daft
    >>> from daft.functions import embed_text
    >>> provider = EmbedgeProvider()
    >>> frame = daft.from_pydict({"text": ["Mars is red.", None]})
    >>> vectors = embed_text(daft.col("text"), provider=provider, dimensions=64)
    >>> print(frame.select(vectors.alias("embedding")).schema()["embedding"].dtype)
    Embedding[Float32; 64]
    """

    def __init__(self, pack: PackOrEmbedder = None, **options: Unpack[Options]) -> None:
        self._pack = pack
        self._options = options

    @property
    def name(self) -> str:
        """The name of the provider in a session of Daft."""
        return _NAME

    def get_text_embedder(
        self,
        model: str | None = None,
        dimensions: int | None = None,
        side: str = "document",
        **options: Any,
    ) -> TextEmbedderDescriptor:
        """What Daft embeds texts with.

        Args:
            model: folder or name of a pack, in place of the provider's.
            dimensions: how many to keep, in place of truncate_dim.
            side: "document" or "query".
            options: Daft's own.
        """
        check_one_of(side, "side", _SIDES)
        return _TextDescriptor(self._model(model, dimensions), side, options)

    def get_image_embedder(
        self, model: str | None = None, **options: Any
    ) -> ImageEmbedderDescriptor:
        """What Daft embeds images with: a column of its image type, of paths, or of bytes."""
        return _ImageDescriptor(self._model(model, None), "image", options)

    def _model(self, pack: str | None, dimensions: int | None) -> Model:
        options = dict(self._options)
        if dimensions is not None:
            options["truncate_dim"] = dimensions
        return Model(self._pack if pack is None else pack, **options)  # type: ignore[arg-type]


@dataclass
class _Embedder:
    """Daft's `TextEmbedder` and `ImageEmbedder`: a null value has no vector."""

    model: Model
    side: str  # "document", "query" or "image"

    def embed_text(self, text: list[str]) -> _Vectors:
        return self._embed(text)

    def embed_image(self, images: list[Any]) -> _Vectors:
        return self._embed(images)

    def width(self) -> int:
        return int(self._rows([]).shape[1])

    def _embed(self, values: Sequence[Any]) -> _Vectors:
        held = [value for value in values if value is not None]
        rows = iter(self._rows(held))
        return [None if value is None else next(rows) for value in values]

    def _rows(self, values: list[Any]) -> NDArray[np.float32]:
        embed = {
            "document": self.model.documents,
            "query": self.model.queries,
            "image": self.model.images,
        }
        return embed[self.side](values)


@dataclass
class _Descriptor:
    """What Daft asks before it runs, and sends to its workers."""

    model: Model
    side: str
    options: dict[str, Any]

    def get_provider(self) -> str:
        return _NAME

    def get_model(self) -> str:
        return str(self.model.settings()["pack"] or _NAME)

    def get_options(self) -> dict[str, Any]:
        return dict(self.options)

    def get_dimensions(self) -> EmbeddingDimensions:
        width = _Embedder(self.model, self.side).width()  # checks the pack and its options, too
        return EmbeddingDimensions(size=width, dtype=DataType.float32())


class _TextDescriptor(_Descriptor, TextEmbedderDescriptor):
    def instantiate(self) -> TextEmbedder:
        return _Embedder(self.model, self.side)


class _ImageDescriptor(_Descriptor, ImageEmbedderDescriptor):
    def instantiate(self) -> ImageEmbedder:
        return _Embedder(self.model, self.side)
