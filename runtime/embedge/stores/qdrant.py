"""A collection of Qdrant, by its client: a server's URL, or a folder of the client's local mode.

The columns are payload, as JSON has them. Ids are whole numbers or UUIDs, which is all that Qdrant
has; another string becomes the UUID, version 5, of it in the namespace of object identifiers
(RFC 9562), and stands in the payload too.
"""

import os
import re
import uuid
import warnings
from pathlib import Path
from typing import Any

from embedge.errors import InputError, OptionError
from embedge.files.whole import find_obstacle
from embedge.integrations.libraries import needs
from embedge.stores.layout import Layout, plain, refuse_kind
from embedge.stores.rows import Rows
from embedge.stores.target import Target

API_KEY = "QDRANT_API_KEY"  # the environment variable with a server's key
_TIMEOUT = 60  # seconds for one request
_BATCH = 256  # points of one request
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+/?")


class QdrantStore:
    """See `Store`."""

    def __init__(self, target: Target, layout: Layout) -> None:
        why = "it has floats and uint8, and makes smaller ones of floats itself"
        refuse_kind("qdrant", layout, ("float32", "uint8"), why)
        with needs("qdrant_client", package="qdrant-client"):
            from qdrant_client import QdrantClient, models
        self._models: Any = models
        self._target = target
        self._layout = layout
        self._name: str | None = None  # of the vectors in the collection; None for its only ones
        self._client: Any
        if target.place.startswith(("http://", "https://")):
            self._client = QdrantClient(
                url=target.place,
                api_key=os.environ.get(API_KEY) or None,
                timeout=_TIMEOUT,
                check_compatibility=False,  # a request whose failure is only a warning
            )
        else:
            _check_folder(target.place)
            self._client = QdrantClient(path=target.place)

    def find(self) -> bool:
        """Whether the collection is there; see `Store`."""
        if not self._client.collection_exists(self._target.table):
            return False
        held = self._client.get_collection(self._target.table).config.params.vectors
        if isinstance(held, dict):
            self._name = self._layout.vectors
            if self._name not in held:
                raise OptionError(
                    f'{self._target} has no vectors named "{self._name}", but '
                    f"{', '.join(held) or 'none'}; name them with --into, or another --table"
                )
            held = held[self._name]
        if held is None or held.size != self._layout.width:
            raise OptionError(
                f"{self._target} holds vectors of {getattr(held, 'size', 'no')} dimensions, and "
                f"these have {self._layout.width}; name another --table"
            )
        bytes_held = held.datatype == self._models.Datatype.UINT8
        if bytes_held != (self._layout.kind == "uint8"):
            raise OptionError(
                f"{self._target} holds {'uint8' if bytes_held else 'float'} vectors, and these "
                f"are {self._layout.kind}; name another --table"
            )
        return True

    def create(self) -> None:
        """Makes the collection: cosine for floats, Euclidean distance for uint8."""
        small = self._layout.kind == "uint8"
        distance = self._models.Distance
        self._client.create_collection(
            self._target.table,
            vectors_config=self._models.VectorParams(
                size=self._layout.width,
                # uint8 is shifted so that nothing is negative, which leaves distances alone.
                distance=distance.EUCLID if small else distance.COSINE,
                datatype=self._models.Datatype.UINT8 if small else None,
            ),
        )

    def count(self) -> int:
        """How many points it has."""
        return int(self._client.count(self._target.table, exact=True).count)

    def put(self, rows: Rows) -> None:
        """Upserts points; the server has each batch on disk before the next one goes."""
        vectors = rows.vectors
        with warnings.catch_warnings():
            # The local mode warns above 20,000 points; docs/bulk.md says what it is for.
            warnings.filterwarnings("ignore", message="Local mode is not recommended")
            self._client.upload_collection(
                self._target.table,
                vectors=vectors if self._name is None else {self._name: vectors},
                ids=[point_id(one) for one in rows.ids],
                payload=[plain(record) for record in rows.records()],
                batch_size=_BATCH,
                wait=True,
            )

    def finish(self) -> None:
        """Qdrant makes its index by itself."""

    def close(self) -> None:
        """Closes the client."""
        self._client.close()


def point_id(key: int | str) -> int | str:
    """The id of a point.

    Raises:
        InputError: a number is negative.

    >>> point_id(7), point_id("a-1")
    (7, 'd2ecce02-4336-5dc0-b748-f65122a31c35')
    """
    if isinstance(key, int):
        if key < 0:
            raise InputError(f"{key} is no id for Qdrant, whose numbers start at 0; use strings")
        return key
    try:
        return str(uuid.UUID(key))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, key))


def _check_folder(place: str) -> None:
    if _HOST_AND_PORT.fullmatch(place):
        raise OptionError(f"--to qdrant:{place} would be a folder; a server is http://{place}")
    if not Path(place).is_dir() and (obstacle := find_obstacle(place)):
        raise OptionError(f"--to qdrant:{place} {obstacle}")
