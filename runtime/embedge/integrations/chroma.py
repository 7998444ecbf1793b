"""Chroma's `EmbeddingFunction`: kept with a collection, and found again when it is reopened.

Written for chromadb 1.5; see `chromadb.api.types.EmbeddingFunction`. A program that reopens a
collection imports this module, which registers the function under its name.
"""

import functools
from typing import Any, Unpack

import numpy as np

from embedge.integrations.libraries import needs
from embedge.integrations.model import Model, Options, PackOrEmbedder

with needs("chromadb", package="chromadb"):
    from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Images, Space
    from chromadb.utils.embedding_functions import register_embedding_function

_FIXED = ("pack", "task", "truncate_dim", "precision", "fingerprint")  # what the vectors depend on


@register_embedding_function
class EmbedgeEmbeddingFunction(EmbeddingFunction[Documents | Images]):
    """Embeds a collection's documents and queries, and images where the pack has a tower for them.

    What is kept with a collection: the pack's path, absolute, the options, the precision that was
    in use, and the pack's fingerprint, so that a collection is never searched with vectors of
    another model.

    Args:
        pack: folder of the pack; the one that embedge bundles if left out. Or an `Embedder`.
        fingerprint: of the pack, where a collection is reopened: another one is refused.
        options: task, truncate_dim, max_length, precision, device, threads: see
            `embedge.integrations.model.Model`.

    Raises:
        EmbedgeError: at the first call, as `Embedder` and `Embedder.encode`. A text that cannot be
            embedded is a `TextError`, which lists every one of them by its index.

    >>> function = EmbedgeEmbeddingFunction()
    >>> rows = function(["Mars is red.", "Venus is hot."])
    >>> len(rows), rows[0].shape, rows[0].dtype
    (2, (256,), dtype('float32'))
    """

    def __init__(
        self,
        pack: PackOrEmbedder = None,
        *,
        fingerprint: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._model = Model(pack, fingerprint=fingerprint, **options)

    def __call__(self, input: Documents | Images) -> Embeddings:
        """Vectors of documents, or of images, as uint8 arrays (H, W, 3): float32 (d,) each."""
        embed = self._model.images if _are_images(input) else self._model.documents
        return list(embed(input))

    def embed_query(self, input: Documents | Images) -> Embeddings:
        """Vectors of queries: texts with the query's prompt, or images."""
        embed = self._model.images if _are_images(input) else self._model.queries
        return list(embed(input))

    @staticmethod
    def name() -> str:
        """What a collection calls this function."""
        return "embedge"

    def default_space(self) -> Space:
        """Vectors have length 1."""
        return "cosine"

    def supported_spaces(self) -> list[Space]:
        """All: on vectors of length 1 they order alike."""
        return ["cosine", "l2", "ip"]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this function again; no secrets. Opens the pack."""
        embedder, settings = self._model.embedder, self._model.settings()
        return {
            **settings,
            "pack": None if settings["pack"] is None else str(embedder.folder),
            "precision": embedder.precision,
            "fingerprint": embedder.manifest.fingerprint(embedder.precision),
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> "EmbedgeEmbeddingFunction":
        """What `get_config` described. The pack is opened, and checked, at the first call."""
        return _reopened(tuple(sorted(config.items())))

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Refuses a change that the stored vectors would not follow.

        Raises:
            ValueError: the pack, the task, the width or the precision would change.
        """
        for name in _FIXED:
            if old_config.get(name) != new_config.get(name):
                raise ValueError(
                    f"{name} cannot change from {old_config.get(name)!r} to "
                    f"{new_config.get(name)!r}: the collection's vectors depend on it. Make a new "
                    "collection"
                )


@functools.lru_cache(maxsize=4)
def _reopened(settings: tuple[tuple[str, Any], ...]) -> EmbedgeEmbeddingFunction:
    """Kept: a collection that is reopened builds its function again for every single call."""
    return EmbedgeEmbeddingFunction(**dict(settings))


def _are_images(items: Any) -> bool:
    return any(isinstance(item, np.ndarray) for item in items)
