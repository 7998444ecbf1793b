"""`embedge index`: the indexes that searches have left in the cache folder, listed and removed."""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.cli import screen
from embedge.errors import InputError, OptionError, SearchIndexError
from embedge.files.paths import absolute_path
from embedge.sizes import size_text

if TYPE_CHECKING:
    from embedge.search.kept import KeptIndex

SUMMARY = "list and remove the indexes of searches"
DESCRIPTION = """\
Lists the indexes that `embedge search` keeps in your cache folder: what each is of, the model that
made it, how large it is and when it was used last. --forget removes those of a folder, or one by
its file. Indexes elsewhere (--index FILE of `embedge search`) are not listed, and never removed."""
EXAMPLES = (
    "embedge index",
    "embedge index --list --json",
    "embedge index --forget notes/",
    "embedge index --forget --all",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list the indexes (default)")
    what.add_argument(
        "--forget",
        nargs="*",
        metavar="PATH",
        type=Path,
        help="remove the indexes of a file or folder, which may be gone, or one by its own file",
    )
    parser.add_argument("--all", action="store_true", help="with --forget: remove all of them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Prints the list, or removes; 1 if one that is in use had to stay."""
    if options.all and options.forget is None:
        raise OptionError("--all goes with --forget; write --forget --all to remove all indexes")
    from embedge.search.kept import index_folder, kept_indexes

    found = kept_indexes()
    if options.forget is not None:
        return _forget(found, options)
    if options.json:
        values = {"folder": str(index_folder()), "indexes": [_facts(kept) for kept in found]}
        screen.show_json(values)
        return 0
    if not found:
        screen.note(f"embedge: there is no index in {index_folder()}")
        return 0
    rows: list[tuple[str, ...]] = [("folder", "model", "task", "passages", "size", "last used")]
    rows += [_row(kept) for kept in found]
    screen.show_lines(screen.table(rows, right=(3, 4)))
    screen.show()
    total = size_text(sum(kept.size for kept in found))
    screen.show(f"{total} in {index_folder()}")
    return 0


def _forget(found: "list[KeptIndex]", options: argparse.Namespace) -> int:
    from embedge.search.kept import forget

    if bool(options.forget) == options.all:
        raise OptionError("--forget takes a folder, the file of an index, or --all")
    chosen = found if options.all else _chosen(found, options.forget)
    removed, code = [], 0
    for kept in chosen:
        try:
            forget(kept.path)
        except SearchIndexError as error:
            screen.say(f"embedge: {error}")
            code = 1
            continue
        removed.append(kept)
        if not options.json:
            screen.show(f"{_name(kept)}: removed, {size_text(kept.size)}")
    if options.json:
        screen.show_json({"removed": [_facts(kept) for kept in removed]})
    elif not chosen:
        screen.note("embedge: there is no index to remove")
    return code


def _chosen(found: "list[KeptIndex]", paths: list[Path]) -> "list[KeptIndex]":
    """The indexes that are meant, each once; none is removed where one path means none."""
    chosen: dict[Path, KeptIndex] = {}
    for path in paths:
        place = Path(os.path.realpath(absolute_path(path, "path")))
        meant = [kept for kept in found if place == kept.path.resolve() or place in kept.folders]
        if not meant:
            above = [kept for kept in found if any(f in place.parents for f in kept.folders)]
            hint = f"; its passages are in that of {_name(above[0])}" if above else ""
            raise InputError(
                f"there is no index of {path} in the cache folder{hint}; `embedge index --list` "
                "shows them"
            )
        chosen |= {kept.path: kept for kept in meant}
    return list(chosen.values())


def _row(kept: "KeptIndex") -> tuple[str, ...]:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(kept.used))
    if kept.maker is None:
        return str(kept.path), f"cannot be read: {kept.fault}", "", "", size_text(kept.size), used
    model = f"{kept.maker.model_id} {kept.maker.precision}"
    size = size_text(kept.size)
    return _name(kept), model, kept.maker.task, f"{kept.passages:,}", size, used


def _name(kept: "KeptIndex") -> str:
    """What an index is of; its file where that is not known."""
    if not kept.folders:
        return str(kept.path)
    gone = [folder for folder in kept.folders if not os.path.lexists(folder)]
    names = ", ".join(str(folder) for folder in kept.folders[:3])
    more = f" and {len(kept.folders) - 3} more" if len(kept.folders) > 3 else ""
    if not gone:
        return names + more
    mark = "no longer exists" if len(gone) == len(kept.folders) else f"{len(gone)} no longer exist"
    return f"{names}{more} ({mark})"


def _facts(kept: "KeptIndex") -> dict[str, Any]:
    maker = kept.maker
    return {
        "file": str(kept.path),
        "folders": [
            {"path": str(folder), "exists": os.path.lexists(folder)} for folder in kept.folders
        ],
        "model": maker and maker.model_id,
        "task": maker and maker.task,
        "precision": maker and maker.precision,
        "files": kept.files,
        "passages": kept.passages,
        "size": kept.size,
        "used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(kept.used)),
        "fault": kept.fault or None,
    }
