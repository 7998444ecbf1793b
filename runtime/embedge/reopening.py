"""Pickling what holds networks and files: by what it was opened with, and opened again.

A network, a lock or a file can't be sent to another process. What such an object was opened with
can be, and opening is quick: the other process opens its own. It does so only if what it opens is
still the same, for the sender counts on equal vectors.

Pools of processes pickle their arguments for every piece of work. So a process opens what comes in
that way once, and gives the same object to all who are sent the same.
"""

import collections
import os
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from embedge.errors import PackError
from embedge.fork_locks import ForkLock
from embedge.machine.resources import THREADS_VARIABLE

Reduced = tuple[Callable[..., Any], tuple[Any, ...]]

# What engines such as Ray and Spark set for a worker, by the cores that they count for it. Without
# it, each worker of a machine would take threads for all of its cores.
WORKER_THREADS_VARIABLE = "OMP_NUM_THREADS"
# Embedders that a process keeps though nobody holds them: between two pieces of a worker's work
# nobody does. Two, for a program with a model for texts and one for something else.
KEPT = 2

_opened: "weakref.WeakValueDictionary[tuple[Any, ...], Any]" = weakref.WeakValueDictionary()
_kept: "collections.deque[Any]" = collections.deque(maxlen=KEPT)
_lock = ForkLock()


def reduce_embedder(kind: type, options: Mapping[str, Any], fingerprint: str) -> Reduced:
    """What `Embedder.__reduce__` gives.

    Args:
        kind: the class.
        options: of its constructor; precision as it was chosen.
        fingerprint: of the pack's precision.
    """
    return open_once, (kind, dict(options), fingerprint)


def reduce_index(kind: type, options: Mapping[str, Any]) -> Reduced:
    """What `SearchIndex.__reduce__` gives."""
    return _reopen_index, (kind, dict(options))


def open_once(
    kind: Callable[..., Any], options: Mapping[str, Any], fingerprint: str | None = None
) -> Any:
    """The embedder of some options in this process, opened unless it is open already.

    Where `threads` is None it has as many as the worker's engine says in OMP_NUM_THREADS, if it
    says so and EMBEDGE_THREADS does not.

    Args:
        kind: the class.
        options: of its constructor.
        fingerprint: of the pack's precision; None: whatever the pack is.

    Raises:
        PackError: the pack is another one than the fingerprint says.
    """
    options = dict(options)
    if options.get("threads") is None:
        options["threads"] = _worker_threads()
    key = (kind, tuple(sorted(options.items())), fingerprint)
    with _lock:
        embedder = _opened.get(key)
        if embedder is None or embedder.closed:
            embedder = open_again(kind, options, fingerprint)
            _opened[key] = embedder
            _kept.append(embedder)
        return embedder


def open_again(
    kind: Callable[..., Any], options: Mapping[str, Any], fingerprint: str | None
) -> Any:
    """A new embedder, of its own; the arguments are those of `open_once`.

    Raises:
        PackError: the pack is another one than the fingerprint says.
    """
    embedder = kind(**options)
    if fingerprint not in (None, embedder.manifest.fingerprint(embedder.precision)):
        raise PackError(
            f"{embedder.folder} is another pack, or another version of it, than the one that was "
            "pickled, so its vectors may differ; open it by its path"
        )
    return embedder


def _worker_threads() -> int | None:
    text = os.environ.get(WORKER_THREADS_VARIABLE, "").strip()
    if os.environ.get(THREADS_VARIABLE, "").strip() or not text.isdecimal():
        return None
    return int(text) or None


def _reopen_index(kind: Callable[..., Any], options: dict[str, Any]) -> Any:
    return kind(**options)
