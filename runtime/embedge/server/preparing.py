"""What makes a request's items into rows for the queue: fetches, tokenizes, decodes.

Plain functions that block, for the threads of `service`. A set `cancel` ends them soon. Whatever is
wrong with an item is a `Refusal` that names it by its index.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.calls import Call
from embedge.images.pillow import RefusedImageError
from embedge.server.models import Work
from embedge.server.pictures import fetch_picture, square_of
from embedge.server.refusals import Kind, Refusal
from embedge.server.settings import Settings
from embedge.server.work import Item, Picture, TokenIds
from embedge.texts.checks import clean

logger = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 4  # before texts are tokenized
COUNTED = 2**20  # characters; a longer text is said to be too long without being counted
# What `size_of` counts for a text, beside its characters, and for an image, however small it is.
TEXT_SIZE, IMAGE_SIZE = 32, 2**18


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a work that run with one tower."""

    call: Call
    indices: list[int]  # which of the items they are
    rows: list[NDArray[Any]]  # token ids (length,), or squares (size, size, 3)
    lengths: list[int]  # tokens of each


@dataclass(frozen=True, slots=True)
class Prepared:
    """All rows of a work."""

    parts: list[Part]
    truncated: tuple[int, ...]  # items that were cut
    seconds: float  # that it took, downloads apart


def estimate(work: Work) -> int:
    """About how many tokens a work has, before it is tokenized."""
    limit = work.text.max_length
    total = 1
    for item in work.items:
        if isinstance(item, str):
            total += min(limit, 1 + len(item) // CHARACTERS_PER_TOKEN)
        elif isinstance(item, TokenIds):
            total += len(item.ids)
        else:
            total += work.model.image_tokens
    return total


def size_of(work: Work) -> int:
    """How much there is to prepare: characters, prompts included, or what takes as long."""
    start = TEXT_SIZE + len(work.text.prompt)
    return sum(_size(item, start) for item in work.items)


def _size(item: Item, start: int) -> int:
    if isinstance(item, str):
        return start + len(item)
    return len(item.ids) if isinstance(item, TokenIds) else IMAGE_SIZE


def urls_of(work: Work) -> list[tuple[int, str]]:
    """The images that have to be fetched, by index."""
    return [
        (index, item.source)
        for index, item in enumerate(work.items)
        if isinstance(item, Picture) and isinstance(item.source, str)
    ]


def fetch(index: int, url: str, settings: Settings, cancel: threading.Event) -> bytes:
    """The file of an image.

    Raises:
        Refusal: INVALID, with the item.
    """
    try:
        return fetch_picture(url, settings, cancel)
    except RefusedImageError as error:
        raise _bad_items([(index, f"{url[:120]!r} {error}")]) from None


def prepare(
    work: Work, files: Mapping[int, bytes], settings: Settings, cancel: threading.Event
) -> Prepared:
    """Rows of all items.

    Args:
        work: its items.
        files: of the images that were fetched, by index.
        settings: limits of images.
        cancel: set when the client left.

    Raises:
        Refusal: INVALID, TOO_LONG, EMPTY, with the items.
        CancelledError: `cancel` was set.
    """
    began = time.monotonic()
    texts = [(i, item) for i, item in enumerate(work.items) if isinstance(item, str)]
    ids = [(i, item) for i, item in enumerate(work.items) if isinstance(item, TokenIds)]
    images = [(i, item) for i, item in enumerate(work.items) if isinstance(item, Picture)]
    parts = []
    rows, truncated = _text_rows(work, texts, cancel)
    rows += [work.model.check_ids(item) for _, item in ids]
    if rows:
        indices = [index for index, _ in (*texts, *ids)]
        parts.append(Part(work.text, indices, rows, [len(row) for row in rows]))
    if images:
        assert work.image is not None
        squares = _squares(work, images, files, settings, cancel)
        counts = [work.model.image_tokens] * len(squares)
        parts.append(Part(work.image, [index for index, _ in images], squares, counts))
    return Prepared(parts, tuple(truncated), time.monotonic() - began)


def _text_rows(
    work: Work, texts: Sequence[tuple[int, str]], cancel: threading.Event
) -> tuple[list[NDArray[Any]], list[int]]:
    if not texts:
        return [], []
    bad: list[tuple[int, str]] = []
    long: list[int] = []
    encoder = work.model.embedder.encoder
    # Of each request one text, since a look at other letters than ASCII takes 100 us.
    if (caution := encoder.languages.caution([texts[0][1]])) is not None:
        logger.warning("%s: %s", work.model.name, caution)
    encoded = encoder.token_ids(
        work.text,
        [clean(text) for _, text in texts],
        on_error=lambda place, reason: bad.append((texts[place][0], reason)),
        on_too_long=lambda place, _: long.append(place),
        cancel=cancel,
    )
    if long:
        raise _too_long(work, texts, long)
    if bad:
        raise _bad_items(bad)
    return list(encoded.ids), [texts[place][0] for place in encoded.truncated]


def _squares(
    work: Work,
    images: Sequence[tuple[int, Picture]],
    files: Mapping[int, bytes],
    settings: Settings,
    cancel: threading.Event,
) -> list[NDArray[np.uint8]]:
    spec = work.model.embedder.manifest.image
    assert spec is not None
    assert work.image is not None
    squares = []
    for index, item in images:
        source = files.get(index, item.source)
        assert isinstance(source, bytes)
        if cancel.is_set():
            raise Refusal(Kind.INTERNAL, "the client left")
        try:
            square = square_of(source, spec, settings, upright=work.image.upright, cancel=cancel)
        except RefusedImageError as error:
            raise _bad_items([(index, str(error).removeprefix("the file "))]) from None
        squares.append(square)
    return squares


def _too_long(work: Work, texts: Sequence[tuple[int, str]], long: Sequence[int]) -> Refusal:
    index, text = texts[long[0]]
    limit, given = work.text.max_length, None
    if len(text) <= COUNTED:
        given = int(work.model.embedder.encoder.count_tokens(work.text, [clean(text)])[0])
    more = f", and {len(long) - 1} others as well" if len(long) > 1 else ""
    return Refusal(
        Kind.TOO_LONG,
        f"input[{index}] has {given or f'more than {limit}'} tokens, and {work.model.name} "
        f"takes {limit}, prompt and special tokens included{more}; shorten it, or have it cut "
        "where the protocol can ask for that (truncate)",
        field="input",
        items=tuple(texts[place][0] for place in long),
        given=given,
        limit=limit,
    )


def _bad_items(bad: Sequence[tuple[int, str]]) -> Refusal:
    shown = "; ".join(f"input[{index}] {reason}" for index, reason in bad[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    return Refusal(
        Kind.INVALID, f"{shown}{more}", field="input", items=tuple(index for index, _ in bad)
    )
