"""Haystack's components: one for queries, one for documents, one for documents that are images.

Written for haystack-ai 3.4. They can be written into a pipeline's YAML.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, Unpack

from numpy.typing import NDArray

from embedge.integrations.libraries import needs
from embedge.integrations.model import Model, Options, PackOrEmbedder, in_thread

with needs("haystack", package="haystack-ai"):
    from haystack import Document, component, default_from_dict, default_to_dict


class _Component:
    """What the components share: a pack, opened once, and how it is written into a pipeline.

    Args:
        pack: folder of the pack; the one that embedge bundles if left out. Or an `Embedder`.
        options: task, truncate_dim, max_length, precision, device, threads: see
            `embedge.integrations.model.Model`.
    """

    _own: ClassVar[tuple[str, ...]] = ()  # arguments beside those of `Model`

    def __init__(self, pack: PackOrEmbedder = None, **options: Unpack[Options]) -> None:
        self._model = Model(pack, **options)

    def warm_up(self) -> None:
        """Opens the pack and loads its network; otherwise the first run does."""
        self._model.warm_up()

    def close(self) -> None:
        """Lets go of the pack; a later run opens it again. An `Embedder` that was passed stays."""
        self._model.let_go()

    def to_dict(self) -> dict[str, Any]:
        """The component as plain values. An `Embedder` is kept as its pack and options."""
        own = {name: getattr(self, name) for name in self._own}
        return default_to_dict(self, **self._model.settings(), **own)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """What `to_dict` wrote."""
        return default_from_dict(cls, data)

    def _meta(self) -> dict[str, Any]:
        return {"model": self._model.embedder.manifest.model_id}


@component
class EmbedgeTextEmbedder(_Component):
    """Embeds a query.

    Args:
        pack: folder of the pack; the one that embedge bundles if left out. Or an `Embedder`.
        options: task, truncate_dim, max_length, precision, device, threads: see
            `embedge.integrations.model.Model`.

    >>> result = EmbedgeTextEmbedder().run("Which planet is red?")
    >>> len(result["embedding"]), result["meta"]
    (256, {'model': 'embedge-mini'})
    """

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """Gives "embedding", a list of float, and "meta".

        Raises:
            TypeError: `text` is not a str.
            EmbedgeError: as `Embedder` and `Embedder.encode`.
        """
        return self._result(self._model.queries(_query(text)))

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """As `run`, beside the event loop. A task that is cancelled ends the run."""
        return self._result(await in_thread(self._model.queries, _query(text)))

    def _result(self, rows: NDArray[Any]) -> dict[str, Any]:
        return {"embedding": rows[0].tolist(), "meta": self._meta()}


@component
class EmbedgeDocumentEmbedder(_Component):
    """Embeds the contents of documents. They are copied, not changed.

    Args:
        pack: folder of the pack; the one that embedge bundles if left out. Or an `Embedder`.
        meta_fields_to_embed: fields of a document's `meta` to put before its content.
        embedding_separator: between those fields and the content.
        options: task, truncate_dim, max_length, precision, device, threads: see
            `embedge.integrations.model.Model`.

    >>> embedder = EmbedgeDocumentEmbedder(truncate_dim=64)
    >>> len(embedder.run([Document(content="Mars is red.")])["documents"][0].embedding)
    64
    """

    _own = ("meta_fields_to_embed", "embedding_separator")

    def __init__(
        self,
        pack: PackOrEmbedder = None,
        *,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        **options: Unpack[Options],
    ) -> None:
        _Component.__init__(self, pack, **options)  # `component` makes another class of this one
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Gives "documents", in their order, with `embedding`, and "meta".

        Raises:
            TypeError: `documents` is not a list of `Document`.
            EmbedgeError: as `Embedder` and `Embedder.encode`; items are counted as the documents.
        """
        return self._result(documents, self._model.documents(self._texts(documents)))

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """As `run`, beside the event loop. A task that is cancelled ends the run."""
        rows = await in_thread(self._model.documents, self._texts(documents))
        return self._result(documents, rows)

    def _texts(self, documents: list[Document]) -> list[str]:
        texts = []
        for document in _checked(documents):
            fields = (document.meta.get(name) for name in self.meta_fields_to_embed)
            parts = [str(field) for field in fields if field is not None]
            texts.append(self.embedding_separator.join([*parts, document.content or ""]))
        return texts

    def _result(self, documents: list[Document], rows: NDArray[Any]) -> dict[str, Any]:
        pairs = zip(documents, rows.tolist(), strict=True)
        return {
            "documents": [replace(document, embedding=row) for document, row in pairs],
            "meta": self._meta(),
        }


