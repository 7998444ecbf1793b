"""`embedge search`: the passages and images of a file or folder that answer a query best.

Opens the index of the folder, in the user's cache folder by default, brings it up to date, and
asks it. Knows `SearchIndex` and how to talk to people; the work is in `embedge.search`.
"""

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from embedge.cli import arguments, screen
from embedge.cli.early import MOST_HITS, EarlyHits
from embedge.cli.found import Given, given_paths, lines_of, value_of
from embedge.cli.indexing import bring_up_to_date, changes_of, say_left_out
from embedge.cli.libtiff import quiet_libtiff
from embedge.errors import (
    IndexOutdatedError,
    IndexRowsError,
    InputError,
    OptionError,
    SearchIndexError,
)
from embedge.files.whole import WholeFile, find_obstacle
from embedge.progress import ProgressBar
from embedge.reasons import one_line
from embedge.terminal import count_text, is_terminal

if TYPE_CHECKING:
    from embedge.embedder import Embedder
    from embedge.search import Hit, SearchIndex
    from embedge.search.meaning import Maker

SUMMARY = "find the passages and images of a folder that answer a query"
DESCRIPTION = """\
Splits the texts under each PATH (a file or folder; the current folder if none is given) into
passages, embeds them and the query, and prints the best passages with score (the cosine to the
query), file and line. Passages are ranked by meaning and by the words of the query that stand in
them; which words those are is printed. The vectors and the passages are stored in an index in your
cache folder; the next search embeds only what has changed. Where that takes long, a terminal shows
the first hits while the rest is embedded. Hidden files, links, binary files, what .gitignore names,
folders named build, dist, node_modules or __pycache__, lock files, minified code, and data and logs
of more than 256 KiB are left out; see --all and --include. With a pack that has an image tower,
images are found too, and --sheet draws them."""
EXAMPLES = (
    'embedge search "how do I cancel a running encode?" docs/',
    'embedge search "sick leave" handbook/ -k 3 --json',
    'embedge search "who is on call?" notes/ wiki/ README.md',
    "embedge search \"where is the cache?\" . --include '*.py' --exclude tests/",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("query", metavar="QUERY", help="what to look for, in words")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        type=Path,
        help="files and folders of texts (default: the current folder)",
    )
    parser.set_defaults(rest="paths")  # also behind options
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
        "--index",
        type=Path,
        metavar="FILE",
        help="file of the index (default: one for each folder)",
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
    given = given_paths(options.paths)  # before the model: a wrong path shows at once
    if options.sheet is not None:
        _check_not_searched(options.sheet, given)
    chosen = {"path": given.roots, "include": options.include, "exclude": options.exclude}
    with (
        ProgressBar(options.progress, patient=True) as progress,
        arguments.open_embedder(options) as embedder,
        _open_index(options, given.roots, embedder) as index,
    ):
        pictures = embedder.manifest.image is not None
        if pictures:
            quiet_libtiff()
        if options.sheet is not None and not pictures:
            raise OptionError(
                f"--sheet draws images, and {embedder.manifest.model_id} embeds texts only; name "
                "a pack with an image tower"
            )

        def ask() -> "list[Hit]":
            return index.search(
                options.query,
                top_k=options.top_k,
                kind=options.only,
                mode=options.mode,
                **chosen,
            )

        damage: list[IndexRowsError] = []  # forgotten by now, and embedded again by an update

        def ask_early() -> tuple[int, list[str]]:
            try:
                hits = ask()
            except IndexRowsError as error:
                damage.append(error)
                return 0, []
            except (SearchIndexError, OptionError):  # what is wrong is said by the final search
                return 0, []
            shown = (lines_of(hit, given.shown, mode=options.mode) for hit in hits[:MOST_HITS])
            lines = [line for some in shown for line in some]
            return index.count(**chosen)[1], lines

        # Programs get the final hits alone.
        person = is_terminal(sys.stdout) and is_terminal(sys.stderr)
        wanted = person and not (options.json or options.quiet)
        early = EarlyHits(ask_early, progress.say) if wanted else None
        report = bring_up_to_date(index, given, progress, early, options)
        files, passages = index.count(**chosen)
        if passages and not damage:
            try:
                hits = ask()
            except IndexRowsError as error:
                damage.append(error)
        if damage:
            progress.say(f"embedge: {one_line(damage[0])}")
            report = bring_up_to_date(index, given, progress, None, options)
            files, passages = index.count(**chosen)
            hits = ask()
    say_left_out(report, given, once=not passages)
    if not passages:
        things = "text and no image" if pictures else "text"
        fits = " that fits --include and --exclude" if options.include or options.exclude else ""
        screen.say(f"embedge: {given} holds no {things} to search{fits}")
        return 1
    counted = f"{passages:,} passages and images" if pictures else count_text(passages, "passage")
    if early is not None and early.shown:
        screen.note(f"embedge: of all {counted}:")
    for hit in hits:
        if options.json:
            screen.show_json(value_of(hit, given.shown))
        else:
            for line in lines_of(hit, given.shown, mode=options.mode):
                screen.show(line)
    if hits and all(hit.fit is not None and hit.fit < 0 for hit in hits):
        screen.note("embedge: no passage matches well; these are only the nearest ones")
    if not hits and options.mode == "words":
        screen.say("embedge: no passage holds any of these words; try --mode hybrid")
    if options.sheet is not None:
        _draw([hit for hit in hits if hit.kind == "image"], given, options.sheet)
    updates = f" ({', '.join(changes)})" if (changes := changes_of(report)) else ""
    screen.note(f"embedge: searched {counted} in {count_text(files, 'file')}{updates}")
    return 0


