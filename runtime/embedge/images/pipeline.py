"""Many images to pixels: checked first, then decoded on a few threads while the network runs.

Checking looks at every header before anything runs, so that a wrong path shows at once and not
after an hour. Decoding is ahead of the network by a bounded number of images, whatever their
count. An image that turns out bad then is told with its reason, and the others go on.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.errors import CancelledError
from embedge.images.pixels import to_pixels
from embedge.images.sources import RefusedImageError, check_source, decode, open_source
from embedge.pack.manifest import ImageInput

# Threads that decode. A CPU's network takes seconds an image and has the cores; a GPU's takes
# milliseconds, and a large photo a tenth of a second to decode.
DECODERS = {"cpu": 2, "cuda": 8}
CANCEL_POLL = 0.05  # seconds
PATIENCE = 0.5  # seconds that a cancelled call waits for images that are being decoded

Bad = Callable[[int, str], None]  # index and reason
Pixels = NDArray[np.float32]  # (3, size, size)


def check_images(
    sources: Sequence[Any], *, allow_urls: bool, bad: Bad, cancel: threading.Event | None
) -> list[int]:
    """Tells every image whose header shows that it is bad, and gives the indices of the others."""
    good = []
    for index, source in enumerate(sources):
        _check_cancel(cancel)
        try:
            check_source(source, allow_urls=allow_urls)
        except RefusedImageError as error:
            bad(index, str(error))
        else:
            good.append(index)
    return good


def decode_images(
    sources: Sequence[Any],
    indices: Sequence[int],
    spec: ImageInput,
    *,
    upright: bool,
    allow_urls: bool,
    bad: Bad,
    threads: int,
    ahead: int,
    cancel: threading.Event | None,
) -> Generator[tuple[int, Pixels | None], None, None]:
    """Decodes images in order; None for one that turns out bad, after `bad` was told of it.

    Args:
        sources: all of them.
        indices: which to decode.
        spec: what the network takes.
        upright: see `to_pixels`.
        allow_urls: whether to fetch http(s) URLs.
        bad: called in the caller's thread.
        threads: how many decode at a time.
        ahead: at most so many are decoded, or being decoded, and not yet taken.
        cancel: set it to stop.

    Raises:
        CancelledError: `cancel` was set.
    """

    def work(index: int) -> Pixels | str:
        source = sources[index]
        try:
            with open_source(source, allow_urls=allow_urls, cancel=cancel) as image:
                decode(image, shared=image is source)
                return to_pixels(image, spec, upright=upright)
        except RefusedImageError as error:
            return str(error)

    def submit(index: int) -> Future[Pixels | str]:
        try:
            return pool.submit(work, index)
        except RuntimeError:  # no threads: the program ends, and waits for this one; or a limit
            future: Future[Pixels | str] = Future()
            future.set_result(work(index))
            return future

    coming = iter(indices)
    waiting: deque[tuple[int, Future[Pixels | str]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="embedge-images")
    try:
        for index in islice(coming, ahead):
            waiting.append((index, submit(index)))
        while waiting:
            index, future = waiting[0]
            while not wait([future], CANCEL_POLL).done:
                _check_cancel(cancel)
            _check_cancel(cancel)
            waiting.popleft()
            found = future.result()
            del future  # with its pixels; they are the taker's now
            for following in islice(coming, 1):
                waiting.append((following, submit(following)))
            if isinstance(found, str):
                bad(index, found)
                yield index, None
            else:
                yield index, found
    finally:
        running = [future for _, future in waiting if not future.cancel()]
        # One image may take ten seconds. Who cancelled does not wait for it: its thread ends later.
        cancelled = cancel is not None and cancel.is_set()
        late = wait(running, PATIENCE).not_done if cancelled else ()
        pool.shutdown(wait=not late)


def _check_cancel(cancel: threading.Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise CancelledError("cancelled while images were read")
