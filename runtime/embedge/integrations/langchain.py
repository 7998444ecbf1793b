"""LangChain's `Embeddings`: documents and queries as lists of float.

Written for langchain-core 1.8; see `langchain_core.embeddings.Embeddings`.
"""

from typing import Unpack

from embedge.integrations.libraries import needs
from embedge.integrations.model import Model, Options, PackOrEmbedder, in_thread

with needs("langchain_core", package="langchain-core"):
    from langchain_core.embeddings import Embeddings


class EmbedgeEmbeddings(Embeddings):
    """Embeddings of a pack, for LangChain. Safe between threads; can be pickled.

    Args:
        pack: folder of the pack; the one that embedge bundles if left out. Or an `Embedder`.
        options: task, truncate_dim, max_length, precision, device, threads: see
            `embedge.integrations.model.Model`.

    Raises:
        EmbedgeError: at the first call, as `Embedder` and `Embedder.encode`. A text that cannot be
            embedded is a `TextError`, which lists every one of them by its index.

    >>> embeddings = EmbedgeEmbeddings(truncate_dim=64)
    >>> len(embeddings.embed_documents(["Mars is red."])[0]), len(embeddings.embed_query("red?"))
    (64, 64)
    """

    def __init__(self, pack: PackOrEmbedder = None, **options: Unpack[Options]) -> None:
        self._model = Model(pack, **options)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One list of `truncate_dim` or `Embedder.dimension` numbers for each text."""
        rows: list[list[float]] = self._model.documents(texts).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """The vector of one query, with the query's prompt."""
        row: list[float] = self._model.queries([text])[0].tolist()
        return row

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`, beside the event loop. A task that is cancelled ends the run."""
        rows: list[list[float]] = (await in_thread(self._model.documents, texts)).tolist()
        return rows

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`, beside the event loop. A task that is cancelled ends the run."""
        row: list[float] = (await in_thread(self._model.queries, [text]))[0].tolist()
        return row

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model!r})"
