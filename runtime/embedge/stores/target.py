"""Which store, where, and which table of it: what `--to` and `--table` name. Imports no library."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from embedge.errors import EmbedgeError, OptionError, StoreError

STORES = ("lance", "qdrant", "sqlite-vec")
TABLE = "embeddings"
_EXAMPLES = {
    "lance": "lance:FOLDER",
    "qdrant": "qdrant:http://localhost:6333",
    "sqlite-vec": "sqlite-vec:FILE",
}
_MOST = 300  # characters of a library's own message
_PLACE_IN_SOURCE = re.compile(r",? \S+\.rs:\d+(:\d+)?$")  # LanceDB names lines of its own code


@dataclass(frozen=True, slots=True)
class Target:
    """A table of a store.

    Attributes:
        store: one of `STORES`.
        place: a folder, a file or a URL.
        table: its name; Qdrant calls it a collection.
    """

    store: str
    place: str
    table: str = TABLE

    def __str__(self) -> str:
        """As messages name it.

        >>> str(Target("sqlite-vec", "notes.db", "notes"))
        'table "notes" of sqlite-vec:notes.db'
        """
        thing = "collection" if self.store == "qdrant" else "table"
        return f'{thing} "{self.table}" of {self.store}:{self.place}'


def parse_target(text: str, table: str = TABLE) -> Target:
    """The target that a text names.

    Raises:
        OptionError: it names no store, or no place.

    >>> parse_target("qdrant:http://localhost:6333").place
    'http://localhost:6333'
    """
    store, _, place = text.partition(":")
    if store not in STORES:
        raise OptionError(f"{text!r} names no store; write one of {', '.join(_EXAMPLES.values())}")
    if not place:
        raise OptionError(f"{text!r} does not say where; write {_EXAMPLES[store]}")
    if not table:
        raise OptionError("the name of the table is empty; leave it out for " + repr(TABLE))
    return Target(store, place, table)


@contextlib.contextmanager
def said_by(target: Target) -> Iterator[None]:
    """Around calls of a store's library: whatever it raises becomes one sentence.

    Raises:
        StoreError: it raised something.
    """
    try:
        yield
    except (EmbedgeError, MemoryError):
        raise
    except Exception as error:  # each library has errors of its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        detail = _PLACE_IN_SOURCE.sub("", lines[0])[:_MOST].rstrip(".")
        raise StoreError(
            f"{target}: {detail}; parts that are made and rows that are loaded stay, and the same "
            "command goes on there"
        ) from error
