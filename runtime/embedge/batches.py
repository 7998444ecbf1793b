"""The plan: which items run together, so that little is padded and memory stays bounded.

Takes token ids, or pixels, and the limits; gives batches. Pure, and knows neither texts, image
files nor networks. Texts are sorted by token count and cut into runs by cost, never by a fixed
number of texts: that is what makes both the speed and the peak memory predictable. Images are all
of one size, and run in the order in which they come.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.errors import MemoryLimitError
from embedge.items import OnError
from embedge.pack.manifest import MemoryCost
from embedge.sizes import size_text

# At this length attention costs about as much as all linear layers of a 0.6B decoder together
# (28 layers: 880 MFLOP a token for the linears, 229 kFLOP a token and position for attention).
ATTENTION_LENGTH = 4096
# Tokens; a decoder's graph attends to longer texts by another kernel
# (embedge_export/graph/causal.py), so that they never share a run with shorter ones: a text's
# vector would depend on its neighbors.
LONG = 1024
# The lengths of long texts are padded to a multiple of it. Their kernel works in blocks, and counts
# a block of one token in another order.
LONG_MULTIPLE = 16
# Padding that one run may hold: a share of it, or this many tokens, about what starting another
# run costs (the weights are read once more).
PADDING_SHARE = 1 / 8
PADDING_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """What one run takes."""

    indices: NDArray[np.int64]  # (B,): which of the call's items
    inputs: tuple[NDArray[Any], ...]  # what the graph takes, in its order; (B, …) each
    memory: float  # bytes that the run is estimated to take, weights not included
    more: bool = False  # whether another run of the same call is sure to follow


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may cost."""

    token_budget: int  # padded tokens, long texts counted higher (see `cost`)
    memory: MemoryCost
    memory_limit: int | None  # bytes; None: unknown, not bounded
    blocks: bool = False  # whether attention to long texts works in blocks here, with no square
    # Lengths that one short text is padded to, where runs of fixed lengths are captured; ascending.
    buckets: tuple[int, ...] = ()
    largest_first: bool = False  # whether runs come in the order of what they take; see `run_cost`


def cost(rows: int, length: int) -> float:
    """Work of one run in tokens: padded tokens plus a length-squared term for attention."""
    return rows * length * (1 + length / ATTENTION_LENGTH)


def estimate_memory(limits: Limits, rows: int, length: int) -> float:
    """Transient bytes of one run of `rows` texts padded to `length` tokens."""
    memory = limits.memory
    squared = 0.0 if limits.blocks and length > LONG else memory.per_token_squared
    return (memory.per_token + squared * length) * rows * length


def text_batches(
    ids: Sequence[NDArray[np.int32]], limits: Limits, pad_token_id: int
) -> Iterator[Batch]:
    """Texts, as ids (length,), planned and padded: input_ids and attention_mask, int64 (B, S).

    Raises:
        MemoryLimitError: one text alone would exceed the memory limit. Nothing was run.
    """
    lengths = [len(row) for row in ids]
    runs = plan(lengths, limits)
    if limits.largest_first:
        runs.sort(key=lambda run: -estimate_memory(limits, len(run), lengths[run[0]]))
    for number, indices in enumerate(runs, start=1):
        buckets = limits.buckets if len(indices) == 1 else ()
        inputs = pad([ids[index] for index in indices], pad_token_id, buckets)
        memory = estimate_memory(limits, *inputs[0].shape)
        yield Batch(indices, inputs, memory, more=number < len(runs))


def image_batches(
    pixels: Iterable[tuple[int, NDArray[np.float32]]], most: int, *, per_image: int
) -> Iterator[Batch]:
    """Images, as index and pixels (3, S, S), by `most` at a time: pixel_values, (B, 3, S, S).

    Args:
        pixels: read as they are run.
        most: images of one run; see `images_per_run`.
        per_image: transient bytes of a run, for each image; 0: not known.
    """
    coming = iter(pixels)
    while held := list(itertools.islice(coming, most)):
        indices = np.array([index for index, _ in held], np.int64)
        yield Batch(indices, (np.stack([rows for _, rows in held]),), per_image * len(held))


