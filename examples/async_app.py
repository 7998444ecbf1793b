"""An embedder in an asyncio program: the loop goes on while texts are embedded.

    python examples/async_app.py

Opening, loading and embedding happen in one thread; a task that is cancelled stops its work there,
also in the middle of a run of the network.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self

from numpy.typing import NDArray

from embedge import CancelledError, Embedder


class AsyncEmbedder:
    """An `Embedder` to await. An asynchronous context manager.

    Args:
        pack: folder of the pack; None for the bundled one.
        options: of `Embedder`, such as background=True.
    """

    def __init__(self, pack: str | None = None, **options: Any) -> None:
        self._open = partial(Embedder, pack, **options)
        # One thread: calls take turns, and a second one would only share the cores of the first.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedder")

    async def __aenter__(self) -> Self:
        self._embedder = await self._do(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._do(self._embedder.close)
        self._thread.shutdown()

    async def load(self, task: str | None = None) -> None:
        """Loads the network of a task, which else happens at its first call."""
        await self._do(partial(self._embedder.load, task))

    async def encode(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> NDArray[Any]:
        """Vectors of texts, float32 (n, d); the options are those of `Embedder.encode`.

        Args:
            texts: to be embedded.
            progress: called in the loop's thread as progress(done, total).
            options: of `Embedder.encode`.
        """
        loop, cancel = asyncio.get_running_loop(), threading.Event()

        def tell(done: int, total: int) -> None:
            if progress is not None:
                loop.call_soon_threadsafe(progress, done, total)

        work = loop.run_in_executor(
            self._thread,
            partial(self._embedder.encode, texts, progress=tell, cancel=cancel, **options),
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cancel.set()
            with contextlib.suppress(CancelledError):
                await work  # milliseconds: the thread is free for what comes next
            raise

    async def _do(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


async def watch(pauses: list[float]) -> None:
    """Stands for the program's other work: notes how late it is every 5 ms."""
    while True:
        begin = time.perf_counter()
        await asyncio.sleep(0.005)
        pauses.append(time.perf_counter() - begin - 0.005)


async def main() -> None:
    """Embeds, cancels, and says how long the loop had to wait at most."""
    pauses: list[float] = []
    watching = asyncio.create_task(watch(pauses))
    async with AsyncEmbedder() as embedder:
        await embedder.load()
        vectors = await embedder.encode([f"note number {number}" for number in range(200)])
        print("vectors", vectors.shape)
        long = asyncio.create_task(embedder.encode(["a long text " * 100] * 2000))
        await asyncio.sleep(0.3)
        long.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await long
        print("cancelled:", long.cancelled())
    watching.cancel()
    print(f"the loop was late by {max(pauses) * 1e3:.0f} ms at most, {len(pauses)} times looked at")


if __name__ == "__main__":
    asyncio.run(main())
