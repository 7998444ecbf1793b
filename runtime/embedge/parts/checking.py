"""Rows of parts that are done, embedded again and compared with what the parts hold.

A hash says that a part is as it was written; this says that what was written are the vectors of its
rows. Takes a plan, the folder and the encoder of a run, and how many rows; chooses them at random.
Changes nothing.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet as pq

from embedge.bulk.job import Encode
from embedge.parts.folder import RunFolder
from embedge.parts.part import Form, embed_chunk
from embedge.parts.plan import Plan
from embedge.parts.run import part_name
from embedge.vectors import normalize, row_cosines


@dataclass(frozen=True, slots=True)
class Wrong:
    """A row whose vector is not the one that its part holds."""

    row: int  # in all inputs, from 0
    part: str  # name of the file
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of it."""

    rows: int  # compared
    same: int  # bit for bit, or without a vector both times
    least: float  # cosine of those with other bits that are not wrong; 1 where there are none
    wrong: tuple[Wrong, ...]


def check_rows(
    plan: Plan,
    folder: RunFolder,
    encode: Encode,
    form: Form,
    parts: Iterable[int],
    *,
    count: int,
    bar: float,
    bits: bool = False,
    chance: random.Random | None = None,
    on_progress: Callable[[int, int], None] = lambda done, count: None,
) -> Checked:
    """Embeds rows again and compares them.

    Args:
        plan: the work.
        folder: where the parts stand.
        encode: `Embedder.encode` or `encode_image` with the run's options bound.
        form: of the parts.
        parts: numbers of parts that are done, from which rows are taken.
        count: how many rows; of fewer, all.
        bar: the least cosine at which two vectors are the same row's. Of bits, the angle that
            belongs to it is taken, by how many bits it turns.
        bits: whether a number is 8 bits.
        chance: chooses the rows; by default others each time.
        on_progress: called with the rows that are compared, of how many.

    Raises:
        InputError: an input cannot be read.
        OSError: a part cannot be read.
    """
    rows = _choose([plan.rows_of(part) for part in parts], count, chance or random.Random())
    if bits:
        bar = 1 - 2 * math.acos(bar) / math.pi
    done = same = 0
    least = 1.0
    wrong: list[Wrong] = []
    for chunk in plan.rows_alone(rows):
        at = rows[done : done + len(chunk)]
        again, reasons = embed_chunk(chunk, encode, form)
        held, missing = _stored(folder.parts, plan, at, form)
        equal = (again == held).all(axis=1)
        cosines = row_cosines(_directions(again, bits), _directions(held, bits))
        for index, row in enumerate(at):
            gone = reasons[index] is not None
            if gone != missing[index]:
                reason = "has no vector in the part, and should have one"
                if gone:
                    reason = f"has a vector in the part, and should have none: {reasons[index]}"
            elif gone or equal[index]:
                same += 1
                continue
            elif cosines[index] >= bar:
                least = min(least, float(cosines[index]))
                continue
            else:
                reason = f"the vector is not this row's: cosine {cosines[index]:.3f}"
            wrong.append(Wrong(row, part_name(row // plan.rows_per_part), reason))
        done += len(chunk)
        on_progress(done, len(rows))
    return Checked(done, same, least, tuple(wrong))


def _choose(spans: Sequence[range], count: int, chance: random.Random) -> list[int]:
    """So many rows of these ranges, in order."""
    whole = sum(len(span) for span in spans)
    chosen = sorted(chance.sample(range(whole), min(count, whole)))
    rows: list[int] = []
    first = 0
    for span in spans:
        while len(rows) < len(chosen) and chosen[len(rows)] < first + len(span):
            rows.append(span.start + chosen[len(rows)] - first)
        first += len(span)
    return rows


def _stored(
    folder: Path, plan: Plan, rows: Sequence[int], form: Form
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """What the parts hold for these rows: (n, width), 0 where it is null, and where that is."""
    columns = []
    for part, group_of_rows in itertools.groupby(rows, lambda row: row // plan.rows_per_part):
        inside = [row - part * plan.rows_per_part for row in group_of_rows]
        with pq.ParquetFile(folder / part_name(part)) as file:
            start = 0
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                wanted = [row - start for row in inside if start <= row < stop]
                if wanted:
                    table = file.read_row_group(group, columns=[form.into])
                    columns.append(table[form.into].combine_chunks().take(pa.array(wanted)))
                start = stop
    missing = np.concatenate(
        [column.is_null().to_numpy(zero_copy_only=False) for column in columns]
    )
    vectors = np.zeros((len(rows), form.width), form.dtype)
    flat = [column.drop_null().flatten().to_numpy() for column in columns]
    vectors[~missing] = np.concatenate(flat).reshape(-1, form.width)
    return vectors, missing


def _directions(rows: NDArray[Any], bits: bool) -> NDArray[np.float32]:
    """Vectors of any type as floats of length 1; uint8 is int8 shifted by 128."""
    if rows.dtype == np.float32:
        return normalize(rows)
    if bits:  # binary is ubinary shifted by 128
        codes = (rows.astype(np.int16) + 128).astype(np.uint8) if rows.dtype == np.int8 else rows
        return normalize(np.unpackbits(codes, axis=1).astype(np.float32) - 0.5)
    numbers = rows.astype(np.float32)
    return normalize(numbers - 128 if rows.dtype == np.uint8 else numbers)
