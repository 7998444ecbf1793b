"""`embedge bulk --to`: the parts into a vector store, and the lines on stderr about it."""

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from embedge.cli import screen
from embedge.errors import OptionError
from embedge.progress import ProgressBar
from embedge.terminal import count_text, time_text

if TYPE_CHECKING:
    from embedge.parts.folder import RunFolder
    from embedge.parts.part import Form
    from embedge.parts.plan import Plan
    from embedge.stores.layout import Layout
    from embedge.stores.load import Loaded
    from embedge.stores.target import Target


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a load, in a group of their own."""
    group = parser.add_argument_group("into a vector store, once all parts are made")
    group.add_argument(
        "--to",
        metavar="STORE:PLACE",
        help="lance:FOLDER, qdrant:URL, qdrant:FOLDER or sqlite-vec:FILE; can be added to a run "
        "that is finished",
    )
    group.add_argument(
        "--table",
        metavar="NAME",
        help="of the table or collection, which is made if it is missing (default: embeddings)",
    )
    group.add_argument(
        "--id-column",
        metavar="NAME",
        help="the column of ids; a row replaces the one with its id (default: the rows' numbers)",
    )


def read_target(options: argparse.Namespace) -> "Target | None":
    """Where the parts are loaded; None for nowhere.

    Raises:
        OptionError: --to names no store; or an option of it stands alone.
    """
    from embedge.stores.target import TABLE, parse_target

    if options.to is not None:
        return parse_target(options.to, TABLE if options.table is None else options.table)
    for flag, value in (("--table", options.table), ("--id-column", options.id_column)):
        if value is not None:
            raise OptionError(f"{flag} says how parts are loaded; name the store with --to")
    return None


def check_target(
    options: argparse.Namespace, folder: "RunFolder", target: "Target", form: "Form"
) -> "Layout":
    """The table for such parts; asks the store whether it would take it, before any is made.

    Raises:
        EmbedgeError: it would not.
    """
    from embedge.stores.layout import make_layout
    from embedge.stores.load import check_table
    from embedge.stores.opening import open_store

    layout = make_layout(
        form.schema,
        vectors=form.into,
        kind=options.embedding_type,
        width=form.width,
        id_column=options.id_column,
    )
    with open_store(target, layout) as store:
        check_table(folder.path, store, target, layout)
    return layout


def load_into(
    target: "Target",
    layout: "Layout",
    plan: "Plan",
    folder: "RunFolder",
    progress: ProgressBar,
    *,
    missing: int,
) -> None:
    """Loads the parts, if all of them are there.

    Args:
        target: the store and the table.
        layout: of the table.
        plan: the work.
        folder: where the parts stand.
        progress: the progress line.
        missing: parts of other shards that are not done.

    Raises:
        EmbedgeError: a part cannot be loaded. Those before it are.
    """
    from embedge.stores.load import load_parts
    from embedge.stores.opening import open_store

    if missing:
        screen.note(
            f"embedge: not loaded: {target} gets the parts when all are done; the shard that is "
            "done last loads them, and any of the same commands does later",
            above=progress,
        )
        return
    report = LoadReport(progress, target)
    with open_store(target, layout) as store:
        try:
            loaded = load_parts(plan, folder, store, target, layout, report)
        except KeyboardInterrupt:
            report.say_kept()
            raise
    report.say_result(loaded)


class LoadReport:
    """The lines of one load.

    Args:
        progress: the progress line.
        target: the store and the table.
        clock: seconds.
    """

    def __init__(
        self,
        progress: ProgressBar,
        target: "Target",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress = progress
        self._target = target
        self._clock = clock
        self._start = clock()

    def found(self, *, todo: int, skipped: int, again: bool) -> None:
        """What there is to do."""
        self._start = self._clock()
        if again:
            self._progress.say(
                f"embedge: {self._target} has fewer rows than were loaded before; all parts are "
                "loaded again"
            )
        elif skipped:
            self._note(f"embedge: loaded before: {count_text(skipped, 'part')}; {todo:,} to do")

    def step(self, rows: int, whole: int) -> None:
        """How far the load is."""
        label = f"loading {rows:,} rows, {self._rate(rows)}/s"
        self._progress.update(rows / max(whole, 1), label)

    def say_kept(self) -> None:
        """What a load that is stopped leaves."""
        self._progress.say(
            "embedge: the parts that were loaded stay loaded; the same command goes on there"
        )

    def say_result(self, loaded: "Loaded") -> None:
        """What came of the load."""
        if loaded.parts:
            seconds = time_text(self._clock() - self._start)
            self._note(
                f"embedge: loaded {count_text(loaded.rows, 'row')} in {seconds} "
                f"({self._rate(loaded.rows)} rows/s)"
            )
        if loaded.left_out:
            rows = count_text(loaded.left_out, "row")
            self._note(f"embedge: not loaded, without a vector: {rows}")
        self._note(f"embedge: {self._target} has {count_text(loaded.count, 'row')}")

    def _rate(self, rows: int) -> str:
        return f"{rows / max(self._clock() - self._start, 1e-3):,.0f}"

    def _note(self, line: str) -> None:
        screen.note(line, above=self._progress)
