"""`embedge search`: the passages and images of a file or folder that answer a query best.

Opens the index of the folder, in the user's cache folder by default, brings it up to date, and
asks it. Knows `SearchIndex` and how to talk to people; the work is in `embedge.search`.
"""

import argparse
import functools
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.cli import arguments, screen
from embedge.cli.interrupt import cancellable
from embedge.cli.libtiff import quiet_libtiff
from embedge.errors import (
    CancelledError,
    IndexOutdatedError,
    IndexReadOnlyError,
    IndexRowsError,
    InputError,
    OptionError,
)
from embedge.files.whole import WholeFile, find_obstacle
from embedge.printable import printable
from embedge.progress import ProgressBar
from embedge.reasons import one_line

if TYPE_CHECKING:
    from embedge.embedder import Embedder
    from embedge.search import Hit, SearchIndex, UpdateProgress, UpdateReport

SUMMARY = "find the passages and images of a folder that answer a query"
DESCRIPTION = """\
Splits the texts under PATH (a file or a folder) into passages, embeds them and the query, and
prints the best passages with score (the cosine to the query), file and line. Passages are ranked by
meaning and by the words of the query that stand in them; which words those are is printed. The
vectors and the passages are stored in an index in your cache folder; the next search embeds only
what has changed. Hidden files, links, binary files, what .gitignore names, folders named build,
dist, node_modules or __pycache__, lock files, minified code, and data and logs of more than 256 KiB
are left out; see --all and --include. With a pack that has an image tower, images are found too,
and --sheet draws them."""
EXAMPLES = (
    'embedge search "how are packs verified?" docs/',
    'embedge search "sick leave" handbook/ -k 3 --json',
    "embedge search \"where is the cache?\" . --include '*.py' --exclude tests/",
)

