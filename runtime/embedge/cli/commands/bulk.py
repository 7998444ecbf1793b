"""`embedge bulk`: data sets of any size to part files with vectors, which a second run completes.

Checks what the command line names, hands what makes the parts the inputs, the folder and the
encoder, and prints what it reports.
"""

import argparse
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from embedge.cli import arguments
from embedge.cli.bulk_inputs import (
    IMAGE_ROWS,
    TEXT_ROWS,
    facts_of_inputs,
    find_sources,
    settle_images,
)
from embedge.cli.bulk_makers import open_maker
from embedge.cli.bulk_report import Report
from embedge.cli.checking import check_parts
from embedge.cli.facts import vector_facts
from embedge.cli.interrupt import cancellable
from embedge.cli.libtiff import quiet_libtiff
from embedge.cli.loading import add_load_options, check_target, load_into, read_target
from embedge.cli.outputs import local_folder
from embedge.errors import ClusterError, OptionError
from embedge.progress import ProgressBar

if TYPE_CHECKING:
    import numpy as np

    from embedge.embedder import Embedder
    from embedge.parts.plan import Plan

SUMMARY = "turn a data set into part files with vectors; go on where a run ended"
DESCRIPTION = """\
Turns the texts of a data set, or its images, into Parquet files. INPUT is a file, a folder, a
pattern such as "data/*.parquet" or a URI such as s3://bucket/texts/: Parquet, Arrow, JSON lines,
JSON arrays, CSV or TSV; with --images, image files. DIR/parts gets a file for every so many rows
(--rows), in their order, with the columns of the input, the vectors ("embedding") and, where a row
has none, the reason ("error"). Each file appears whole. The same command again skips what is done,
also after the process was killed; it refuses another pack, other options and changed inputs. With
--shard, several processes share the work and make the same files; with --ray, the nodes of a Ray
cluster do. With --to, a vector store's own library then loads the parts. Needs pyarrow:
pip install "embedge[bulk]"."""
EXAMPLES = (
    "embedge bulk data/ --out vectors/",
    'embedge bulk "data/*.parquet" --column body --keep id --task retrieval --out vectors/',
    "embedge bulk texts.jsonl.gz --embedding-type ubinary --out codes/",
    'embedge bulk s3://bucket/texts/ --shard "$INDEX/100" --out /shared/vectors/',
    "embedge bulk /shared/data/ --ray auto --threads 8 --out /shared/vectors/",
    "embedge bulk data/ --out vectors/ --verify --check 1000",
    "embedge bulk products.parquet --image-column photo --pack clip-v2 --out vectors/",
    "embedge bulk --images photos/ --pack clip-v2 --out vectors/",
    "embedge bulk data/ --out vectors/ --to qdrant:http://localhost:6333 --table notes",
    "embedge bulk data/ --out vectors/ --to sqlite-vec:notes.db --table notes --id-column id",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="a file, a folder, a pattern or a URI"
    )
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="the folder to write, or to complete"
    )
    arguments.add_pack_option(parser)
    arguments.add_vector_options(parser)
    parser.add_argument(
        "--ranges",
        metavar="FILE",
        help="for int8 and uint8: a .npy file (2, width) with the smallest and largest value of "
        "each dimension, as `embedge embed --ranges` writes it",
    )
    parser.add_argument(
        "--column",
        metavar="NAME",
        help="which column holds the text (default: text)",
    )
    parser.add_argument(
        "--image-column",
        metavar="NAME",
        help="embed images, which this column holds: paths, bytes, or records of both",
    )
    parser.add_argument(
        "--root",
        dest="image_root",
        metavar="FOLDER",
        help="what paths in the column of images are relative to, a path or a URI (default: the "
        "folder of the file that they stand in)",
    )
    parser.add_argument(
        "--images",
        action="store_true",
        help="take each INPUT for an image or a folder of images; the column path names them",
    )
    parser.add_argument(
        "--keep",
        metavar="NAMES",
        help='columns to write beside the vectors, as in "id,title"; "" for none (default: all)',
    )
    parser.add_argument(
        "--into",
        default="embedding",
        metavar="NAME",
        help="name of the column of vectors (default: embedding)",
    )
    parser.add_argument(
        "--rows",
        type=arguments.positive,
        metavar="N",
        help="rows of a part; what a process that is killed has to do again (default: "
        f"{TEXT_ROWS}, and {IMAGE_ROWS} of images)",
    )
    parser.add_argument(
        "--shard",
        type=shard,
        default=(1, 1),
        metavar="I/N",
        help="make the I-th of N equal groups of parts; N processes make all (default: 1/1)",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="make the parts on a Ray cluster, whose nodes share the folders: auto, local or "
        "HOST:PORT; an actor has --threads CPUs (needs embedge[ray])",
    )
    parser.add_argument(
        "--on-error",
        choices=("null", "raise"),
        default="null",
        help="a row that cannot be embedded: write it without a vector, or stop (default: null)",
    )
    add_load_options(parser)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read the parts that are done, and make again what is not as it was written",
    )
    parser.add_argument(
        "--check",
        type=arguments.positive,
        metavar="ROWS",
        help="embed so many rows again, chosen at random, and compare them with the parts; the "
        "exit code is 1 if a vector is not its row's",
    )
    arguments.add_engine_options(parser)
    arguments.add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Makes the parts that are not done."""
    from embedge.parts.libraries import needs_pyarrow

    with needs_pyarrow():
        from embedge.parts.folder import RunFolder
        from embedge.parts.part import Form
        from embedge.parts.plan import Shard, make_plan
    from embedge.texts.tokens import TruncationWarning

    out = local_folder(options.out)
    settle_images(options)
    if options.ray is not None and options.shard != (1, 1):
        raise OptionError("--shard and --ray both share the work out; leave one of them out")
    if options.images:
        quiet_libtiff()
    ranges = _read_ranges(options)
    target = read_target(options)
    part_of = Shard(*options.shard)
    folder = RunFolder(out, part_of)
    with ProgressBar(options.progress) as progress:
        column, sources = find_sources(options, out=out, progress=progress)
        plan = make_plan(
            sources,
            column=column,
            into=options.into,
            keep=None if options.keep is None else _names(options.keep),
            rows_per_part=options.rows,
        )
        with warnings.catch_warnings(), arguments.open_embedder(options) as embedder:
            warnings.simplefilter("ignore", TruncationWarning)  # said once, at the end
            encode: Callable[..., Any] = partial(
                embedder.encode_image if options.images else embedder.encode,
                **arguments.vector_options(options),
                embedding_type=options.embedding_type,
                ranges=ranges,
            )
            empty = encode([])  # a wrong option shows here, before anything is written
            facts = _facts(options, embedder, ranges)
            form = Form(plan.schema, options.into, empty.dtype, empty.shape[1], facts)
            if target is not None:
                layout = check_target(options, folder, target, form)

            def work(items: Sequence[str | bytes], /, **callbacks: Any) -> Any:
                return cancellable(lambda cancel: encode(items, cancel=cancel, **callbacks))

            with open_maker(options, embedder, encode, work, part_of) as (make, counts):
                report = Report(progress, counts, options.flags)
                try:
                    result = make(
                        plan=plan,
                        folder=folder,
                        form=form,
                        job=_job(options, plan, facts),
                        listener=report,
                        verify=options.verify,
                        stop_at_error=options.on_error == "raise",
                    )
                except (KeyboardInterrupt, OSError, ClusterError):
                    report.say_kept()
                    raise
            report.say_result(result, shard=part_of, out=out)
            if options.check and not check_parts(
                options, plan, folder, work, form, embedder, progress, shard=part_of
            ):
                return 1
    if target is not None:
        with ProgressBar(options.progress) as progress:  # another one, which counts its own time
            load_into(target, layout, plan, folder, progress, missing=result.missing)
    return 0


def shard(text: str) -> tuple[int, int]:
    """An argparse type: I/N, with I from 1 to N."""
    first, _, second = text.partition("/")
    index, count = int(first), int(second)
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(f"{text} is no I/N with I from 1 to N")
    return index, count


shard.__name__ = "shard"  # argparse: "invalid shard value: 'x'"


def _names(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]


def _read_ranges(options: argparse.Namespace) -> "np.ndarray[Any, Any] | None":
    """The ranges that int8 and uint8 need before the first text.

    Raises:
        OptionError: they are missing, or are given for another type.
    """
    ranges = arguments.read_ranges_option(options)
    if ranges is not None or options.embedding_type not in ("int8", "uint8"):
        return ranges
    if options.ranges is None:
        raise OptionError(
            f"{options.embedding_type} needs --ranges FILE, for a text's numbers shall not "
            "depend on its part; `embedge embed --ranges FILE` writes it from a sample"
        )
    raise OptionError(
        f"--ranges {options.ranges} does not exist; `embedge embed --ranges` writes such a file"
    )


def _facts(
    options: argparse.Namespace, embedder: "Embedder", ranges: "np.ndarray[Any, Any] | None"
) -> dict[str, Any]:
    """What the vectors are, as plain JSON: for the manifest, and in every part."""
    import hashlib  # not while help is shown

    facts = vector_facts(options, embedder, kind="parquet")
    for name in ("embedge", "format"):
        del facts[name]
    if options.images:
        facts["tower"] = "image"
    else:
        facts["on_overflow"] = options.on_overflow
    facts["device"] = embedder.device
    if ranges is not None:
        facts["ranges_sha256"] = hashlib.sha256(ranges.tobytes()).hexdigest()
    return facts


def _job(options: argparse.Namespace, plan: "Plan", facts: dict[str, Any]) -> dict[str, Any]:
    """What the run is, as plain JSON: what must be the same in every process and every time."""
    from importlib import metadata

    from embedge import __version__
    from embedge.engine.loading import runtime_version

    names = ["numpy", "pyarrow", "tokenizers", *(["pillow"] if options.images else [])]
    libraries = {name: metadata.version(name) for name in names}
    return {
        "vectors": facts,
        "options": {
            **facts_of_inputs(options),
            "--keep": None if options.keep is None else _names(options.keep),
            "--into": options.into,
            "--rows": options.rows,
        },
        "versions": {"embedge": __version__, "onnxruntime": runtime_version(), **libraries},
        "rows": plan.rows,
        "parts": plan.count,
        "inputs": [
            {
                "name": source.input.name,
                "size": source.input.size,
                "rows": source.rows,
                "sha256": source.digest,
            }
            for source in plan.sources
        ],
    }
