"""Batches of rows to the same batches with a column of vectors: what engines map over their data.

Ray Data, Spark, `datasets`, Polars and others cut data into batches, send a function to their
workers and put together what it gives. `EmbedBatches` is that function. It knows no engine: batches
come in behind `frames`, and the pack is opened where the first of them arrives.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedge.bulk.distinct import distinct
from embedge.bulk.frames import Column, Vectors, frame_of, values_of
from embedge.calls import Tower
from embedge.closing import explained
from embedge.embedder import Embedder
from embedge.errors import InputError, MemoryLimitError, OptionError
from embedge.items import OnError
from embedge.options import check_one_of, shown
from embedge.reopening import open_once
from embedge.texts.tokens import OnOverflow
from embedge.vectors import EmbeddingType, check_embedding_type

PackOrEmbedder: TypeAlias = "str | os.PathLike[str] | Embedder | None"
Side = Literal["query", "document"]
OnBadRow = Literal["raise", "null"]
_NO_PATH = re.compile("data:|https?://|$", re.IGNORECASE)  # of what is written for an image


class EmbedBatches:
    """A function that adds a column of vectors to a batch of rows. Safe between threads.

    A batch is a dict of lists or arrays, a pandas or Polars DataFrame, or an Arrow Table or
    RecordBatch. The result is of the same kind, with all rows in their order and all other columns.
    The vectors are rows of an array (n, width) for a dict of arrays, a list of arrays for a dict of
    lists, objects in pandas, an Array in Polars, and a fixed-size list in Arrow. Rows with equal
    texts are embedded once.

    It can be pickled. The pack is opened at the first batch, once a process, however often the
    function is sent there.

    Args:
        pack: folder or name of the pack; the one that embedge bundles if None. Or an `Embedder`,
            for options that are not here; workers then refuse any other pack than that one.
        column: where the texts stand, or the images.
        into: the new column.
        tower: "text", or "image" for a column of paths, bytes, or `datasets`' records of both.
        root: the folder that relative paths of images start from; by default the current one,
            which may be another in each worker.
        side: "document" or "query": task and prompt as `Embedder.encode_document` and
            `encode_query` choose them. If left out: "document" where neither task nor prompt is
            given, else what these say, as for `Embedder.encode`. For texts only.
        task: one of the pack's, or "retrieval.query" / "retrieval.passage".
        prompt_name: as for `Embedder.encode`, and so are the next ones.
        prompt: see `Embedder.encode`.
        truncate_dim: see `Embedder.encode`.
        max_length: see `Embedder.encode`.
        normalize: see `Embedder.encode`.
        embedding_type: "float32"; "binary" (int8) and "ubinary" (uint8), eight dimensions a byte;
            "int8" and "uint8", which need ranges.
        ranges: (2, width); see `embedge.quantize`. Ranges of a batch would give a text other
            numbers in another batch.
        on_overflow: see `Embedder.encode`.
        on_error: "raise", or "null": a row that cannot be embedded has no vector (None or null; in
            an array NaN, or 0 in the smaller types), and its reason stands in a column of its own.
        errors: the column of reasons with on_error="null", None where there is none; by default the
            name of `into` and "_error".
        precision: as for `Embedder`, and so are `device` and `threads`.
        device: see `precision`.
        threads: of one run, in each worker; by default OMP_NUM_THREADS, which Ray and Spark set.

    Raises:
        OptionError: options contradict each other. What the pack does not have shows when it is
            opened.

    >>> embed = EmbedBatches(task="retrieval", column="title", truncate_dim=64)
    >>> batch = embed({"id": [1, 2], "title": ["Mars", "Venus"]})
    >>> list(batch), batch["embedding"][0].shape
    (['id', 'title', 'embedding'], (64,))
    >>> tolerant = EmbedBatches(column="title", on_error="null")
    >>> batch = tolerant({"title": ["Mars", None]})
    >>> batch["embedding"][1], batch["embedding_error"]
    (None, [None, 'is None, not str'])
    """

    @explained
    def __init__(
        self,
        pack: PackOrEmbedder = None,
        *,
        column: str = "text",
        into: str = "embedding",
        tower: Tower = "text",
        root: str | os.PathLike[str] | None = None,
        side: Side | None = None,
        task: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        normalize: bool = True,
        embedding_type: EmbeddingType = "float32",
        ranges: ArrayLike | None = None,
        on_overflow: OnOverflow = "truncate",
        on_error: OnBadRow = "raise",
        errors: str | None = None,
        precision: str = "auto",
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        check_one_of(tower, "tower", get_args(Tower))
        check_one_of(on_error, "on_error", get_args(OnBadRow))
        check_embedding_type(embedding_type, ranges)
        if embedding_type in ("int8", "uint8") and ranges is None:
            raise OptionError(
                f"{embedding_type} needs ranges= here: without it, a text's numbers would depend "
                "on its batch"
            )
        if errors is not None and on_error == "raise":
            raise OptionError('errors= is for on_error="null"; leave one of the two out')
        if on_error == "null" and errors is None:
            errors = f"{into}_error"
        _check_names(column, into, errors)
        open_options = {"precision": precision, "device": device, "threads": threads}
        if isinstance(pack, Embedder) and (precision, device, threads) != ("auto", "auto", None):
            raise OptionError(
                "precision, device and threads are those of the Embedder that was passed; leave "
                "them out, or pass the pack's folder"
            )
        self._pack = pack if pack is None or isinstance(pack, Embedder) else os.fspath(pack)
        self._open_options = open_options
        self._embedder = pack if isinstance(pack, Embedder) else None
        self._column, self._into, self._errors = column, into, errors
        self._tower = tower
        self._root = None if root is None else os.fspath(root)
        self._call: dict[str, Any] = {
            "task": task,
            "truncate_dim": truncate_dim,
            "normalize": normalize,
            "embedding_type": embedding_type,
            "ranges": ranges,
        }
        for_texts: dict[str, Any] = {
            "side": side,
            "prompt_name": prompt_name,
            "prompt": prompt,
            "max_length": max_length,
            "on_overflow": on_overflow,
        }
        if tower == "image":
            _refuse_given(for_texts)
            self._side = None
        elif root is not None:
            raise OptionError('root= is for images, and tower is "text"; leave it out')
        else:
            self._side = _side(task=task, **for_texts)
            del for_texts["side"]
            if self._side is not None:
                del for_texts["prompt_name"]  # the side chooses it
            self._call |= for_texts

    def __call__(self, batch: Any) -> Any:
        """The batch with the new column, and that of errors with on_error="null".

        Args:
            batch: n rows; see the class.

        Raises:
            InputError: it is no batch that is known, or has no such column.
            TextError, ImageError, TextTooLongError: some rows cannot be embedded, with
                on_error="raise"; the error counts the rows of the batch.
            EmbedgeError: as `Embedder` and `Embedder.encode`.
        """
        frame = frame_of(batch)
        values = values_of(frame, self._column)
        if self._tower == "image":
            values = [_image(value, self._root) for value in values]
        bad: dict[int, str] = {}
        if self._errors is None:
            rows = self._embed_all(values)
        else:
            items, places = distinct(values)
            refused: dict[int, str] = {}
            rows = self._embed(items, on_error=refused.__setitem__)
            rows = rows if len(items) == len(values) else rows[places]
            bad = {row: refused[place] for row, place in enumerate(places) if place in refused}
        missing = np.zeros(len(values), bool)
        missing[list(bad)] = True
        columns: dict[str, Column] = {self._into: Vectors(rows, missing)}
        if self._errors is not None:
            columns[self._errors] = [bad.get(row) for row in range(len(values))]
        return frame.with_columns(columns)

    @property
    def embedder(self) -> Embedder:
        """The pack, opened if it is not yet.

        Raises:
            PackError: it cannot be opened, or is another one than that of the `Embedder` passed.
            OptionError, DeviceError: as `Embedder`.
        """
        embedder = self._embedder
        if embedder is None:
            options = {"path": self._pack, **self._open_options}
            embedder = self._embedder = open_once(Embedder, options)
        return embedder

    @property
    def width(self) -> int:
        """Numbers of a vector, or bytes of a binary one, for schemas; opens the pack."""
        return int(self._embed([]).shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of these numbers: float32, int8 or uint8; opens the pack."""
        return self._embed([]).dtype

    def __getstate__(self) -> dict[str, Any]:
        """All but a pack that was opened here: the other process opens its own."""
        kept = self._pack if isinstance(self._pack, Embedder) else None
        return {**self.__dict__, "_embedder": kept}

    def __repr__(self) -> str:
        return f"<EmbedBatches {self._column!r} into {self._into!r} with {self._pack or 'embedge'}>"

    def _embed_all(self, values: Sequence[Any]) -> NDArray[Any]:
        """Rows (n, width); the error for a bad one counts all rows."""
        items, places = distinct(values)
        try:
            rows = self._embed(items)
        except (InputError, MemoryLimitError):
            if len(items) == len(values):
                raise
            return self._embed(values)  # raises the same, with the rows' own numbers
        return rows if len(items) == len(values) else rows[places]

    def _embed(self, items: Sequence[Any], *, on_error: OnError | None = None) -> NDArray[Any]:
        """Rows (n, width) of texts or images."""
        embedder = self.embedder
        encode: Any = embedder.encode
        if self._tower == "image":
            encode = embedder.encode_image
        elif self._side is not None:
            by_side: Mapping[Side, Any] = {
                "query": embedder.encode_query,
                "document": embedder.encode_document,
            }
            encode = by_side[self._side]
        rows: NDArray[Any] = encode(items, on_error=on_error, **self._call)
        return rows


