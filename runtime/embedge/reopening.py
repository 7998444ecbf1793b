"""Pickling what holds networks and files: by what it was opened with, and opened again.

A network, a lock or a file can't be sent to another process. What such an object was opened with
can be, and opening is quick: the other process, or `copy.deepcopy`, opens its own. It does so only
if what it opens is still the same, for the sender counts on equal vectors.
"""

from collections.abc import Callable, Mapping
from typing import Any

from embedge.errors import PackError

Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


def reduce_embedder(kind: type, options: Mapping[str, Any], fingerprint: str) -> Reduced:
    """What `Embedder.__reduce__` gives.

    Args:
        kind: the class.
        options: of its constructor; precision as it was chosen.
        fingerprint: of the pack's precision.
    """
    return _reopen_embedder, (kind, dict(options), fingerprint)


def reduce_index(kind: type, options: Mapping[str, Any]) -> Reduced:
    """What `SearchIndex.__reduce__` gives."""
    return _reopen_index, (kind, dict(options))


def _reopen_embedder(kind: Callable[..., Any], options: dict[str, Any], fingerprint: str) -> Any:
    embedder = kind(**options)
    if embedder.manifest.fingerprint(embedder.precision) != fingerprint:
        raise PackError(
            f"{embedder.folder} is another pack, or another version of it, than the one that was "
            "pickled, so its vectors may differ; open it by its path"
        )
    return embedder


def _reopen_index(kind: Callable[..., Any], options: dict[str, Any]) -> Any:
    return kind(**options)
