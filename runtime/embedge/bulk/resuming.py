"""A job's output that can be continued: how much of it is done stands in a file beside it.

While a job writes NAME, `NAME.resume` says which temporary files hold the rows so far and what was
left out, how many of their bytes count, how far the input was read, and what the job was. It is
written every few seconds and where the job is interrupted, and goes with the end of the job. Takes
a sink to a file; knows no model. Damage shows: a file that does not hold what is said is not
continued.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedge.bulk.metadata import DescribedSink, MetadataFile
from embedge.bulk.records import Bad
from embedge.bulk.sinks import Done, FileSink, Item, Sink, open_sink
from embedge.errors import OptionError
from embedge.files.regular import read_regular
from embedge.files.whole import WholeFile

VERSION = 2
SECONDS = 2.0  # between two notes of how far a job is: each waits for the disk
_MOST_BYTES = 64 * 2**20  # of such a note, which lists the inputs
_AGAIN = "run it without --resume to start again"


@dataclass(frozen=True, slots=True)
class State:
    """What stands in the file."""

    part: str  # name of the temporary file, in the folder of the output
    size: int  # bytes of it that count
    rows: int  # of an array
    done: Done
    metadata: str | None  # name of the temporary file of the description, in that one's folder
    metadata_size: int  # bytes of it that count
    job: Mapping[str, Any]  # what may not differ in the job that goes on
    version: int = field(default=VERSION)


def state_path(out: Path) -> Path:
    """Where it stands for an output."""
    return Path(os.path.realpath(out)).with_name(f"{out.name}.resume")


def read_state(out: Path) -> State | None:
    """What an earlier job has left for this output; None if there is nothing.

    Raises:
        OptionError: the file is damaged, or of another version.
    """
    path = state_path(out)
    try:
        found = json.loads(read_regular(path, most=_MOST_BYTES))
        state = State(**{**found, "done": Done(**found["done"])})
        counts = (state.size, state.rows, state.metadata_size, *asdict(state.done).values())
        names = (state.part, state.metadata or "metadata")
        sound = state.version == VERSION and all(Path(name).name == name for name in names)
        sound = sound and all(isinstance(count, int) and count >= 0 for count in counts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise OptionError(f"{path} does not say how far a job is; {_AGAIN}")
    return state


def check_same(begun: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    """Refuses to go on with another job than was begun.

    Args:
        begun: of that job, by the names for the message; `State.job`.
        job: what of this one is compared.

    Raises:
        OptionError: names what differs.
    """
    for name, value in job.items():
        if begun.get(name) != value:
            raise OptionError(f"{name} is not what it was when this job was begun; {_AGAIN}")


class ResumableSink(Sink):
    """A sink to a file, which is kept where the job is interrupted.

    Args:
        out: where the file will be.
        kind: "jsonl" or "npy".
        embedding_type: of the rows.
        width: numbers of a row.
        job: what may not differ in the job that goes on; plain JSON.
        describe: opens the file that describes the vectors, with the arguments `part`, `size` and
            `errors` of `MetadataFile`; None for none.
        state: of the job that goes on; None for a new one, which drops what another has left.
        clock: seconds.

    Attributes:
        kept: how far the job was when it was suspended; None otherwise.

    Raises:
        OptionError: the rows of the earlier job are not there any more.
    """

    def __init__(
        self,
        out: Path,
        kind: str,
        *,
        embedding_type: str,
        width: int,
        job: Mapping[str, Any],
        describe: Callable[..., MetadataFile] | None = None,
        state: State | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = state_path(out)
        self._job = dict(job)
        self._clock = clock
        self._last = clock()
        self._state = state
        self.kept: Done | None = None
        part = None if state is None else self._path.with_name(state.part)
        with _reopening(part):
            self._rows: FileSink = open_sink(
                out,
                kind,
                embedding_type=embedding_type,
                width=width,
                part=part,
                size=0 if state is None else state.size,
                rows=0 if state is None else state.rows,
            )
        self._sink: Sink = self._rows
        self._metadata: MetadataFile | None = None
        self.filler = self._rows.filler
        if describe is None:
            return
        try:
            part = None if state is None or state.metadata is None else Path(state.metadata)
            with _reopening(part):
                self._metadata = describe(
                    part=None if part is None else part.name,
                    size=0 if state is None else state.metadata_size,
                    errors=0 if state is None else state.done.bad,
                )
        except BaseException:
            if state is None:
                self._rows.abandon()
            else:  # nothing is lost by asking
                self._rows.file.suspend()
            raise
        self._sink = DescribedSink(self._rows, self._metadata)

    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        """Passes the rows on."""
        self._sink.write(items, rows)

    def refuse(self, bad: Bad) -> None:
        """Passes it on."""
        self._sink.refuse(bad)

    def checkpoint(self, done: Done) -> None:
        """Notes how far the job is; on the disk every few seconds."""
        part = self._rows.file.part
        if part is None:  # a pipe, which cannot be continued
            return
        noted = None if self._metadata is None else self._metadata.file
        self._state = State(
            part=part.name,
            size=self._rows.file.stream.tell(),
            rows=self._rows.rows,
            done=done,
            metadata=None if noted is None or noted.part is None else noted.part.name,
            metadata_size=0 if noted is None or noted.part is None else noted.stream.tell(),
            job=self._job,
        )
        if self._clock() - self._last >= SECONDS:
            with contextlib.suppress(OSError):  # the job itself is worth more than a note of it
                self._keep()

    def finish(self, done: Done) -> None:
        """Makes the file final, and leaves no note of how far it was."""
        self._sink.finish(done)
        self._forget()

    def abandon(self) -> None:
        """Leaves nothing."""
        self._sink.abandon()
        self._forget()

    def suspend(self) -> None:
        """Keeps what is done, if anything is."""
        if self._state is None:
            self.abandon()
            return
        try:
            self._keep()
            for file in self._files():
                file.suspend()
        except OSError:  # a full disk: nothing can be kept, and the interruption is what is raised
            self.abandon()
            return
        except BaseException:
            self.abandon()
            raise
        self.kept = self._state.done

    def _keep(self) -> None:
        assert self._state is not None
        for kept in self._files():
            kept.sync()
        text = json.dumps(asdict(self._state))
        with WholeFile(self._path) as file:
            file.stream.write(text.encode())
        self._last = self._clock()

    def _files(self) -> list[WholeFile]:
        """What is kept."""
        noted = None if self._metadata is None else self._metadata.file
        return [self._rows.file] + ([] if noted is None or noted.part is None else [noted])

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def _reopening(part: Path | None) -> Iterator[None]:
    """Around opening what an earlier job has left: what is not there is said of that file."""
    try:
        yield
    except OSError as error:
        if part is None:
            raise
        raise OptionError(
            f"{part}, which holds what was done, {error.strerror or error}; {_AGAIN}"
        ) from None


def drop(out: Path, state: State, *, metadata: Path | None = None) -> bool:
    """Removes what an earlier job has left; False if that job still writes, and is left alone.

    Args:
        out: its output.
        state: what it noted.
        metadata: where its description would have been.
    """
    path = state_path(out)
    parts = [path.with_name(state.part)]
    if metadata is not None and state.metadata is not None:
        parts.append(Path(os.path.realpath(metadata)).with_name(state.metadata))
    for part in parts:
        try:
            WholeFile(out, part=part).abandon()  # which takes the lock, or fails
        except FileNotFoundError:
            pass
        except OSError:
            return False
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return True