def _check_names(column: str, into: str, errors: str | None) -> None:
    names = [name for name in (column, into, errors) if name is not None]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise OptionError(
            f"column, into and errors are {shown(names)}; they must be different texts"
        )


def _refuse_given(for_texts: Mapping[str, Any]) -> None:
    for name, value in for_texts.items():
        if value not in (None, "truncate"):
            raise OptionError(f'{name}= is for texts, and tower is "image"; leave it out')


def _side(
    *, side: Side | None, task: str | None, prompt_name: str | None, prompt: str | None, **_: Any
) -> Side | None:
    """Which of the methods of `Embedder` a call means; None for `encode`."""
    if side is None:
        return "document" if task is prompt_name is prompt is None else None
    check_one_of(side, "side", get_args(Side))
    if prompt_name is not None:
        raise OptionError("side= chooses the prompt; leave it or prompt_name= out")
    return side


def _image(value: object, root: str | None) -> object:
    """What `Embedder.encode_image` takes; `datasets` and Arrow keep bytes and path in a record."""
    if isinstance(value, Mapping) and value.keys() <= {"bytes", "path"}:
        value = value.get("bytes") or value.get("path")
    if root is None or not isinstance(value, str) or _NO_PATH.match(value):
        return value
    return os.path.join(root, value)  # noqa: PTH118 an absolute one stays
