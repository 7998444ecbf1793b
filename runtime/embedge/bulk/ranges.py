"""int8 and uint8 output whose buckets come from all the texts, not from the chunk at hand.

A stream is embedded in chunks; buckets by chunk would give one text different numbers in
different places. Here float32 rows (n, width) wait in a temporary file until the smallest and
largest values of all are known, then they are quantized and passed on.
"""

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embedge.bulk.records import Bad
from embedge.bulk.sinks import Done, Item, Sink
from embedge.errors import OptionError
from embedge.files.npy import NpyError, read_npy
from embedge.files.whole import WholeFile, find_obstacle
from embedge.vectors import check_ranges, quantize

BLOCK = 4096  # rows quantized at a time


def read_ranges(path: str) -> np.ndarray[Any, Any] | None:
    """The ranges (2, width) in a file; None if there is no file yet.

    Raises:
        OptionError: the file holds no ranges, or none can be written there.
    """
    if not Path(path).exists():
        if obstacle := find_obstacle(path):
            raise OptionError(f"{path} {obstacle}")
        return None
    try:
        ranges = read_npy(Path(path), (2, None), follow_links=True)
    except NpyError as error:
        raise OptionError(
            f"{path} {error}; name a file that an earlier run made, or a new one"
        ) from None
    try:
        return check_ranges(ranges, ranges.shape[1])
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


class RangesSink(Sink):
    """Holds float32 rows back, learns their ranges, quantizes them into another sink.

    Args:
        sink: for the quantized rows.
        embedding_type: "int8" or "uint8".
        width: numbers of a row.
        path: where the ranges are kept, as .npy (2, width); None: nowhere.
    """

    def __init__(self, sink: Sink, embedding_type: str, width: int, path: str | None) -> None:
        self._sink = sink
        self.filler = sink.filler
        self._type: Literal["int8", "uint8"] = "int8" if embedding_type == "int8" else "uint8"
        self._width = width
        self._path = path
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by finish and abandon
        self._items: list[Item] = []
        self._low = np.full(width, np.inf, np.float32)
        self._high = np.full(width, -np.inf, np.float32)

    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        """Holds the rows back."""
        try:
            self._file.write(np.ascontiguousarray(rows, np.float32).tobytes())
        except OSError as error:
            error.filename = tempfile.gettempdir()  # the file itself has no name
            raise
        self._items += items
        self._low = np.minimum(self._low, rows.min(axis=0))
        self._high = np.maximum(self._high, rows.max(axis=0))

    def refuse(self, bad: Bad) -> None:
        """Passes it on."""
        self._sink.refuse(bad)

    @property
    def count(self) -> int:
        """How many vectors the ranges come from so far."""
        return len(self._items)

    def finish(self, done: Done) -> None:
        """Quantizes all rows, passes them on, keeps the ranges if a file was named."""
        if self._items:
            ranges = np.stack([self._low, self._high])  # (2, width)
            self._file.seek(0)
            for start in range(0, len(self._items), BLOCK):
                items = self._items[start : start + BLOCK]
                data = self._file.read(4 * self._width * len(items))
                rows = np.frombuffer(data, np.float32).reshape(len(items), self._width)
                self._sink.write(items, quantize(rows, self._type, ranges=ranges))
            self._keep(ranges)
        self._file.close()
        self._sink.finish(done)

    def abandon(self) -> None:
        """Drops everything."""
        with contextlib.suppress(OSError):  # a full disk: what is held back cannot be flushed
            self._file.close()
        self._sink.abandon()

    def _keep(self, ranges: np.ndarray[Any, Any]) -> None:
        if self._path is None:
            return
        data = io.BytesIO()
        np.save(data, ranges)
        with WholeFile(self._path) as file:
            file.stream.write(data.getvalue())
