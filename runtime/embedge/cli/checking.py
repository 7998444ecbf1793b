"""`embedge bulk --check`: rows of finished parts embedded again, and what is said of them."""

import argparse
from typing import TYPE_CHECKING

from embedge.cli import screen
from embedge.cli.left_out import RefusedLines
from embedge.progress import ProgressBar
from embedge.terminal import count_text

if TYPE_CHECKING:
    from embedge.bulk.job import Encode
    from embedge.embedder import Embedder
    from embedge.parts.checking import Checked
    from embedge.parts.folder import RunFolder
    from embedge.parts.part import Form
    from embedge.parts.plan import Plan, Shard

_SHOWN = 5  # parts in a message


def check_parts(
    options: argparse.Namespace,
    plan: "Plan",
    folder: "RunFolder",
    encode: "Encode",
    form: "Form",
    embedder: "Embedder",
    progress: ProgressBar,
    *,
    shard: "Shard",
) -> bool:
    """Compares `--check` rows of the parts of a shard; says what came of it.

    Returns:
        Whether all of them are the vectors of their rows.

    Raises:
        EmbedgeError: an input cannot be read.
        OSError: a part cannot be read.
    """
    from embedge.parts.checking import check_rows
    from embedge.selftest import cosine_bar

    checked = check_rows(
        plan,
        folder,
        encode,
        form,
        shard.parts(plan.count),
        count=options.check,
        bar=cosine_bar(embedder.manifest, embedder.precision),
        bits=options.embedding_type in ("binary", "ubinary"),
        on_progress=lambda done, count: progress.update(done / count, f"checking {count:,} rows"),
    )
    screen.note(_summary(checked, embedder.precision), above=progress)
    if not checked.wrong:
        return True
    lines = RefusedLines(progress, options.flags, "more are wrong")
    for one in checked.wrong:
        lines.add(f"{plan.where(one.row)}, in {one.part}", one.reason)
    parts = list(dict.fromkeys(one.part for one in checked.wrong))
    more = f" and {len(parts) - _SHOWN:,} more" if len(parts) > _SHOWN else ""
    progress.say(
        f"embedge: error: {count_text(len(checked.wrong), 'row')} of {checked.rows:,} checked "
        f"{'is' if len(checked.wrong) == 1 else 'are'} wrong; remove {', '.join(parts[:_SHOWN])}"
        f"{more} from {folder.parts}, and the same command makes them again"
    )
    return False


def _summary(checked: "Checked", precision: str) -> str:
    """How many rows have the same bits, and what it means where some have others."""
    rows = count_text(checked.rows, "row")
    others = checked.rows - checked.same - len(checked.wrong)
    if not others:
        same = "all" if checked.same == checked.rows else f"{checked.same:,}"
        return f"embedge: embedded again: {rows}; {same} with the same bits"
    why = (
        "at int8 precision CPUs of one kind give the same bits, so that another kind made them, or "
        "they were changed"
        if precision == "int8"
        else f"at {precision} precision bits depend on the batch and the device"
    )
    return (
        f"embedge: embedded again: {rows}; {checked.same:,} with the same bits, {others:,} with "
        f"others, of a cosine of {checked.least:.6f} or more: {why}"
    )
