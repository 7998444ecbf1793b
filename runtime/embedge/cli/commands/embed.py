"""`embedge embed`: texts from files or stdin, or images, to vectors: a stream in bounded memory.

Reads records (`bulk/records.py`), encodes them a chunk at a time, writes them in order
(`bulk/sinks.py`). A bad record is told and passed over; the others still come out.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.bulk.image_files import chunked, image_paths
from embedge.bulk.records import FORMATS, STDIN, Bad, Record, check_paths, read_records
from embedge.cli import common
from embedge.cli.progress import Progress, add_progress_option
from embedge.cli.streams import is_terminal
from embedge.errors import MemoryLimitError, OptionError
from embedge.pack.manifest import MANIFEST

if TYPE_CHECKING:
    from embedge.bulk.sinks import Sink

SUMMARY = "turn texts or images into vectors"
DESCRIPTION = """\
Turns texts into vectors: one text a line by default, or JSON lines ({"text": ..., "id": ...} or a
string), or whole files; in UTF-8, or in UTF-16 or UTF-32 with a byte order mark. Reads stdin where
no INPUT is given. Writes a JSON line for each text, {"index" or "id": ..., "embedding": [...]}, in
input order, or a .npy array. "index" is its place in the input, and its row in the array.
A bad line is reported on stderr with its file and number, the others still come out (in an array,
the row of a bad one is NaN, or 0 in smaller types), and the exit code is 1.
With --images, INPUT is an image or a folder of images, and its path is its "id"."""

# Texts held at a time. The first chunks are small, so that a mistake shows at once.
FIRST_CHUNK, CHUNK = 64, 2048
CHUNK_BYTES = 8 * 2**20
NO_PLACE = -1  # index of what a folder holds and is no image: it has no row
MOST_TOLD = 20  # bad lines told one by one: a binary file has thousands


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="a file, or - for stdin")
    parser.add_argument(
        "--images", action="store_true", help="INPUT are images, or folders of images"
    )
    common.add_pack_option(parser)
    parser.add_argument("--task", help="what the vectors are for (default: the pack's own)")
    parser.add_argument("--prompt-name", metavar="NAME", help="e.g. query or document")
    parser.add_argument(
        "--truncate-dim", type=common.positive, metavar="N", help="keep the first N numbers"
    )
    parser.add_argument(
        "--max-length", type=common.positive, metavar="N", help="tokens of a text at most"
    )
    parser.add_argument(
        "--on-overflow",
        choices=("truncate", "error"),
        default="truncate",
        help="what to do with a longer text: cut it, or tell it and leave it out",
    )
    parser.add_argument(
        "--embedding-type",
        choices=("float32", "int8", "uint8", "binary", "ubinary"),
        default="float32",
        help="how a vector is written (default: float32)",
    )
    parser.add_argument(
        "--ranges",
        metavar="FILE",
        help="int8, uint8: .npy (2, width) of the smallest and largest value of each number; "
        "used if it is there, else made from these texts, for the queries to come",
    )
    common.add_engine_options(parser)
    parser.add_argument(
        "--input-format",
        choices=FORMATS,
        default="auto",
        help="lines: a text a line; jsonl: a JSON object or string a line; file: a text a file; "
        "auto: jsonl for .jsonl, else lines",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "npy"),
        help="default: npy if --out ends in .npy, else jsonl",
    )
    parser.add_argument("--out", metavar="FILE", help="default: stdout")
    add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Embeds everything; 1 if some records were bad."""
    from embedge.bulk.ranges import RangesSink, check_different, read_ranges
    from embedge.bulk.sinks import (  # NumPy: not while help is shown
        check_not_read,
        check_output,
        open_sink,
    )
    from embedge.texts.tokens import TruncationWarning

    if options.images:
        _check_image_options(options)
    paths = options.inputs or [STDIN]
    ranges = read_ranges(options.ranges, options.embedding_type)
    # Buckets that come from the texts themselves are known only when all texts are embedded.
    later = options.embedding_type in ("int8", "uint8") and ranges is None
    images, total = (
        _image_records(paths)
        if options.images
        else ([], check_paths(paths, input_format=options.input_format))
    )
    read = [record.text for record in images if isinstance(record, Record)] or paths
    path, kind = check_output(options.out, options.format, inputs=read)
    check_different(path, options.ranges)
    if STDIN in paths and is_terminal(sys.stdin):
        common.say("embedge: reading texts from the terminal, one a line; Ctrl-D ends the input")
    with (
        warnings.catch_warnings(),
        common.open_embedder(options) as embedder,
        Progress(options.progress) as progress,
    ):
        held = [embedder.folder / name for name in (MANIFEST, *embedder.manifest.files)]
        check_not_read("--out", path, held)
        warnings.simplefilter("ignore", TruncationWarning)  # told once, at the end, with a count
        encode: Callable[..., Any] = partial(
            embedder.encode_image if options.images else embedder.encode,
            task=options.task,
            truncate_dim=options.truncate_dim,
            embedding_type="float32" if later else options.embedding_type,
            ranges=ranges,
        )
        if not options.images:
            encode = partial(
                encode,
                prompt_name=options.prompt_name,
                max_length=options.max_length,
                on_overflow=options.on_overflow,
            )
        width = encode([]).shape[1]  # a wrong option shows here, before anything is read
        if not options.images:
            embedder.load(options.task)  # what fails here is no text's fault
        sink = open_sink(path, kind, embedding_type=options.embedding_type, width=width)
        if later:
            sink = RangesSink(sink, options.embedding_type, width, options.ranges)
        if options.images:
            job: _Job = _ImageJob(encode, sink, progress, total)
            stream: Iterable[Sequence[Record | Bad]] = (chunk for _, chunk in chunked(images))
        else:
            job = _Job(encode, sink, progress, total)
            stream = chunks(read_records(paths, input_format=options.input_format))
        try:
            for chunk in stream:
                job.work(chunk)
            sink.finish(job.count)
        except BaseException:
            sink.abandon()
            raise
        return job.report(cut=embedder.truncations)


