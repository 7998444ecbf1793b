"""A job's output that can be continued: how much of it is done stands in a file beside it.

While a job writes NAME, `NAME.resume` says which temporary file holds the rows so far, how many of
its bytes count, how far the input was read, and what the job was. It is written every few seconds
and where the job is interrupted, and goes with the end of the job. Takes a sink to a file; knows
no model. Damage shows: a file that does not hold what is said is not continued.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedge.bulk.sinks import Done, FileSink, Item, Sink, open_sink
from embedge.errors import OptionError
from embedge.files.regular import read_regular
from embedge.files.whole import WholeFile

VERSION = 1
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
        counts = (state.size, state.rows, *asdict(state.done).values())
        sound = state.version == VERSION and Path(state.part).name == state.part
        sound = sound and all(isinstance(count, int) and count >= 0 for count in counts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise OptionError(f"{path} does not say how far a job is; {_AGAIN}")
    return state


def check_same(state: State, job: Mapping[str, Any]) -> None:
    """Refuses to go on with another job than was begun.

    Raises:
        OptionError: names what differs.
    """
    for name, value in job.items():
        if state.job.get(name) != value:
            raise OptionError(f"{name} is not what it was when this job was begun; {_AGAIN}")


class ResumableSink(Sink):
    """A sink to a file, which is kept where the job is interrupted.

    Args:
        out: where the file will be.
        kind: "jsonl" or "npy".
        embedding_type: of the rows.
        width: numbers of a row.
        job: what may not differ in the job that goes on; plain JSON.
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
        try:
            self._sink: FileSink = open_sink(
                out,
                kind,
                embedding_type=embedding_type,
                width=width,
                part=part,
                size=0 if state is None else state.size,
                rows=0 if state is None else state.rows,
            )
        except OSError as error:
            if state is None:
                raise
            raise OptionError(
                f"{part}, which holds what was done, {error.strerror or error}; {_AGAIN}"
            ) from None
        self.filler = self._sink.filler

    def write(self, items: Sequence[Item], rows: np.ndarray[Any, Any]) -> None:
        """Passes the rows on."""
        self._sink.write(items, rows)

    def checkpoint(self, done: Done) -> None:
        """Notes how far the job is; on the disk every few seconds."""
        part = self._sink.file.part
        if part is None:  # a pipe, which cannot be continued
            return
        size = self._sink.file.stream.tell()
        self._state = State(part.name, size, self._sink.rows, done, self._job)
        if self._clock() - self._last >= SECONDS:
            with contextlib.suppress(OSError):  # the job itself is worth more than a note of it
                self._keep()

    def finish(self, count: int) -> None:
        """Makes the file final; nothing is left beside it."""
        self._sink.finish(count)
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
            self._sink.file.suspend()
        except OSError:  # a full disk: nothing can be kept, and the interruption is what is raised
            self.abandon()
            return
        except BaseException:
            self.abandon()
            raise
        self.kept = self._state.done

    def _keep(self) -> None:
        assert self._state is not None
        self._sink.file.sync()
        text = json.dumps(asdict(self._state))
        with WholeFile(self._path) as file:
            file.stream.write(text.encode())
        self._last = self._clock()

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def drop(out: Path, state: State) -> bool:
    """Removes what an earlier job has left; False if that job still writes, and is left alone."""
    path = state_path(out)
    part = path.with_name(state.part)
    try:
        WholeFile(out, part=part).abandon()  # which takes the lock, or fails
    except FileNotFoundError:
        pass
    except OSError:
        return False
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return True
