"""`embed --resume`: whether a run can go on later, what it depends on, what an earlier one left.

Knows the command line of `embed`; the file beside the output is `bulk.resuming`'s.
"""

import argparse
import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.cli import screen
from embedge.cli.facts import NAMES
from embedge.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from embedge.bulk.resuming import State

# Options that say which texts are taken; what the vectors are is in `facts`.
_OPTIONS = ("images", "on_overflow", "input_format", "column", "meta")


def check_resume(
    options: argparse.Namespace, path: Path | None, read: Sequence[str], *, later: bool
) -> bool:
    """Whether a run that is stopped can go on later.

    Args:
        options: of `embed`.
        path: the output; None for stdout.
        read: the files that are read, "-" for stdin.
        later: whether the rows wait for ranges that come from all of them.

    Raises:
        OptionError: it cannot, and --resume was given.
    """
    problem = None
    if path is None:
        problem = "needs a file to write; add --out FILE"
    elif options.text or not all(Path(name).is_file() for name in read):
        problem = "reads its input again, so that it takes files alone"
    elif later:
        problem = f"needs the ranges of {options.embedding_type} first; name them with --ranges"
    if problem and options.resume:
        raise OptionError(f"--resume {problem}")
    return problem is None


def earlier_state(
    path: Path, job: Mapping[str, Any], *, resume: bool, metadata: Path | None
) -> "State | None":
    """How far an earlier run came, to go on there; otherwise what it has left is dropped.

    Args:
        path: the output.
        job: of this run, from `job_facts`.
        resume: whether to go on.
        metadata: where the vectors are described.

    Raises:
        OptionError: this run is another one, and --resume was given.
    """
    from embedge.bulk.metadata import read_metadata
    from embedge.bulk.resuming import check_same, drop, read_state

    if not resume:
        with contextlib.suppress(OptionError):
            if (left := read_state(path)) is not None and drop(path, left, metadata=metadata):
                screen.note(
                    f"embedge: {left.done.items:,} that an earlier run had done are dropped; "
                    "--resume would have gone on there"
                )
        return None
    state = read_state(path)
    if state is None:
        made = read_metadata(metadata) if metadata is not None and path.exists() else None
        if made is not None:  # by a run that came to its end: not to be replaced by another job's
            check_same(
                {label: made.get(name) for name, label in NAMES.items()},
                {label: job[label] for label in NAMES.values()},
            )
        screen.note("embedge: no earlier run has left anything here; starting at the beginning")
        return None
    check_same(state.job, job)
    screen.note(f"embedge: going on after {state.done.items:,} that are done")
    return state


def job_facts(
    options: argparse.Namespace,
    facts: Mapping[str, Any],
    read: Sequence[str],
    ranges: "np.ndarray[Any, Any] | None",
) -> dict[str, Any]:
    """What the output of a run depends on, as plain JSON, each under the name for its message.

    Args:
        options: of `embed`.
        facts: of the vectors, from `vector_facts`.
        read: the files that are read.
        ranges: that are given; None for none.
    """
    files = [(os.path.realpath(name), Path(name).stat()) for name in read]
    return {
        **{label: facts[name] for name, label in NAMES.items()},
        "the list of inputs": [name for name, _ in files],
        "an input": [[status.st_size, status.st_mtime_ns] for _, status in files],
        "--ranges": None if ranges is None else ranges.tolist(),
        **{f"--{name.replace('_', '-')}": getattr(options, name) for name in _OPTIONS},
    }
