"""One part: rows in, a Parquet file with their vectors out. The same rows give the same bytes.

Takes chunks of rows and what embeds them; a row that cannot be embedded has a null vector, and the
reason in the column `error`. The file appears whole or not at all. Any process may do this,
for any part, in any order.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet as pq

from embedge.bulk.distinct import distinct
from embedge.bulk.job import Encode
from embedge.bulk.vectors_column import vectors_column, vectors_type
from embedge.files.whole import WholeFile
from embedge.parts.chunks import Chunk
from embedge.parts.plan import ERROR

_METADATA = b"embedge"  # key of the facts in a file's schema


@dataclass(frozen=True, slots=True)
class Entry:
    """A part that is written."""

    part: str  # name of the file
    rows: int
    errors: int  # rows without a vector
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Form:
    """What all parts have in common.

    Attributes:
        schema: the columns that are kept.
        into: name of the column of vectors.
        dtype: of its numbers.
        width: how many a row has.
        facts: what the vectors are, as plain JSON, for the file's metadata.
    """

    schema: pa.Schema
    into: str
    dtype: np.dtype[Any]
    width: int
    facts: Mapping[str, Any]

    @property
    def written(self) -> pa.Schema:
        """The columns of a part."""
        vectors = pa.field(self.into, vectors_type(self.dtype, self.width))
        fields = [*self.schema, vectors, pa.field(ERROR, pa.string())]
        return pa.schema(fields, {_METADATA: json.dumps(dict(self.facts), sort_keys=True).encode()})


def write_part(
    path: Path,
    chunks: Iterable[Chunk],
    encode: Encode,
    form: Form,
    *,
    on_refused: Callable[[int, str], None] = lambda row, reason: None,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> Entry:
    """Embeds the rows and writes them.

    Args:
        path: where the file will be.
        chunks: its rows, each chunk embedded at once.
        encode: `Embedder.encode` or `encode_image` with its options bound.
        form: of the file.
        on_refused: called with the number of a row in the part and the reason, for each row that
            has no vector, in order. What it raises stops the part.
        on_progress: called while rows are embedded, with the rows of the part that are done.

    Raises:
        OSError: the disk did not take it. Nothing is left behind.
    """
    rows = errors = 0
    with WholeFile(path) as file:
        counted = _Counted(file.stream)
        with _writer(counted, form) as writer:
            for chunk in chunks:
                vectors, reasons = embed_chunk(
                    chunk, encode, form, on_progress=_after(rows, on_progress)
                )
                for index, reason in enumerate(reasons):
                    if reason is not None:
                        errors += 1
                        on_refused(rows + index, reason)
                missing = np.array([reason is not None for reason in reasons])
                columns = [vectors_column(vectors, missing), pa.array(reasons, pa.string())]
                table = pa.Table.from_arrays([*chunk.table.columns, *columns], schema=form.written)
                writer.write_table(table, row_group_size=max(1, len(chunk)))
                rows += len(chunk)
    return Entry(path.name, rows, errors, counted.size, counted.digest.hexdigest())


def embed_chunk(
    chunk: Chunk,
    encode: Encode,
    form: Form,
    *,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> tuple[NDArray[Any], list[str | None]]:
    """Vectors (n, width) of a chunk, 0 where there is none, and the reasons of those rows.

    Equal texts, paths and files are embedded once.
    """
    reasons = [
        (reason or "is null") if item is None else None
        for item, reason in zip(chunk.items, chunk.reasons, strict=True)
    ]
    given = [(row, item) for row, item in enumerate(chunk.items) if item is not None]
    items, places = distinct([item for _, item in given])
    vectors = np.zeros((len(chunk), form.width), form.dtype)
    if items:
        refused: dict[int, str] = {}
        found = encode(
            items,
            on_error=refused.__setitem__,
            progress=lambda done, count: on_progress(done * len(given) // count),
        )
        if len(items) == len(chunk):  # each row has its own
            vectors = found
        else:
            vectors[[row for row, _ in given]] = found[places]
        if refused:
            for (row, _), place in zip(given, places, strict=True):
                reasons[row] = refused.get(place)
            vectors[[reason is not None for reason in reasons]] = 0
    return vectors, reasons


def _after(rows: int, on_progress: Callable[[int], None]) -> Callable[[int], None]:
    """The progress of a chunk as that of its part."""
    return lambda done: on_progress(rows + done)


@contextlib.contextmanager
def _writer(stream: Any, form: Form) -> Iterator[Any]:
    """A Parquet writer whose bytes follow from what is written, and from pyarrow's version."""
    flat = [field.name for field in form.schema if not pa.types.is_nested(field.type)]
    writer = pq.ParquetWriter(
        stream,
        form.written,
        compression="zstd",
        use_dictionary=flat,  # no two vectors are alike
        write_statistics=[*flat, ERROR],
    )
    try:
        yield writer
    except BaseException:
        with contextlib.suppress(Exception):  # a full disk once more; what is raised tells more
            writer.close()
        raise
    writer.close()


class _Counted:
    """A binary stream that knows how much was written to it, and the digest of it."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._stream.write(view)
        self.digest.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """The stream is closed by who opened it."""
