"""Many images to pixels: checked first, then decoded on a few threads while the network runs.

Checking looks at every header before anything runs, so that a wrong path shows at once and not
after an hour. Decoding is ahead of the network by a bounded number of images, whatever their
count. An image that turns out bad then is refused with its reason, and the others go on.
"""

import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.errors import CancelledError
from embedge.images.pillow import RefusedImageError, decode
from embedge.images.pixels import to_pixels
from embedge.images.sources import check_source, open_source
from embedge.items import Items
from embedge.pack.manifest import ImageInput

RUNS_AHEAD = 2
CANCEL_POLL = 0.05  # seconds
PATIENCE = 0.5  # seconds that a cancelled call waits for images that are being decoded

Pixels = NDArray[np.float32]  # (3, size, size)


def check_images(sources: Sequence[Any], items: Items, *, allow_urls: bool) -> list[int]:
    """Refuses every image whose header shows that it is bad; gives the indices of the others.

    Raises:
        CancelledError: the call was cancelled.
    """
    good = []
    for index, source in enumerate(sources):
        _check_cancel(items.cancel)
        try:
            check_source(source, allow_urls=allow_urls)
        except RefusedImageError as error:
            items.refuse(index, str(error))
        else:
            good.append(index)
    return good


def decode_images(
    sources: Sequence[Any],
    indices: Sequence[int],
    spec: ImageInput,
    items: Items,
    *,
    upright: bool,
    allow_urls: bool,
    threads: int,
    per_run: int,
) -> Generator[tuple[int, Pixels], None, None]:
    """Decodes images in order; gives index and pixels. One that turns out bad is refused.

    Args:
        sources: all of them.
        indices: which to decode.
        spec: what the network takes.
        items: what `sources` are to the call; bad ones are refused in the caller's thread.
        upright: see `to_pixels`.
        allow_urls: whether to fetch http(s) URLs.
        threads: how many decode.
        per_run: images that the network takes at a time; RUNS_AHEAD times as many are decoded, or
            being decoded, and not yet taken.

    Raises:
        CancelledError: the call was cancelled.
    """
    cancel = items.cancel

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
        for index in islice(coming, RUNS_AHEAD * per_run):
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
                items.refuse(index, found)
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
