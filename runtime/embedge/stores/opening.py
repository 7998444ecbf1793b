"""The table that a target names, open: the one place that knows every store."""

import contextlib
from collections.abc import Iterator

from embedge.stores.layout import Layout
from embedge.stores.store import Store
from embedge.stores.target import Target, said_by


@contextlib.contextmanager
def open_store(target: Target, layout: Layout) -> Iterator[Store]:
    """The table; its library is imported here.

    Raises:
        MissingExtraError: the library is not installed.
        OptionError: the store has no such vectors, or the place cannot be one.
        StoreError: the library says so.
    """
    with said_by(target):
        store = _open(target, layout)
    try:
        yield store
    finally:
        store.close()


def _open(target: Target, layout: Layout) -> Store:
    if target.store == "lance":
        from embedge.stores.lance import LanceStore

        return LanceStore(target, layout)
    if target.store == "qdrant":
        from embedge.stores.qdrant import QdrantStore

        return QdrantStore(target, layout)
    from embedge.stores.sqlite_vec import SqliteVecStore

    return SqliteVecStore(target, layout)