@component
class EmbedgeDocumentImageEmbedder(_Component):
    """Embeds the images that documents name, with a pack that has an image tower.

    PDF pages are not rendered: they are refused as other files that hold no image.

    Args:
        pack: folder of the pack, or an `Embedder`.
        file_path_meta_field: the field of a document's `meta` that names the image file.
        root_path: folder of those files; a path that leads out of it is refused. Without it, any
            path is read: set it where others may choose the paths.
        options: task, truncate_dim, precision, device, threads: see
            `embedge.integrations.model.Model`.
    """

    _own = ("file_path_meta_field", "root_path")

    def __init__(
        self,
        pack: PackOrEmbedder = None,
        *,
        file_path_meta_field: str = "file_path",
        root_path: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        _Component.__init__(self, pack, **options)  # `component` makes another class of this one
        self.file_path_meta_field = file_path_meta_field
        self.root_path = root_path

    def warm_up(self) -> None:
        """Opens the pack and loads its image tower; otherwise the first run does."""
        self._model.embedder.load(self._model.settings()["task"], tower="image")

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Gives "documents", in their order, with `embedding`, and "meta".

        Raises:
            TypeError: `documents` is not a list of `Document`.
            ValueError: a document names no file, or one outside `root_path`.
            EmbedgeError: as `Embedder.encode_image`; items are counted as the documents.
        """
        return self._result(documents, self._model.images(self._paths(documents)))

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """As `run`, beside the event loop. A task that is cancelled ends the run."""
        rows = await in_thread(self._model.images, self._paths(documents))
        return self._result(documents, rows)

    def _paths(self, documents: list[Document]) -> list[Path]:
        paths = []
        for document in _checked(documents):
            name = document.meta.get(self.file_path_meta_field)
            if name is None:
                raise ValueError(
                    f"document {document.id} names no image: its meta has no "
                    f"{self.file_path_meta_field!r}; set it, or pass file_path_meta_field="
                )
            path = Path(self.root_path or "", name)
            if self.root_path and not path.resolve().is_relative_to(Path(self.root_path).resolve()):
                raise ValueError(
                    f"document {document.id} names {str(name)!r}, which leads out of "
                    f"{self.root_path!r}; correct the document, or root_path="
                )
            paths.append(path)
        return paths

    def _result(self, documents: list[Document], rows: NDArray[Any]) -> dict[str, Any]:
        source = {"type": "image", "file_path_meta_field": self.file_path_meta_field}
        return {
            "documents": [
                replace(document, embedding=row, meta={**document.meta, "embedding_source": source})
                for document, row in zip(documents, rows.tolist(), strict=True)
            ],
            "meta": self._meta(),
        }


def _query(text: Any) -> list[str]:
    if not isinstance(text, str):
        raise TypeError(
            f"EmbedgeTextEmbedder expects a str, not {type(text).__name__}; for a list of "
            "documents use EmbedgeDocumentEmbedder"
        )
    return [text]


def _checked(documents: Any) -> list[Document]:
    if not isinstance(documents, list) or not all(isinstance(one, Document) for one in documents):
        raise TypeError("expected a list of Document; for a str use EmbedgeTextEmbedder")
    return documents
