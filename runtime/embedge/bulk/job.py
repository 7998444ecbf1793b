"""Many texts or images to vectors: records in, rows to a sink, in input order and bounded memory.

Takes `Record` and `Bad` (`records.py`, or your own), what encodes them and a `Sink`. Knows no
model and prints nothing: what happens on the way is reported through two callbacks, what came of it
in a `Summary`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from embedge.bulk.records import NO_PLACE, Bad, Record
from embedge.bulk.sinks import Done, Item, Sink
from embedge.errors import CancelledError, MemoryLimitError
from embedge.reasons import one_line
from embedge.windows import TEXTS, Window, windows

NOTHING_DONE = Done()


class Encode(Protocol):
    """`Embedder.encode` or `Embedder.encode_image`, with its options bound."""

    def __call__(
        self,
        items: Sequence[str | bytes],
        /,
        *,
        on_error: Callable[[int, str], None],
        progress: Callable[[int, int], None],
    ) -> np.ndarray[Any, Any]:
        """Rows (n, width); a row that `on_error` was called for is ignored."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far a job is."""

    embedded: int  # records
    fraction: float | None  # of the input, from 0 to 1; None where its size is not known


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a job."""

    embedded: int  # records whose vectors were written
    bad: int  # records that were left out
    cut: int  # texts longer than the limit, of which the beginning was embedded


class Job:
    """Embeds a stream of records into a sink. A job runs once.

    >>> from functools import partial
    >>> from pathlib import Path
    >>> from embedge import Embedder
    >>> from embedge.bulk.records import read_records
    >>> from embedge.bulk.sinks import open_sink
    >>> with Embedder() as embedder:
    ...     sink = open_sink(Path("vectors.npy"), "npy", embedding_type="float32", width=256)
    ...     job = Job(partial(embedder.encode, task="retrieval"), sink)
    ...     job.run(read_records(["texts.jsonl"]))
    Summary(embedded=2, bad=0, cut=0)

    To stop it from another thread, bind `cancel=` of the encoder to an event. Whatever ends it
    early, an exception of a callback included, the sink is abandoned and leaves no file.

    Args:
        encode: `Embedder.encode` or `encode_image` with its options bound.
        sink: where the rows go; the job finishes or abandons it.
        window: how many records are held at a time: `TEXTS` or `IMAGES` of `embedge.windows`.
        total: bytes of the whole input, for `Step.fraction`; None if not known.
        truncations: the encoder's count of texts that it cut so far, for `Summary.cut`.
        on_progress: called while a chunk is embedded.
        on_refused: called with the place (`Record.where`) and the reason of each record that is
            left out.
        done: what an earlier job has written to the sink; its items are read and not embedded.
    """

    def __init__(
        self,
        encode: Encode,
        sink: Sink,
        *,
        window: Window = TEXTS,
        total: int | None = None,
        truncations: Callable[[], int] = lambda: 0,
        on_progress: Callable[[Step], None] = lambda step: None,
        on_refused: Callable[[str, str], None] = lambda where, reason: None,
        done: Done = NOTHING_DONE,
    ) -> None:
        self._encode = encode
        self._sink = sink
        self._window = window
        self._total = total
        self._truncations = truncations
        self._on_progress = on_progress
        self._on_refused = on_refused
        self._read = 0  # bytes of the chunks before this one
        self._done = done
        self._embedded = done.embedded
        self._bad = done.bad

    def run(self, records: Iterable[Record | Bad]) -> Summary:
        """Embeds all records and finishes the sink.

        A text that needs more memory than the limit is left out, as other bad records are.

        Raises:
            Exception: of the encoder, the sink or a callback.
        """
        before, count = self._truncations() - self._done.cut, self._done.items
        left = self._left(records)
        try:
            for chunk in windows(left, self._window, size=lambda record: record.size):
                count += sum(item.index != NO_PLACE for item in chunk)
                self._work(chunk)
                cut = self._truncations() - before
                self._sink.checkpoint(Done(count, self._embedded, self._bad, cut))
            cut = self._truncations() - before
            self._sink.finish(Done(count, self._embedded, self._bad, cut))
        except (KeyboardInterrupt, CancelledError):
            self._sink.suspend()
            raise
        except BaseException:
            self._sink.abandon()
            raise
        return Summary(self._embedded, self._bad, cut)

    def _left(self, records: Iterable[Record | Bad]) -> Iterator[Record | Bad]:
        """The records that are not done yet."""
        for record in records:
            if NO_PLACE != record.index < self._done.items:
                self._read += record.size
            else:
                yield record

    def _work(self, chunk: Sequence[Record | Bad]) -> None:
        for item in chunk:
            if isinstance(item, Bad):
                self._refuse(item)
        records = [item for item in chunk if isinstance(item, Record)]
        size = sum(item.size for item in chunk)
        if records:
            self._embed(records, size)
        self._read += size

    def _embed(self, records: Sequence[Record], size: int) -> None:
        bad: dict[int, str] = {}
        try:
            rows = self._encode(
                [record.text for record in records],
                on_error=bad.__setitem__,
                progress=self._reporter(size),
            )
        except MemoryLimitError as error:
            # Refused before anything ran, for the sake of some texts: find them by halves.
            if len(records) == 1:
                self._refuse(_bad(records[0], one_line(error)))
                return
            middle = len(records) // 2
            self._embed(records[:middle], 0)
            self._embed(records[middle:], size)
            return
        for index in sorted(bad):
            self._refuse(_bad(records[index], bad[index]))
        kept = [index for index in range(len(records)) if index not in bad]
        items = [Item(records[index].index, records[index].id) for index in kept]
        if items:
            self._sink.write(items, rows[kept])
        self._embedded += len(kept)

    def _reporter(self, size: int) -> Callable[[int, int], None]:
        """The encoder's progress in a chunk of so many bytes, as a step of the whole."""

        def report(done: int, count: int) -> None:
            fraction = None
            if self._total:
                fraction = (self._read + size * done / max(count, 1)) / self._total
            self._on_progress(Step(self._embedded + done, fraction))

        return report

    def _refuse(self, bad: Bad) -> None:
        self._bad += 1
        self._sink.refuse(bad)
        self._on_refused(bad.where, bad.reason)


def _bad(record: Record, reason: str) -> Bad:
    return Bad(record.index, record.where, reason, record.size, record.id)