SNIPPET = 240  # characters of a passage that are shown
TOLD = 5  # skipped files that are named one by one
ALSO = 3  # other places of an equal passage that are named


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("query", metavar="QUERY", help="what to look for, in words")
    parser.add_argument("path", metavar="PATH", type=Path, help="a file or folder of texts")
    arguments.add_pack_option(parser)
    parser.add_argument(
        "-k",
        "--top-k",
        type=arguments.positive,
        default=5,
        metavar="N",
        help="number of results (default: 5)",
    )
    parser.add_argument(
        "--task", help="task of the vectors (default: retrieval, else the pack's default task)"
    )
    parser.add_argument(
        "--mode",
        choices=("hybrid", "vectors", "words"),
        default="hybrid",
        help="rank by meaning (vectors), by the words of the query (words), or by both (default)",
    )
    parser.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATTERN",
        help="search only files that fit, as .gitignore writes it ('*.md', 'docs/'); repeatable",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out files and folders that fit; repeatable",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="search also what is generated, what .gitignore names, and folders that were built",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--index", type=Path, metavar="FILE", help="file of the index (default: one for each PATH)"
    )
    place.add_argument("--no-index", action="store_true", help="embed everything, store nothing")
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="embed everything again, also where the index is damaged",
    )
    arguments.add_engine_options(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON line for each result")
    parser.add_argument(
        "--only",
        choices=("text", "image"),
        help="with an image tower: find these alone (texts usually have higher scores)",
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE.png",
        help="draw the images that were found, with their scores",
    )
    arguments.add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the best passages; 1 if there was nothing to search."""
    if not options.query.strip():
        raise InputError("the query is empty; say in words what to look for")
    if options.sheet is not None:
        _check_sheet(options.sheet)
    from embedge.search import find_root

    root = find_root(options.path)  # before the model: a wrong path shows at once
    if options.sheet is not None:
        _check_not_searched(options.sheet, root)
    with (
        ProgressBar(options.progress, patient=True) as progress,
        arguments.open_embedder(options) as embedder,
        _open_index(options, root, embedder) as index,
    ):
        pictures = embedder.manifest.image is not None
        if pictures:
            quiet_libtiff()
        if options.sheet is not None and not pictures:
            raise OptionError(
                f"--sheet draws images, and {embedder.manifest.model_id} embeds texts only; name "
                "a pack with an image tower"
            )
        report = _update(index, root, progress, options)
        chosen = {"include": options.include, "exclude": options.exclude}
        files, passages = index.count(root, **chosen)
        if passages:
            ask = functools.partial(
                index.search,
                options.query,
                top_k=options.top_k,
                path=root,
                kind=options.only,
                mode=options.mode,
                **chosen,
            )
            try:
                hits = ask()
            except IndexRowsError as error:
                progress.say(f"embedge: {one_line(error)}")
                report = _update(index, root, progress, options)
                hits = ask()
    if not passages:
        things = "text and no image" if pictures else "text"
        wanted = " that fits --include and --exclude" if any(chosen.values()) else ""
        screen.say(f"embedge: {options.path} holds no {things} to search{wanted}")
        return 1
    for hit in hits:
        _print(hit, lambda path: options.path / path.relative_to(root), options)
    if hits and all(hit.fit is not None and hit.fit < 0 for hit in hits):
        screen.note("embedge: no passage matches well; these are only the nearest ones")
    if not hits and options.mode == "words":
        screen.say("embedge: no passage holds any of these words; try --mode hybrid")
    if options.sheet is not None:
        _draw([hit for hit in hits if hit.kind == "image"], root, options.sheet)
    updates = f" ({', '.join(changes)})" if (changes := _changes(report)) else ""
    counted = f"{passages:,} passages and images" if pictures else _number(passages, "passage")
    screen.note(f"embedge: searched {counted} in {_number(files, 'file')}{updates}")
    return 0


def _open_index(options: argparse.Namespace, root: Path, embedder: "Embedder") -> "SearchIndex":
    """The index that the command line describes; made again, with a message, if it does not fit."""
    from embedge.search import SearchIndex, default_place

    if options.no_index:
        return SearchIndex(None, embedder, task=options.task)
    place = options.index
    if place is None:
        place = default_place(root)
    if not place.exists():
        screen.note(f"embedge: the index, which holds the passages too, is {place}")
    try:
        return SearchIndex(place, embedder, task=options.task, rebuild=options.rebuild)
    except IndexOutdatedError as error:
        screen.note(f"embedge: {error.change}; embedding everything again")
        return SearchIndex(place, embedder, task=options.task, rebuild=True)


def _update(
    index: "SearchIndex", root: Path, progress: ProgressBar, options: argparse.Namespace
) -> "UpdateReport | None":
    """Brings the index up to date; None where it can only be read."""

    def report_progress(state: "UpdateProgress") -> None:
        images = f", {_number(state.images, 'image')}" if state.images else ""
        progress.update(
            state.fraction,
            f"{state.passages:,} passages{images}, "
            f"{state.files:,} of {_number(state.files_total, 'file')}",
        )

    before = index.runtimes
    try:
        report = cancellable(
            lambda cancel: index.update(
                root,
                include=options.include,
                exclude=options.exclude,
                everything=options.all,
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
    if before and before != (now := index.runtimes):
        screen.note(
            f"embedge: this index now holds vectors of onnxruntime {' and '.join(now)}, which "
            "differ slightly; --rebuild embeds everything again with one version",
            above=progress,
        )
    for path, reason in report.refused[:TOLD]:
        screen.note(f"embedge: {path}: skipped ({reason})", above=progress)
    if len(report.refused) > TOLD:
        screen.note(f"embedge: {len(report.refused) - TOLD} more were skipped", above=progress)
    if report.left_out:
        path, reason = report.left_out[0]
        more = len(report.left_out) - 1
        others = f" and {more:,} more of such files" if more else ""
        left_out = f"{path.relative_to(root)} ({reason}){others}"
        screen.note(f"embedge: left out {left_out}; --all searches them too", above=progress)
    return report


def _check_sheet(path: Path) -> None:
    """Refuses a place where no sheet can be written, before any work."""
    if path.suffix.lower() != ".png":
        raise OptionError(f"--sheet {path}: give a name that ends in .png")
    if obstacle := find_obstacle(path):
        raise OptionError(f"--sheet {path} {obstacle}")


def _check_not_searched(path: Path, root: Path) -> None:
    """Refuses to draw over one of the files that are searched, unless it is an older sheet."""
    from embedge.images.sheet import is_sheet

    searched = path.resolve().is_relative_to(root.resolve())
    if searched and path.is_file() and not is_sheet(path):
        raise OptionError(f"--sheet {path} is one of the images that are searched; name a new file")


def _draw(hits: "list[Hit]", root: Path, path: Path) -> None:
    """Writes the contact sheet, whole or not at all."""
    if not hits:
        screen.say(f"embedge: no images were found, so {path} is not drawn")
        return
    from embedge.images.sheet import MOST, draw_sheet, encode_sheet

    found = [(hit.path, hit.score) for hit in hits if hit.path is not None]
    sheet = draw_sheet(
        [(place, (f"{score:.4f}", str(place.relative_to(root.parent)))) for place, score in found]
    )
    with WholeFile(path) as file:
        file.stream.write(encode_sheet(sheet))
    screen.note(f"embedge: {_number(min(len(hits), MOST), 'image')} drawn in {path}")


def _changes(report: "UpdateReport | None") -> list[str]:
    """What is worth knowing of an update, in words."""
    if report is None:
        return ["not brought up to date"]
    new = report.added + report.updated
    counts = [
        (new, f"{_number(new, 'file')} new or changed"),
        (report.removed, f"{report.removed:,} gone"),
        (len(report.refused), f"{len(report.refused):,} skipped"),
    ]
    return [text for count, text in counts if count]


def _print(hit: "Hit", shown: Callable[[Path], Path], options: argparse.Namespace) -> None:
    assert hit.path is not None  # records are below no path
    path = shown(hit.path)
    if options.json:
        screen.show_json(_result(hit, path, shown))
        return
    score = f"{hit.score:.4f}"
    if hit.kind == "image":
        screen.show(f"{score}  {path}")
    else:
        words = f"words: {printable(', '.join(hit.words))}" if hit.words else "meaning"
        mark = "" if options.mode == "vectors" else f"  ({words})"
        screen.show(f"{score}  {path}:{hit.line}{mark}")
        text = " ".join(printable(hit.text).split())
        if len(text) > SNIPPET:
            text = text[: SNIPPET - 1] + "…"
        screen.show_lines(textwrap.indent(textwrap.fill(text, width=88), "        "))
    if hit.also:
        line = "" if hit.kind == "image" else ":{}"
        others = [f"{shown(path)}{line.format(number)}" for path, number in hit.also[:ALSO]]
        more = len(hit.also) - ALSO
        screen.show(f"        also: {', '.join(others)}{f' and {more:,} more' * (more > 0)}")


def _result(hit: "Hit", path: Path, shown: Callable[[Path], Path]) -> dict[str, object]:
    """A hit as --json prints it."""
    score = round(hit.score, 6)
    if hit.kind == "image":
        images = [str(shown(path)) for path, _ in hit.also]
        return {"score": score, "image": str(path), "also": images}
    also = [{"file": str(shown(path)), "line": line} for path, line in hit.also]
    return {
        "score": score,
        "file": str(path),
        "line": hit.line,
        "text": hit.text,
        "words": list(hit.words),
        "fit": None if hit.fit is None else round(hit.fit, 3),
        "also": also,
    }


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
