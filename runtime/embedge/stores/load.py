"""The parts of a run into a store, one after another; a load that was stopped goes on.

A list in the run's folder, `loaded.jsonl`, says which parts a table has, and of which bytes. A part
is loaded whole before it stands there; one that was half loaded is loaded again, and its rows
replace themselves. Where the table has fewer rows than the list says, it is not believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from embedge.errors import InputError, OptionError
from embedge.parts.folder import RunFolder
from embedge.parts.lists import open_list, read_list
from embedge.parts.part import Entry
from embedge.parts.plan import Plan
from embedge.parts.run import part_name
from embedge.stores.layout import Layout
from embedge.stores.rows import read_rows
from embedge.stores.store import Store
from embedge.stores.target import Target, said_by

LIST = "loaded.jsonl"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a load."""

    rows: int  # loaded now
    parts: int  # loaded now
    left_out: int  # rows of all parts without a vector
    count: int  # rows of the table


class LoadListener(Protocol):
    """What is called on the way."""

    def found(self, *, todo: int, skipped: int, again: bool) -> None:
        """How many parts are to load, and were loaded; whether the table had lost rows of them."""

    def step(self, rows: int, whole: int) -> None:
        """How many rows of how many are loaded by this process."""


def check_table(folder: Path, store: Store, target: Target, layout: Layout) -> int | None:
    """How many rows the table has; None where there is none. Writes nothing.

    Args:
        folder: of the run.
        store: the table, open.
        target: its name.
        layout: of what would be loaded.

    Raises:
        OptionError: it holds other vectors or columns; or rows that row numbers would replace.
        StoreError: the library says so.
    """
    with said_by(target):
        held = store.count() if store.find() else None
    if held and layout.numbered and not _marks(folder, target, layout):
        raise OptionError(
            f"{target} has {held:,} rows of something else, which the row numbers of this run "
            "would replace; name another --table, or a column of ids with --id-column"
        )
    return held


def load_parts(
    plan: Plan,
    folder: RunFolder,
    store: Store,
    target: Target,
    layout: Layout,
    listener: LoadListener,
) -> Loaded:
    """Loads the parts that the table does not have.

    Args:
        plan: the work; all of its parts are done.
        folder: where they stand.
        store: the table, open.
        target: its name.
        layout: of the table.
        listener: what is called on the way.

    Raises:
        InputError: ids are missing, or stand for several rows.
        OptionError: the table holds something else, or another process loads from this folder.
        StoreError: the library says so. The parts before are loaded.
    """
    done = folder.done()
    entries = [done[part_name(number)] for number in range(plan.count)]
    busy = f"another process loads the parts of {folder.path} into a store; wait for it"
    with open_list(folder.path / LIST, busy=busy) as marks:
        held = check_table(folder.path, store, target, layout)
        known = _marks(folder.path, target, layout)
        here = _identity(target, layout)
        if held is None:
            marks.add({**here, "part": None, "sha256": None})  # what the table holds is ours
            with said_by(target):
                store.create()
        new = [n for n, entry in enumerate(entries) if known.get(entry.part) != entry.sha256]
        lost = (held or 0) < _rows(entries) - _rows([entries[n] for n in new])
        todo = list(range(len(entries))) if lost else new
        listener.found(todo=len(todo), skipped=len(entries) - len(todo), again=lost)
        whole, loaded = _rows([entries[n] for n in todo]), 0
        for number in todo:
            entry = entries[number]
            first = plan.rows_of(number).start
            for rows in read_rows(folder.parts / entry.part, first, layout):
                with said_by(target):
                    store.put(rows)
                loaded += len(rows)
                listener.step(loaded, whole)
            marks.add({**here, "part": entry.part, "sha256": entry.sha256})
        with said_by(target):
            if todo:
                store.finish()
            count = store.count()
    if count < _rows(entries):
        raise InputError(
            f"{target} has {count:,} rows after {_rows(entries):,} were loaded, so some ids in "
            f'"{layout.key}" stand for several rows, which replaced each other; load another '
            "--table with another --id-column, or without one"
        )
    return Loaded(loaded, len(todo), sum(entry.errors for entry in entries), count)


def _rows(entries: Sequence[Entry]) -> int:
    """How many of their rows have a vector."""
    return sum(entry.rows - entry.errors for entry in entries)


def _identity(target: Target, layout: Layout) -> dict[str, str]:
    """What a table is known by in the list."""
    place = target.place if "://" in target.place else str(Path(target.place).absolute())
    return {"to": f"{target.store}:{place}", "table": target.table, "key": layout.key}


def _marks(folder: Path, target: Target, layout: Layout) -> dict[str | None, str | None]:
    """The parts that the list names for this table, and the SHA-256 of each."""
    here = _identity(target, layout)
    return {
        line.get("part"): line.get("sha256")
        for line in read_list(folder / LIST)
        if here.items() <= line.items()
    }
