"""What an actor of the cluster does: opens the pack once, makes parts, and says what came of each.

Errors are sent back as values: an engine that sees an exception tries again, or wraps it into a
traceback. Needs no Ray, so that it can be tested without one.
"""

import contextlib
import os
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from embedge.cluster.nodes import Seen, check_node, look
from embedge.embedder import Embedder
from embedge.errors import ClusterError, EmbedgeError
from embedge.parts.part import Entry, Form, write_part
from embedge.parts.plan import Plan
from embedge.parts.run import part_name, refuser

OUTCOME = "outcome"  # the column of what an actor gives
PART = "item"  # the column of what it takes, as Ray calls that of plain values
TRIES = 5  # times that a part is made again; Ray itself would never end


@dataclass(frozen=True, slots=True)
class Work:
    """All that an actor needs.

    Attributes:
        plan: of all parts.
        parts: the folder that they are written to.
        form: of the parts.
        embedder: is opened again where this is unpickled.
        encode: its method for the items, with its options bound.
        stop_at_error: whether a row that has no vector stops the run.
    """

    plan: Plan
    parts: Path
    form: Form
    embedder: Embedder
    encode: Callable[..., Any]
    stop_at_error: bool


@dataclass(frozen=True, slots=True)
class Made:
    """A part that is written.

    Attributes:
        number: of the part.
        entry: its line for the list.
        refused: where each row without a vector stands, and the reason.
        tokens: that were embedded.
        cut: texts that were cut.
    """

    number: int
    entry: Entry
    refused: list[tuple[str, str]]
    tokens: int
    cut: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A part that is not written.

    Attributes:
        error: why; one that cannot be sent is named by its text.
        trace: where it was raised.
    """

    error: Exception
    trace: str


Outcome: TypeAlias = Made | Failed


class PartWorker:
    """A callable class for `ray.data.Dataset.map_batches`: numbers of parts in, outcomes out.

    Args:
        work: a pickled `Work`.
        current: the folder that relative paths start from.
        seen: what has to be the same here.
    """

    def __init__(self, work: bytes, current: str, seen: Seen) -> None:
        self._failed: Failed | None = None
        try:
            found = look(seen.marker, list(seen.versions))
            check_node(found, seen)
            with contextlib.suppress(OSError):  # without relative paths nothing depends on it
                os.chdir(current)
            self._open(work, found["node"])
        except Exception as error:
            self._failed = _failed(error)

    def _open(self, work: bytes, node: str) -> None:
        try:
            self._work: Work = pickle.loads(work)
        except EmbedgeError as error:
            error.args = (f"on the Ray node {node}: {error}",)
            raise
        _check_inputs(self._work, node)

    def __call__(self, batch: Any) -> Any:
        """Makes the parts of a batch, a `pyarrow.Table` with the column "item"."""
        outcomes = [pickle.dumps(self._make(number)) for number in batch[PART].to_pylist()]
        return pa.table({OUTCOME: pa.array(outcomes, pa.binary())})

    def _make(self, number: int) -> Outcome:
        if self._failed is not None:
            return self._failed
        try:
            return make_part(self._work, number)
        except Exception as error:
            return _failed(error)


def make_part(work: Work, number: int) -> Made:
    """Makes one part, or makes it once more, with the same bytes.

    Raises:
        ClusterError: processes died at it again and again; each has left a temporary file.
        InputError: a row has no vector, with `stop_at_error`; or an input cannot be read.
        OSError: the disk did not take it.
    """
    path = work.parts / part_name(number)
    if len(list(work.parts.glob(f".{path.stem}.*"))) > TRIES:
        raise ClusterError(
            f"{TRIES + 1} processes of the Ray cluster died when they made {path.name}, for want "
            "of memory perhaps; look into Ray's logs, then try a smaller --memory-limit"
        )
    refused: list[tuple[str, str]] = []
    encoder = work.embedder.encoder
    tokens, cut = encoder.tokens, work.embedder.truncations
    _, chunks = next(work.plan.chunks([number]))
    entry = write_part(
        path,
        chunks,
        work.encode,
        work.form,
        on_refused=refuser(
            work.plan,
            number,
            lambda where, reason: refused.append((where, reason)),
            stop=work.stop_at_error,
        ),
    )
    return Made(number, entry, refused, encoder.tokens - tokens, work.embedder.truncations - cut)


def _check_inputs(work: Work, node: str) -> None:
    """Refuses a node that does not have the files which the plan was made from."""
    for source in work.plan.sources:
        file = source.input
        try:
            size = file.filesystem.get_file_info(file.path).size
        except (OSError, pa.ArrowException):  # what a file system of a network fails with
            size = None
        # A folder of images is known by its first file.
        if size is None or (size != file.size and file.kind != "image"):
            lacks = "does not see" if size is None else "has another file under the name"
            raise ClusterError(
                f"the Ray node {node} {lacks} {file.name}; keep the inputs on a file system that "
                "all nodes share, and name them by the path that it has there"
            )


def _failed(error: Exception) -> Failed:
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Failed(error, trace)