def chunks(
    records: Iterator[Record | Bad], *, first: int = FIRST_CHUNK, most: int = CHUNK
) -> Iterator[list[Record | Bad]]:
    """Cuts a stream into lists, of `first` records and then ever more, in bounded memory."""
    limit, held, size = first, [], 0
    for record in records:
        held.append(record)
        size += record.size
        if len(held) >= limit or size >= CHUNK_BYTES:
            yield held
            limit, held, size = min(limit * 2, most), [], 0
    if held:
        yield held


def _check_image_options(options: argparse.Namespace) -> None:
    """Refuses what has no meaning for images, rather than passing over it."""
    if not options.inputs or STDIN in options.inputs:
        raise OptionError("--images takes files and folders; name at least one")
    for name, unset in (
        ("prompt_name", None),
        ("max_length", None),
        ("on_overflow", "truncate"),
        ("input_format", "auto"),
    ):
        if getattr(options, name) != unset:
            raise OptionError(
                f"--{name.replace('_', '-')} is for texts; leave it out with --images"
            )


def _image_records(paths: list[str]) -> tuple[list[Record | Bad], int | None]:
    """A record for every image, whose text is its path, and the bytes of all.

    Raises:
        InputError: a path does not exist, or a folder cannot be read.
    """
    bad: list[tuple[Path, str]] = []
    found = image_paths(paths, refuse=lambda path, reason: bad.append((path, reason)))
    records: list[Record | Bad] = [
        Record(index, f"image {index + 1}", str(path), str(path), path.stat().st_size)
        for index, path in enumerate(found)
    ]
    records += [Bad(NO_PLACE, str(path), reason, 0) for path, reason in bad]
    return records, sum(record.size for record in records)


class _Job:
    """Counts and state of one run of the command."""

    things = "texts"

    def __init__(
        self, encode: Callable[..., Any], sink: "Sink", progress: Progress, total: int | None
    ) -> None:
        self._encode = encode
        self._sink = sink
        self._progress = progress
        self._total = total  # bytes of all inputs; None if not known
        self._read = 0  # bytes of the chunks before this one
        self._written = 0
        self._bad = 0
        self.count = 0  # items with a place in the output, the bad ones included

    def work(self, chunk: Sequence[Record | Bad]) -> None:
        """Encodes one chunk and writes it."""
        for item in chunk:
            self.count += item.index != NO_PLACE
            if isinstance(item, Bad):
                self._refuse(item.where, item.reason)
        records = [item for item in chunk if isinstance(item, Record)]
        size = sum(item.size for item in chunk)
        if records:
            self._embed(records, size)
        self._read += size

    def _embed(self, records: list[Record], size: int) -> None:
        from embedge.bulk.sinks import Item

        bad: dict[int, str] = {}
        try:
            rows = common.cancellable(
                lambda cancel: self._encode(
                    [record.text for record in records],
                    on_error=bad.__setitem__,
                    progress=self._teller(size),
                    cancel=cancel,
                )
            )
        except MemoryLimitError as error:
            # Refused before anything ran, for the sake of some texts: find them by halves.
            if len(records) == 1:
                self._refuse(records[0].where, common.sentence(error))
                return
            middle = len(records) // 2
            self._embed(records[:middle], 0)
            self._embed(records[middle:], size)
            return
        for index in sorted(bad):
            self._refuse(records[index].where, bad[index])
        kept = [index for index in range(len(records)) if index not in bad]
        items = [Item(records[index].index, records[index].id) for index in kept]
        if items:
            self._sink.write(items, rows[kept])
        self._written += len(kept)

    def _teller(self, size: int) -> Callable[[int, int], None]:
        """What tells the progress of a chunk of so many bytes."""

        def tell(done: int, count: int) -> None:
            part = None
            if self._total:
                part = (self._read + size * done / max(count, 1)) / self._total
            self._progress.update(part, f"{self._written + done:,} {self.things}")

        return tell

    def _refuse(self, where: str, reason: str) -> None:
        self._bad += 1
        if self._bad <= MOST_TOLD:
            self._progress.say(f"embedge: {where}: {reason}")
        elif self._bad == MOST_TOLD + 1:
            self._progress.say("embedge: more bad ones follow; they are only counted from here")

    def report(self, *, cut: int) -> int:
        """Says what is worth knowing at the end; the exit code."""
        if self._bad:
            rows = f"; their rows are {self._sink.filler}" if self._sink.filler else ""
            self._progress.say(
                f"embedge: {self._bad} of {self._bad + self._written} {self.things} "
                f"were left out{rows}"
            )
        elif not self._written:
            self._progress.say("embedge: the input holds no text; nothing was embedded")
        if cut:
            self._progress.say(
                f"embedge: {cut} texts were longer than the limit and were cut "
                "(--on-overflow error leaves them out instead)"
            )
        return 1 if self._bad else 0


class _ImageJob(_Job):
    """The same for images."""

    things = "images"
