"""A run: finds what is to be done in a folder, makes the parts, and reports how far it is.

Joins the plan, the folder and what makes a part. Knows neither packs nor the command line.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from embedge.bulk.job import Encode
from embedge.errors import InputError
from embedge.parts.folder import RunFolder
from embedge.parts.lists import DoneList
from embedge.parts.part import Form, write_part
from embedge.parts.plan import Plan, Shard


@dataclass(frozen=True, slots=True)
class Step:
    """How far a run is."""

    embedded: int  # rows, by this process
    rows: int  # that this process has to embed
    parts: int  # done by this process
    left: int  # parts that this process has still to do


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    rows: int  # embedded by this process
    errors: int  # of them, those without a vector
    parts: int  # made by this process
    skipped: int  # that were done already
    missing: int  # of other shards, not done yet


@dataclass(frozen=True, slots=True)
class Start:
    """What a run finds in its folder."""

    finished: DoneList
    todo: list[int]  # numbers of the parts to make
    skipped: int  # parts that were done already


class Listener(Protocol):
    """What is called on the way."""

    def found(self, *, todo: int, skipped: int, changed: int) -> None:
        """How many parts are to do, were done, and are made again because their bytes differ."""

    def step(self, step: Step) -> None:
        """How far it is."""

    def refused(self, where: str, reason: str) -> None:
        """A row that has no vector."""


def run_parts(
    plan: Plan,
    folder: RunFolder,
    encode: Encode,
    form: Form,
    job: Mapping[str, Any],
    listener: Listener,
    *,
    shard: Shard,
    verify: bool = False,
    stop_at_error: bool = False,
) -> Result:
    """Makes the parts of a shard that are not done.

    Args:
        plan: the work of all shards.
        folder: where it is done.
        encode: `Embedder.encode` with its options bound.
        form: of the parts.
        job: what the run is; see `RunFolder.claim`.
        listener: what is called on the way.
        shard: whose parts are made.
        verify: read what is done, and make again what differs from what was written.
        stop_at_error: raise for the first row that has no vector.

    Raises:
        InputError: a row has no vector, with `stop_at_error`; or an input cannot be read.
        OptionError: the folder is another run's.
        OSError: the disk did not take a part. Those before it are done.
    """
    with started(plan, folder, job, listener, shard=shard, verify=verify) as start:
        todo = start.todo
        rows, embedded, errors = sum(len(plan.rows_of(part)) for part in todo), 0, 0
        for index, (part, chunks) in enumerate(plan.chunks(todo)):
            entry = write_part(
                folder.parts / part_name(part),
                chunks,
                encode,
                form,
                on_refused=refuser(plan, part, listener.refused, stop=stop_at_error),
                on_progress=_reporter(listener, embedded, rows, index, len(todo)),
            )
            start.finished.add(asdict(entry))
            embedded += entry.rows
            errors += entry.errors
            listener.step(Step(embedded, rows, index + 1, len(todo) - index - 1))
    missing = plan.count - len(folder.done())
    return Result(embedded, errors, len(todo), start.skipped, missing)


@contextlib.contextmanager
def started(
    plan: Plan,
    folder: RunFolder,
    job: Mapping[str, Any],
    listener: Listener,
    *,
    shard: Shard,
    verify: bool,
) -> Iterator[Start]:
    """Finds what is to do, and holds the list of the shard; the arguments are `run_parts`'s.

    Raises:
        OptionError: the folder is another run's, or another process makes the shard.
    """
    folder.claim(job)
    with folder.open_list() as finished:
        names = {number: part_name(number) for number in shard.parts(plan.count)}
        folder.clean(names.values())
        done = folder.done()
        mine = [done[name] for name in names.values() if name in done]
        changed = folder.changed(mine) if verify else set[str]()
        todo = [n for n, name in names.items() if name not in done or name in changed]
        skipped = len(names) - len(todo)
        listener.found(todo=len(todo), skipped=skipped, changed=len(changed))
        yield Start(finished, todo, skipped)


def part_name(number: int) -> str:
    """The name of a part's file: "part-000012.parquet"."""
    return f"part-{number:06}.parquet"


def refuser(
    plan: Plan, part: int, refused: Callable[[str, str], None], *, stop: bool
) -> Callable[[int, str], None]:
    """What `write_part` calls for a row of a part that has no vector.

    Args:
        plan: of all parts.
        part: the number of this one.
        refused: called with the place of the row and the reason.
        stop: raise instead. InputError names the place.
    """
    first = plan.rows_of(part).start

    def refuse(row: int, reason: str) -> None:
        where = plan.where(first + row)
        if stop:
            raise InputError(
                f"{where}: {reason}; leave it out, or pass --on-error null to write its row "
                "without a vector"
            )
        refused(where, reason)

    return refuse


def _reporter(
    listener: Listener, embedded: int, rows: int, parts: int, todo: int
) -> Callable[[int], None]:
    return lambda done: listener.step(Step(embedded + done, rows, parts, todo - parts))