def images_per_run(most: int, *, per_image: int, memory_limit: int | None) -> int:
    """How many images one run takes.

    Args:
        most: as many as suit the device.
        per_image: transient bytes of a run, for each image; 0: not known.
        memory_limit: bytes of one run; None: not bounded.

    Raises:
        MemoryLimitError: one alone would exceed the memory limit.
    """
    if memory_limit is None or per_image == 0:
        return most
    if per_image > memory_limit:
        raise MemoryLimitError(
            f"one image would need about {size_text(per_image)}, the limit is "
            f"{size_text(memory_limit)}; allow more with memory_limit=. Nothing was run"
        )
    return min(most, memory_limit // per_image)


def plan(lengths: Sequence[int], limits: Limits) -> list[NDArray[np.int64]]:
    """Cuts texts into runs.

    Longest first: if something is to fail for lack of memory, it fails at the start and not
    after an hour, and an arena is sized once.

    Args:
        lengths: tokens of every text; one of 0 runs nowhere.
        limits: what one run may cost. A single text above the token budget runs alone.

    Returns:
        Index arrays; together they hold every index of a text with tokens exactly once. The first
        index of an array is that of its longest text.

    Raises:
        MemoryLimitError: one text alone would exceed the memory limit. Nothing was run.
    """
    tokens = np.asarray(lengths, dtype=np.int64)
    # Stable, so that equal texts keep their order and a plan can be predicted.
    order = np.argsort(-tokens, kind="stable")[: np.count_nonzero(tokens)]
    if len(order):
        check_longest(int(order[0]), int(tokens[order[0]]), limits)
    runs: list[NDArray[np.int64]] = []
    start, padding = 0, 0
    for position in range(1, len(order) + 1):
        if position < len(order):
            longest, rows = int(tokens[order[start]]), position - start + 1
            shortest = int(tokens[order[position]])
            padding += longest - shortest
            alike = (longest > LONG) == (shortest > LONG)
            if alike and _fits(rows, longest, padding, limits):
                continue
        runs.append(order[start:position])
        start, padding = position, 0
    return runs


def run_around(lengths: Sequence[int], position: int, limits: Limits) -> slice:
    """The texts that run together with one of them: what a queue takes next.

    Args:
        lengths: tokens of the texts that wait, ascending, none of 0.
        position: the text that has to be in the run.
        limits: what one run may cost. A text above the token budget runs alone.

    Returns:
        Neighbors within `lengths`: shorter texts first, as far as they fit, then longer ones.
        `plan` makes one run of them.
    """
    start, stop = position, position + 1
    total = lengths[position]  # tokens without padding

    def fits(longest: int, shortest: int, rows: int, tokens: int) -> bool:
        alike = (longest > LONG) == (shortest > LONG)
        return alike and _fits(rows, longest, rows * longest - tokens, limits)

    while start and fits(
        lengths[stop - 1], lengths[start - 1], stop - start + 1, total + lengths[start - 1]
    ):
        start -= 1
        total += lengths[start]
    while stop < len(lengths) and fits(
        lengths[stop], lengths[start], stop - start + 1, total + lengths[stop]
    ):
        total += lengths[stop]
        stop += 1
    return slice(start, stop)


def pad(
    ids: Sequence[NDArray[np.int32]], pad_token_id: int, buckets: Sequence[int] = ()
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Puts token ids into one array, padded on the right.

    To the longest, or to the least of `buckets`, which ascend, that holds it.

    Returns:
        input_ids and attention_mask, both (B, S); the mask is 1 where a token is.
    """
    longest = max(len(row) for row in ids)
    if longest > LONG:
        longest += -longest % LONG_MULTIPLE
    longest = next((bucket for bucket in buckets if bucket >= longest), longest)
    shape = (len(ids), longest)
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    for index, row in enumerate(ids):
        input_ids[index, : len(row)] = row
        attention_mask[index, : len(row)] = 1
    return input_ids, attention_mask


def _fits(rows: int, length: int, padding: int, limits: Limits) -> bool:
    return (
        cost(rows, length) <= limits.token_budget
        and padding <= max(PADDING_TOKENS, PADDING_SHARE * rows * length)
        and (
            limits.memory_limit is None
            or estimate_memory(limits, rows, length) <= limits.memory_limit
        )
    )


def check_longest(item: int, length: int, limits: Limits) -> None:
    """Refuses a text that would exceed the memory limit alone.

    Memory grows with length, so the longest text stands for all.

    Where long texts are done in blocks, one of LONG tokens can take more than a somewhat longer
    one; it then runs alone, and what it takes beyond the limit is a square of LONG.

    Raises:
        MemoryLimitError: it would. Nothing was run.
    """
    if reason := _too_much(length, limits):
        raise MemoryLimitError(f"item {item} {reason}. Nothing was run")


def within_memory(
    ids: Sequence[NDArray[np.int32]], limits: Limits, refuse: OnError
) -> list[NDArray[np.int32]]:
    """The same ids, none for a text that would exceed the memory limit alone.

    Args:
        ids: one (length,) array a text.
        limits: what one run may cost.
        refuse: called as refuse(index, reason) for each such text.
    """
    kept = list(ids)
    for index, row in enumerate(kept):
        if reason := _too_much(len(row), limits):
            refuse(index, reason)
            kept[index] = row[:0]
    return kept


def _too_much(length: int, limits: Limits) -> str | None:
    """Why a text of so many tokens can't be run; None where it can."""
    needed = estimate_memory(limits, 1, length)
    if limits.memory_limit is None or needed <= limits.memory_limit:
        return None
    return (
        f"has {length} tokens and would need about {size_text(needed)}, the limit is "
        f"{size_text(limits.memory_limit)}; shorten it with max_length=, or allow more with "
        "memory_limit="
    )
