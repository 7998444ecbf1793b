"""An index brought up to date for a person: what is said meanwhile, and of what was left out.

Takes an open index and what is to be searched, gives the report, or None where the index is
searched as it stands. Where another process is at work on the index, nobody is refused for it.
"""

import argparse
import time
from typing import TYPE_CHECKING

from embedge.cli import screen
from embedge.cli.early import EarlyHits
from embedge.cli.found import Given
from embedge.cli.interrupt import cancellable
from embedge.errors import CancelledError, IndexBusyError, IndexReadOnlyError
from embedge.progress import ProgressBar
from embedge.reasons import one_line
from embedge.terminal import count_text

if TYPE_CHECKING:
    from embedge.search import SearchIndex, UpdateProgress, UpdateReport

NAMED = 5  # skipped files that are named one by one
POLL_SECONDS = 0.2


def bring_up_to_date(
    index: "SearchIndex",
    given: Given,
    progress: ProgressBar,
    early: EarlyHits | None,
    options: argparse.Namespace,
) -> "UpdateReport | None":
    """Brings the index up to date; None where that is not done, and it is searched as it is."""

    def report_progress(state: "UpdateProgress") -> None:
        if early is not None:
            early.look(state.files, state.fraction)
        if state.fraction == 1.0 and not (state.passages or state.images):
            return  # nothing has changed
        images = f", {count_text(state.images, 'image')}" if state.images else ""
        progress.update(
            state.fraction,
            f"{state.passages:,} passages{images}, "
            f"{state.files:,} of {count_text(state.files_total, 'file')}",
        )

    if _wait_for_other(index, given, progress):
        screen.note(
            "embedge: another process is bringing the index up to date; searching it as it stands",
            above=progress,
        )
        return None
    before = index.runtimes
    try:
        report = cancellable(
            lambda cancel: index.update(
                given.roots,
                include=options.include,
                exclude=options.exclude,
                everything=options.all,
                query=options.query,
                progress=report_progress,
                cancel=cancel,
            )
        )
    except (KeyboardInterrupt, CancelledError):
        if not options.no_index:
            progress.say("embedge: what is embedded so far is kept; the next search goes on there")
        raise
    except IndexReadOnlyError as error:
        progress.say(f"embedge: {one_line(error)}; searching it as it stands")
        return None
    except IndexBusyError:
        if not index.count(given.roots)[1]:
            raise
        progress.say(
            "embedge: another process has been writing to the index for long; searching it as it "
            "stands"
        )
        return None
    if before and before != (now := index.runtimes):
        screen.note(
            f"embedge: this index now holds vectors of onnxruntime {' and '.join(now)}, which "
            "differ slightly; --rebuild embeds everything again with one version",
            above=progress,
        )
    return report


def _wait_for_other(index: "SearchIndex", given: Given, progress: ProgressBar) -> bool:
    """Whether another process does the work, and there is something to search already."""
    while index.being_updated:
        _, passages = index.count(given.roots)
        if passages:
            return True
        progress.update(None, "another process is making the index")
        time.sleep(POLL_SECONDS)
    return False


def say_left_out(report: "UpdateReport | None", given: Given, *, once: bool) -> None:
    """Names what is not searched, where that is news, or the reason for finding nothing."""
    if report is None or not (report.changed or once):
        return
    for path, reason in report.refused[:NAMED]:
        screen.note(f"embedge: {given.shown(path)}: skipped ({reason})")
    if len(report.refused) > NAMED:
        screen.note(f"embedge: {len(report.refused) - NAMED} more were skipped")
    if report.left_out:
        path, reason = report.left_out[0]
        more = len(report.left_out) - 1
        others = f" and {more:,} more of such files" if more else ""
        screen.note(
            f"embedge: left out {given.shown(path)} ({reason}){others}; --all searches them too"
        )


def changes_of(report: "UpdateReport | None") -> list[str]:
    """What is worth knowing of an update, in words."""
    if report is None:
        return ["not brought up to date"]
    new = report.added + report.updated
    counts = [
        (new, f"{count_text(new, 'file')} new or changed"),
        (report.removed, f"{report.removed:,} gone"),
        (len(report.refused), f"{len(report.refused):,} skipped"),
        (len(report.left_out), f"{len(report.left_out):,} left out"),
    ]
    return [text for count, text in counts if count]
