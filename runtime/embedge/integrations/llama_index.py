"""LlamaIndex's `BaseEmbedding`: queries, texts in batches, and images where the pack takes them.

Written for llama-index-core 0.14; see `llama_index.core.base.embeddings.base.BaseEmbedding`.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

from embedge.integrations.libraries import needs
from embedge.integrations.model import Model, PackOrEmbedder, in_thread

with needs("llama_index", package="llama-index-core"):
    from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
    from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
    from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
    from llama_index.core.schema import ImageType


class EmbedgeEmbedding(BaseEmbedding):
    """Embeddings of a pack, for LlamaIndex. Safe between threads; can be pickled.

    An `Embedder` is kept, in `to_dict` and `to_json`, as its pack, precision, device and threads.

    Args:
        pack: folder of the pack; the one that embedge bundles if left out. Or an `Embedder`.
        fields: task, truncate_dim, max_length, precision, device, threads: see
            `embedge.integrations.model.Model`; and those of `BaseEmbedding`, such as
            embed_batch_size, 512 here: embedge cuts a batch by tokens and memory itself.

    Raises:
        EmbedgeError: at the first call, as `Embedder` and `Embedder.encode`. A text that cannot be
            embedded is a `TextError`, which lists every one of them by its index in its batch.

    >>> embedding = EmbedgeEmbedding(truncate_dim=64)
    >>> len(embedding.get_query_embedding("Which planet is red?"))
    64
    """

    model_config = ConfigDict(extra="forbid")  # a misspelled option is an error

    # Frozen: the pack is opened with them, once.
    pack: str | None = Field(default=None, frozen=True, description="Folder of the pack.")
    task: str | None = Field(default=None, frozen=True, description="One of the pack's tasks.")
    truncate_dim: int | None = Field(default=None, frozen=True, description="Dimensions to keep.")
    max_length: int | None = Field(default=None, frozen=True, description="Most tokens of a text.")
    precision: str = Field(default="auto", frozen=True, description='"auto", or one of the pack.')
    device: str = Field(default="auto", frozen=True, description='"auto", "cpu" or "cuda".')
    threads: int | None = Field(default=None, frozen=True, description="Threads of one run.")
    _model: Model = PrivateAttr()

    def __init__(self, pack: PackOrEmbedder = None, **fields: Any) -> None:
        names = ("task", "truncate_dim", "max_length", "precision", "device", "threads")
        model = Model(pack, **{name: fields[name] for name in names if name in fields})
        fields.setdefault("embed_batch_size", 512)
        kept = {**fields, **model.settings()}
        kept.setdefault(
            "model_name", "embedge" if kept["pack"] is None else Path(kept["pack"]).name
        )
        super().__init__(**kept)
        self._model = model

    @classmethod
    def class_name(cls) -> str:
        """The name that `to_dict` writes."""
        return cls.__name__

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._model.queries([query])[0].tolist()

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return (await in_thread(self._model.queries, [query]))[0].tolist()

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._model.documents([text])[0].tolist()

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await in_thread(self._model.documents, [text]))[0].tolist()

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._model.documents(texts).tolist()

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return (await in_thread(self._model.documents, texts)).tolist()


class EmbedgeMultiModalEmbedding(EmbedgeEmbedding, MultiModalEmbedding):
    """The same for a pack with an image tower: images stand in the space of its texts.

    Images are paths or `BytesIO`. Needs Pillow: `embedge[image]`.

    Raises:
        PackError: the pack has no image tower.
        ImageError: some images are bad; it lists every one of them by its index in its batch.
    """

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return (await self._aget_image_embeddings([img_file_path]))[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        return self._model.images(_sources(img_file_paths)).tolist()

    async def _aget_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        return (await in_thread(self._model.images, _sources(img_file_paths))).tolist()


def _sources(images: list[ImageType]) -> list[Any]:
    return [image.getvalue() if isinstance(image, BytesIO) else image for image in images]
