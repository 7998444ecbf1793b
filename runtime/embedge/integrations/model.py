"""The pack of an adapter: which one, how it embeds, and opened when it is first needed.

Takes lists of texts or images, and gives float32 (n, d). Decides what a framework's "query" and
"document" mean here: the two sides of `Embedder.encode_query` and `encode_document`. Knows no
framework.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedge.embedder import Embedder
from embedge.errors import InputError, OptionError, PackError
from embedge.fork_locks import ForkLock

PackOrEmbedder: TypeAlias = "str | os.PathLike[str] | Embedder | None"
R = TypeVar("R")

# Adapters that name one pack and run it alike share one `Embedder`, for as long as any of them
# lives: a pipeline has a component for queries and one for documents, and a collection that is
# opened again has a new function each time.
_shared: "weakref.WeakValueDictionary[tuple[Any, ...], Embedder]" = weakref.WeakValueDictionary()
_lock = ForkLock()

# LlamaIndex starts all batches of a call at once. More than two runs gain nothing (one fills the
# cores, the other tokenizes), and each takes the memory of a run.
_AT_ONCE = 2
_turns: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]"
_turns = weakref.WeakKeyDictionary()


class Options(TypedDict, total=False):
    """What adapters take beside the pack: see `Model`."""

    task: str | None
    truncate_dim: int | None
    max_length: int | None
    precision: str
    device: str
    threads: int | None


class Model:
    """A pack and how to embed with it. Safe between threads; pickled without what it opened.

    Nothing is opened or checked before the first use.

    Args:
        pack: its folder; the one that embedge bundles if None. Or an `Embedder`, which is used as
            it is.
        task: one of the pack's. If left out: "retrieval" for queries and documents where the pack
            has it, and the pack's default task for images.
        truncate_dim: keep the first so many dimensions, before normalizing.
        max_length: tokens of a text at most; longer texts are cut.
        precision: as for `Embedder`, and so are `device` and `threads`.
        device: see `precision`.
        threads: see `precision`.
        fingerprint: of the pack, from `Manifest.fingerprint`: another one is refused.

    Raises:
        OptionError: `precision`, `device` or `threads` beside an `Embedder`, which has its own.

    >>> model = Model(task="retrieval", truncate_dim=64)
    >>> model.documents(["a text", "another"]).shape
    (2, 64)
    """

    def __init__(
        self,
        pack: PackOrEmbedder = None,
        *,
        task: str | None = None,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        precision: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self._pack = pack
        self._call: dict[str, Any] = {"truncate_dim": truncate_dim, "max_length": max_length}
        self._task = task
        self._run: dict[str, Any] = {"precision": precision, "device": device, "threads": threads}
        self._fingerprint = fingerprint
        self._embedder = pack if isinstance(pack, Embedder) else None
        if self._embedder is not None and (precision, device, threads) != ("auto", "auto", None):
            raise OptionError(
                "precision, device and threads are those of the Embedder that was passed; leave "
                "them out, or pass the pack's folder"
            )

    @property
    def embedder(self) -> Embedder:
        """The open pack.

        Raises:
            PackError: it cannot be opened, or is another one than `fingerprint` says.
            OptionError, DeviceError: as `Embedder`.
        """
        embedder = self._embedder
        if embedder is None:
            assert not isinstance(self._pack, Embedder)
            opened = Embedder(self._pack, **self._run)  # reads the manifest; loads no weights yet
            fingerprint = opened.manifest.fingerprint(opened.precision)
            if self._fingerprint not in (None, fingerprint):
                raise PackError(
                    f"{opened.folder} is another pack, or another version of it, than the one that "
                    "the stored vectors were made with; put that one back, or embed the documents "
                    "again"
                )
            key = (opened.folder, fingerprint, opened.device, opened.threads)
            with _lock:
                embedder = self._embedder = _shared.setdefault(key, opened)
        return embedder

    def queries(self, texts: Any, *, cancel: threading.Event | None = None) -> NDArray[np.float32]:
        """Vectors (n, d) of what is searched for."""
        return self.embedder.encode_query(
            _several(texts), task=self._task, cancel=cancel, **self._call
        )

    def documents(
        self, texts: Any, *, cancel: threading.Event | None = None
    ) -> NDArray[np.float32]:
        """Vectors (n, d) of what is searched."""
        return self.embedder.encode_document(
            _several(texts), task=self._task, cancel=cancel, **self._call
        )

    def images(self, images: Any, *, cancel: threading.Event | None = None) -> NDArray[np.float32]:
        """Vectors (n, d) of images."""
        return self.embedder.encode_image(
            images, task=self._task, truncate_dim=self._call["truncate_dim"], cancel=cancel
        )

    def warm_up(self) -> None:
        """Opens the pack, loads the network of queries, and runs it once."""
        self.queries(["warm up"])

    def let_go(self) -> None:
        """Forgets the pack that was opened here: it closes with the last that shares it."""
        if not isinstance(self._pack, Embedder):
            self._embedder = None

    def settings(self) -> dict[str, Any]:
        """The arguments of a `Model` that gives the same vectors, as plain values for JSON.

        Of an `Embedder`: its pack, precision, device and threads. What else it was opened with (a
        memory limit, prepared weights) changes no vector, and is not kept.
        """
        pack, run = self._pack, self._run
        if isinstance(pack, Embedder):
            run = {name: pack.options[name] for name in self._run}
            pack = pack.options["path"]
        path = None if pack is None else os.fspath(pack)
        return {"pack": path, "task": self._task, **self._call, **run}

    def __getstate__(self) -> dict[str, Any]:
        """All but a pack that was opened here: the other process opens its own."""
        kept = self._pack if isinstance(self._pack, Embedder) else None
        return {**self.__dict__, "_embedder": kept}

    def __repr__(self) -> str:
        chosen = ((n, value) for n, value in self.settings().items() if value not in (None, "auto"))
        return ", ".join(f"{name}={value!r}" for name, value in chosen)


async def in_thread(embed: Callable[..., R], items: Any) -> R:
    """Runs one of the methods above beside the event loop; cancelling ends the run, too.

    At most two calls of an event loop run at a time, the others wait their turn.

    Args:
        embed: called as embed(items, cancel=…).
        items: texts or images.
    """
    cancel = threading.Event()
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE)):
        try:
            return await asyncio.to_thread(embed, items, cancel=cancel)
        finally:
            cancel.set()  # of use when this coroutine was cancelled: the thread would go on


def _several(texts: Any) -> Any:
    if isinstance(texts, str):
        raise InputError("texts is one str; pass a list of str")
    return texts