def _open_index(
    options: argparse.Namespace, roots: list[Path], embedder: "Embedder"
) -> "SearchIndex":
    """The index that the command line describes; made again, with a message, if it does not fit."""
    from embedge.search import SearchIndex, default_place

    if options.no_index:
        return SearchIndex(None, embedder, task=options.task)
    maker = SearchIndex.maker_of(embedder, task=options.task)
    place = options.index
    if place is None:
        place = default_place(roots, maker, new=options.rebuild)
    if not place.exists():
        screen.note(f"embedge: the index, which holds the passages too, is {place}")
    try:
        index = SearchIndex(place, embedder, task=options.task, rebuild=options.rebuild)
    except IndexOutdatedError as error:
        if options.index is None:
            place = default_place(roots, maker, new=True)  # not that of a folder above
        else:
            _check_maker(place, maker, error)
        screen.note(f"embedge: {error.change}; embedding everything again")
        index = SearchIndex(place, embedder, task=options.task, rebuild=True)
    with contextlib.suppress(OSError):
        os.utime(place)  # `embedge index --list` shows when it was used
    return index


def _check_maker(place: Path, maker: "Maker", error: IndexOutdatedError) -> None:
    """Refuses to empty an index that somebody named and another model or task made."""
    from embedge.search.kept import made_by

    other = made_by(place)
    if other is None or (other.model_id, other.task) == (maker.model_id, maker.task):
        return
    raise IndexOutdatedError(
        f"{place} was made with {other.model_id}, task {other.task}, and this is {maker.model_id}, "
        f"task {maker.task}; name another file (--index FILE) or that pack and task, or embed "
        "everything again (--rebuild)",
        change=error.change,
    )


def _check_sheet(path: Path) -> None:
    """Refuses a place where no sheet can be written, before any work."""
    if path.suffix.lower() != ".png":
        raise OptionError(f"--sheet {path}: give a name that ends in .png")
    if obstacle := find_obstacle(path):
        raise OptionError(f"--sheet {path} {obstacle}")


def _check_not_searched(path: Path, given: Given) -> None:
    """Refuses to draw over one of the files that are searched, unless it is an older sheet."""
    from embedge.images.sheet import is_sheet

    searched = any(path.resolve().is_relative_to(root) for root in given.roots)
    if searched and path.is_file() and not is_sheet(path):
        raise OptionError(f"--sheet {path} is one of the images that are searched; name a new file")


def _draw(hits: "list[Hit]", given: Given, path: Path) -> None:
    """Writes the contact sheet, whole or not at all."""
    if not hits:
        screen.say(f"embedge: no images were found, so {path} is not drawn")
        return
    from embedge.images.sheet import MOST, draw_sheet, encode_sheet

    found = [(hit.path, hit.score) for hit in hits if hit.path is not None]
    sheet = draw_sheet([(place, (f"{score:.4f}", _label(place, given))) for place, score in found])
    with WholeFile(path) as file:
        file.stream.write(encode_sheet(sheet))
    screen.note(f"embedge: {count_text(min(len(hits), MOST), 'image')} drawn in {path}")


def _label(path: Path, given: Given) -> str:
    root = next(root for root in given.roots if path.is_relative_to(root))
    return str(path.relative_to(root.parent))
