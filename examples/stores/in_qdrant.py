"""Vectors in Qdrant: float32 and uint8 side by side, searched by either, or by both.

    pip install "embedge[cpu]" qdrant-client
    python examples/stores/in_qdrant.py

The client keeps the points in memory here; `QdrantClient("http://localhost:6333")` is a server.
Its uint8 vectors are searched by Euclidean distance: the numbers are shifted so that none is
negative, which changes every dot product and no distance.
"""

from collections.abc import Sequence

import numpy as np
from qdrant_client import QdrantClient, models

from embedge import Embedder, quantize

NAME = "notes"
LIMIT = 0.5  # a little more than the largest number of any of the model's vectors
CANDIDATES = 10  # times as many as are asked for, before they are compared again in float32


class Notes:
    """Texts in a Qdrant collection, each with a topic."""

    kinds = ("float32", "uint8", "uint8, rescored")

    def __init__(self, client: QdrantClient, embedder: Embedder) -> None:
        self._client = client
        self._embedder = embedder
        size = embedder.dimension
        # One range for all dimensions: a range for each would stretch them against each other.
        self._ranges = np.full((2, size), [[-LIMIT], [LIMIT]], np.float32)
        client.create_collection(
            NAME,
            vectors_config={
                # Of vectors of length 1 the dot product is the cosine.
                "float32": models.VectorParams(size=size, distance=models.Distance.DOT),
                "uint8": models.VectorParams(
                    size=size, distance=models.Distance.EUCLID, datatype=models.Datatype.UINT8
                ),
            },
        )

    def add(self, texts: Sequence[str], *, topic: str) -> None:
        """Embeds texts and keeps them."""
        vectors = self._embedder.encode_document(texts)  # float32 (n, d), rows of length 1
        small = quantize(vectors, "uint8", ranges=self._ranges)  # uint8 (n, d)
        first = self._client.count(NAME).count
        points = [
            models.PointStruct(
                id=first + row,
                vector={"float32": vectors[row].tolist(), "uint8": small[row].tolist()},
                payload={"text": text, "topic": topic},
            )
            for row, text in enumerate(texts)
        ]
        self._client.upsert(NAME, points)

    def search(
        self, query: str, *, kind: str = "float32", topic: str | None = None, top_k: int = 3
    ) -> list[str]:
        """The best texts, the best first; of one topic if it is named."""
        vector = self._embedder.encode_query(query)  # float32 (d,)
        small = quantize(vector, "uint8", ranges=self._ranges)
        only = None
        if topic is not None:
            matches = models.FieldCondition(key="topic", match=models.MatchValue(value=topic))
            only = models.Filter(must=[matches])
        if kind == "uint8, rescored":
            near = models.Prefetch(
                query=small.tolist(), using="uint8", filter=only, limit=top_k * CANDIDATES
            )
            found = self._client.query_points(
                NAME, prefetch=near, query=vector.tolist(), using="float32", limit=top_k
            )
        else:
            asked = vector if kind == "float32" else small
            found = self._client.query_points(
                NAME, query=asked.tolist(), using=kind, query_filter=only, limit=top_k
            )
        return [str((point.payload or {})["text"]) for point in found.points]


def main() -> None:
    """Fills a collection and asks it one question in every way."""
    with Embedder() as embedder:
        notes = Notes(QdrantClient(":memory:"), embedder)
        notes.add(["The spare key is under the third flower pot."], topic="house")
        notes.add(["Water the tomatoes every second evening."], topic="garden")
        for kind in notes.kinds:
            print(f"{kind}: {notes.search('Where is the key to the house?', kind=kind)[0]}")


if __name__ == "__main__":
    main()
