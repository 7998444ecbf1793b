"""`embedge embed`: texts from files or stdin, or images, to vectors: a stream in bounded memory.

Checks what the command line names, hands a `bulk.job.Job` its records, encoder and sink, and prints
what it reports.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from embedge.bulk.image_files import image_records
from embedge.bulk.records import COLUMN, FORMATS, STDIN, Bad, Record, read_records, text_records
from embedge.cli import arguments, screen
from embedge.cli.embed_report import Report
from embedge.cli.facts import vector_facts
from embedge.cli.flags import in_flags
from embedge.cli.inputs import check_paths
from embedge.cli.interrupt import cancellable
from embedge.cli.libtiff import quiet_libtiff
from embedge.cli.outputs import check_different, check_not_read, check_output, metadata_place
from embedge.cli.resume import check_resume, earlier_state, job_facts
from embedge.cli.streams import input_bytes
from embedge.errors import CancelledError, OptionError
from embedge.pack.manifest import MANIFEST
from embedge.progress import ProgressBar
from embedge.terminal import is_terminal
from embedge.windows import IMAGES, TEXTS, Window

if TYPE_CHECKING:
    from embedge.bulk.resuming import State
    from embedge.bulk.sinks import Sink

SUMMARY = "turn texts or images into vectors"
DESCRIPTION = """\
Turns texts into vectors. An input holds one text per line, JSON lines ({"text": ..., "id": ...} or
a string), a JSON array of these, a table (CSV, TSV), or one text as a whole; in UTF-8, or in UTF-16
or UTF-32 with a byte order mark. Without INPUT, stdin is read. The output has a JSON line for each
text, {"index" or "id": ..., "embedding": [...]}, in input order, or is a .npy array. "index" is the
text's place in the input and its row in the array. A malformed line is reported on stderr with its
file and number, and skipped (its row in an array is NaN, or 0 in smaller types); the exit code is
then 1. What the vectors are, and which inputs were left out and why, is written beside --out, as
OUT.meta.json. With --images, INPUT is an image or a folder of images, and the "id" is the image's
path."""
EXAMPLES = (
    "embedge embed notes.txt --out vectors.npy",
    "embedge embed reviews.csv --column review --out reviews.npy",
    'embedge embed -t "one text" -t "another"',
    "embedge embed documents.jsonl --task retrieval --prompt-name document --out v.jsonl",
    "cat notes.txt | embedge embed --embedding-type ubinary > codes.jsonl",
    "embedge embed --images photos/ --pack clip-v2 --out photos.npy",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="a file, or - for stdin")
    parser.add_argument(
        "-t",
        "--text",
        action="append",
        metavar="TEXT",
        help="embed this text itself, in place of INPUT (may be repeated)",
    )
    parser.add_argument(
        "--images", action="store_true", help="read each INPUT as an image, or a folder of images"
    )
    arguments.add_pack_option(parser)
    arguments.add_vector_options(parser)
    parser.add_argument(
        "--ranges",
        metavar="FILE",
        help="for int8 and uint8: a .npy file (2, width) with the smallest and largest value of "
        "each dimension; read if it exists, else written from these texts, for later runs",
    )
    arguments.add_engine_options(parser)
    parser.add_argument(
        "--input-format",
        choices=FORMATS,
        default="auto",
        help="lines: one text per line; jsonl: one JSON object or string per line; json: an array "
        "of them; csv, tsv: a table whose first row names the columns; file: one text per file; "
        "auto: by the name, lines where it says nothing (default: auto)",
    )
    parser.add_argument(
        "--column",
        default=COLUMN,
        metavar="NAME",
        help="of tables and JSON objects, which field holds the text (default: text); a field id "
        "names it",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "npy"),
        help="format of the output (default: npy if --out ends in .npy, else jsonl)",
    )
    parser.add_argument("--out", metavar="FILE", help="the output (default: stdout)")
    parser.add_argument(
        "--meta",
        metavar="FILE",
        help="where to write, as JSON, what the vectors are (model, fingerprint, task, prompt, "
        "dimension, ...) and which inputs were left out, and why (default: the name of --out with "
        ".meta.json after it; none on stdout)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where an earlier run of this command was stopped; it starts from the "
        "beginning where none was",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="answer each line at once rather than many together, for a program that waits for it",
    )
    arguments.add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Embeds everything; 1 if some records were bad."""
    from embedge.bulk.job import NOTHING_DONE, Job  # NumPy: not while help is shown
    from embedge.bulk.metadata import DescribedSink, MetadataFile
    from embedge.bulk.ranges import RangesSink
    from embedge.bulk.resuming import ResumableSink
    from embedge.bulk.sinks import LinesSink, open_sink
    from embedge.texts.tokens import TruncationWarning

    if options.images:
        _check_image_options(options)
        quiet_libtiff()
    if options.text and options.inputs:
        raise OptionError("--text and INPUT are both given; leave one out")
    paths = [] if options.text else options.inputs or [STDIN]
    ranges = arguments.read_ranges_option(options)
    if options.stream and options.embedding_type in ("int8", "uint8") and ranges is None:
        raise OptionError(
            f"--stream answers each line at once, and {options.embedding_type} needs all of them "
            "for its ranges; name a file of ranges with --ranges"
        )
    # Buckets that come from the texts themselves are known only when all texts are embedded.
    later = options.embedding_type in ("int8", "uint8") and ranges is None
    images = image_records(paths) if options.images else []
    if options.images:
        read = [record.text for record in images if isinstance(record, Record)]
        total: int | None = sum(record.size for record in images)
    else:
        total = check_paths(paths, input_format=options.input_format) if paths else None
        read = paths
    path, kind = check_output(options.out, options.format, inputs=read)
    metadata = metadata_place(options.meta, path, read)
    check_different(out=path, ranges=options.ranges, meta=metadata)
    can_go_on = check_resume(options, path, read, later=later)
    state: State | None = None
    if STDIN in paths and is_terminal(sys.stdin):
        screen.note("embedge: reading texts from the terminal, one a line; Ctrl-D ends the input")
    with (
        warnings.catch_warnings(),
        arguments.open_embedder(options) as embedder,
        ProgressBar(options.progress) as progress,
    ):
        held = [embedder.folder / name for name in (MANIFEST, *embedder.manifest.files)]
        check_not_read("--out", path, held)
        check_not_read("--meta", metadata, held)
        warnings.simplefilter("ignore", TruncationWarning)  # said once, at the end, with a count
        encode: Callable[..., Any] = partial(
            embedder.encode_image if options.images else embedder.encode,
            **arguments.vector_options(options),
            embedding_type="float32" if later else options.embedding_type,
            ranges=ranges,
        )
        width = encode([]).shape[1]  # a wrong option shows here, before anything is read
        if not options.images:
            embedder.load(options.task)  # what fails here is no text's fault
        about = vector_facts(options, embedder, kind=kind)
        describe: Callable[..., MetadataFile] | None = None
        if metadata is not None:
            reword = partial(in_flags, flags=options.flags)
            describe = partial(MetadataFile, metadata, about, reword=reword)
        sink: Sink = LinesSink(sys.stdout, "stdout")
        if path is not None and can_go_on:
            facts = job_facts(options, about, read, ranges)
            state = earlier_state(path, facts, resume=options.resume, metadata=metadata)
            sink = ResumableSink(
                path,
                kind,
                embedding_type=options.embedding_type,
                width=width,
                job=facts,
                describe=describe,
                state=state,
            )
        else:
            if path is not None:
                sink = open_sink(path, kind, embedding_type=options.embedding_type, width=width)
            if describe is not None:
                sink = DescribedSink(sink, describe())
        if later:
            sink = RangesSink(sink, options.embedding_type, width, options.ranges)
        records: Iterable[Record | Bad] = images
        if not options.images:
            stdin = input_bytes() if STDIN in paths else None
            records = read_records(
                paths, input_format=options.input_format, stdin=stdin, column=options.column
            )
            if options.text:
                records = text_records(options.text)
        report = Report("images" if options.images else "texts", progress, options.flags)
        job = Job(
            lambda items, **callbacks: cancellable(
                lambda cancel: encode(items, cancel=cancel, **callbacks)
            ),
            sink,
            window=_window(options),
            total=total,
            truncations=lambda: embedder.truncations,
            on_progress=report.show_step,
            on_refused=report.say_refused,
            done=NOTHING_DONE if state is None else state.done,
        )
        try:
            summary = job.run(records)
        except (KeyboardInterrupt, CancelledError):
            if isinstance(sink, ResumableSink) and sink.kept is not None:
                report.say_kept(sink.kept.items)
            raise
        if isinstance(sink, RangesSink) and sink.count:
            report.say_ranges(options, sink.count)
        if options.task is None and summary.embedded:
            report.say_task(embedder.manifest)
        report.say_summary(summary, filler=sink.filler, metadata=metadata)
        return 1 if summary.bad else 0


def _window(options: argparse.Namespace) -> Window:
    """How many records are held at a time."""
    if options.stream:
        return Window(first=1, most=1, size=None)
    return IMAGES if options.images else TEXTS


def _check_image_options(options: argparse.Namespace) -> None:
    """Refuses what has no meaning for images, rather than ignoring it."""
    if options.text:
        raise OptionError("--text is for texts; leave it out with --images")
    if not options.inputs or STDIN in options.inputs:
        raise OptionError("--images takes files and folders; name at least one")
    if options.column != COLUMN:
        raise OptionError("--column is for texts; leave it out with --images")
    arguments.refuse_text_options(options, "--images", ["input_format"])
