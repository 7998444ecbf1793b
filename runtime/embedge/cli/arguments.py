"""What the commands' arguments share: which pack, how the network runs, and types of numbers.

Knows argparse and the `Embedder`'s arguments; imports the runtime only when an embedder is opened.
"""

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from embedge.errors import OptionError
from embedge.options import MOST, shown
from embedge.pack.manifest import PRECISIONS
from embedge.sizes import byte_count

if TYPE_CHECKING:
    import numpy as np

    from embedge.embedder import Embedder

PACK_VARIABLE = "EMBEDGE_PACK"
_ENGINE = (
    *("precision", "device", "threads", "memory_limit", "token_budget", "prepared"),
    "background",
)
PACK_HELP = (
    "the folder of the model pack, or its name as `embedge list` shows it (default: the "
    f"environment variable {PACK_VARIABLE}, else the bundled pack)"
)


def add_pack_option(parser: argparse.ArgumentParser) -> None:
    """`-p/--pack PACK`, for the commands whose positions belong to texts."""
    parser.add_argument("-p", "--pack", metavar="PACK", help=PACK_HELP)


def add_pack_argument(parser: argparse.ArgumentParser) -> None:
    """`PACK`, for the commands that are about a pack; `-p/--pack` does the same."""
    parser.add_argument("pack_position", nargs="?", metavar="PACK", help=PACK_HELP)
    parser.add_argument("-p", "--pack", metavar="PACK", help="the same as PACK")


def add_vector_options(parser: argparse.ArgumentParser) -> None:
    """What the vectors of texts are: task, prompt, width, length, type."""
    parser.add_argument(
        "--task",
        help="task of the vectors (default: the pack's default task, which `embedge info` shows; "
        "a line on stderr says so)",
    )
    parser.add_argument(
        "--prompt-name", metavar="NAME", help="prompt before each text, such as query or document"
    )
    parser.add_argument("--prompt", metavar="TEXT", help="put this text itself before each text")
    parser.add_argument(
        "--truncate-dim", type=positive, metavar="N", help="keep the first N dimensions"
    )
    parser.add_argument("--max-length", type=positive, metavar="N", help="longest text, in tokens")
    parser.add_argument(
        "--on-overflow",
        choices=("truncate", "error"),
        default="truncate",
        help="longer texts: cut them, or report and skip them (default: truncate)",
    )
    parser.add_argument(
        "--embedding-type",
        choices=("float32", "int8", "uint8", "binary", "ubinary"),
        default="float32",
        help="type of the numbers in the output (default: float32)",
    )


def vector_options(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_vector_options` took, but for the type, for `encode` or `encode_image`."""
    chosen = {"task": options.task, "truncate_dim": options.truncate_dim}
    if options.images:
        return chosen
    return {
        **chosen,
        "prompt_name": options.prompt_name,
        "prompt": options.prompt,
        "max_length": options.max_length,
        "on_overflow": options.on_overflow,
    }


def refuse_text_options(options: argparse.Namespace, flag: str, others: Sequence[str] = ()) -> None:
    """Refuses what has no meaning for images, rather than ignoring it.

    Args:
        options: of a command that `add_vector_options` was called for.
        flag: what says that there are images.
        others: options of the command that are for texts too, which are None or "auto" if left out.

    Raises:
        OptionError: one of them was given.
    """
    for name in ("prompt_name", "prompt", "max_length", "on_overflow", *others):
        if getattr(options, name) not in (None, "truncate", "auto"):
            raise OptionError(f"--{name.replace('_', '-')} is for texts; leave it out with {flag}")


def read_ranges_option(options: argparse.Namespace) -> "np.ndarray[Any, Any] | None":
    """The ranges (2, width) that `--ranges` names; None if there are none yet.

    Raises:
        OptionError: they cannot be read, or the type of the vectors takes none.
    """
    from embedge.bulk.ranges import read_ranges

    if options.ranges is None:
        return None
    if options.embedding_type not in ("int8", "uint8"):
        raise OptionError(
            f"--ranges serves int8 and uint8, not {options.embedding_type}; leave it out"
        )
    try:
        return read_ranges(options.ranges)
    except OptionError as error:
        raise OptionError(f"--ranges {error}") from None


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """How the network runs: precision, device, threads, memory, priority."""
    parser.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="precision of the graphs to run (default: auto, by the device)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu or cuda; an error where it is unavailable (default: auto)",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads of one run (default: the environment variable EMBEDGE_THREADS, else by the "
        "CPU cores of this process)",
    )
    parser.add_argument(
        "--memory-limit",
        type=size,
        metavar="SIZE",
        help="memory that the runs under way may take together beside the weights, such as 500MB "
        "or 2GiB (default: the environment variable EMBEDGE_MEMORY_LIMIT, else a share of what is "
        "free)",
    )
    parser.add_argument(
        "--token-budget",
        type=positive,
        metavar="N",
        help="padded tokens of one run (default: the environment variable EMBEDGE_TOKEN_BUDGET, "
        "else what the CPU's caches hold)",
    )
    parser.add_argument(
        "--prepared",
        metavar="FOLDER",
        help="keep weights there in this machine's own layout, mapped and shared (CPU, Linux)",
    )
    parser.add_argument(
        "--background",
        action="store_true",
        help="leave the cores to other programs: half of the threads, at low priority",
    )


def add_progress_option(parser: argparse.ArgumentParser) -> None:
    """`--progress` and `--no-progress`."""
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="show a progress line on stderr (default: if stderr is a terminal)",
    )


def positive(text: str) -> int:
    """An argparse type: a whole number of at least 1, as large as any that can be meant."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    if value > MOST:
        raise argparse.ArgumentTypeError(f"{shown(text)} is more than 64 bits hold")
    return value


def size(text: str) -> int:
    """An argparse type: bytes, as `sizes.byte_count` reads them."""
    try:
        return byte_count(text, "the size")
    except OptionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


positive.__name__ = "whole number"  # argparse: "invalid whole number value: 'x'"


def pack_path(options: argparse.Namespace) -> str | None:
    """The pack that the command line or the environment names; None for the bundled one."""
    position = getattr(options, "pack_position", None)
    if position and options.pack and position != options.pack:
        raise OptionError(f"two packs are given, {position} and {options.pack}; name one")
    return position or options.pack or os.environ.get(PACK_VARIABLE) or None


def open_embedder(
    options: argparse.Namespace, *, precision: str | None = None, device: str | None = None
) -> "Embedder":
    """The embedder that the command line describes; the keywords override it."""
    path = pack_path(options)
    from embedge.embedder import Embedder

    given = engine_options(options)
    given["precision"] = precision or given["precision"]
    given["device"] = device or given["device"]
    return Embedder(path, **given)


def engine_options(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `Embedder` that `add_engine_options` asked for."""
    return {name: getattr(options, name) for name in _ENGINE}


def add_adapter_options(parser: argparse.ArgumentParser) -> None:
    """Where the adapters of a model stand, and the base model of one: `adapter_options` reads."""
    parser.add_argument(
        "--adapter",
        action="append",
        default=[],
        type=named,
        metavar="TASK=FOLDER",
        help="a LoRA adapter of the source in a folder elsewhere, as PEFT saves it; may be given "
        "several times",
    )
    parser.add_argument(
        "--base",
        metavar="BASE",
        help="folder or hub id of the base model, where the source is an adapter alone (default: "
        "what its adapter_config.json names)",
    )


def adapter_options(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments `adapters` and `base` of the exporter, as far as they were given."""
    adapters = by_name(options.adapter, "--adapter")
    words = {"adapters": adapters or None, "base": options.base}
    return {name: value for name, value in words.items() if value is not None}


def by_name(pairs: Sequence[tuple[str, str]], option: str) -> dict[str, str]:
    """The texts of an option that was given several times, by name; no name twice."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise OptionError(f"{option}: a name stands twice; give each once")
    return dict(pairs)


def named(text: str) -> tuple[str, str]:
    """An argparse type: the name and the text of NAME=TEXT."""
    name, sign, value = text.partition("=")
    if not name.strip() or not sign:
        raise argparse.ArgumentTypeError(
            f"{text!r} has no name; give a name, an equals sign and the text behind it"
        )
    return name.strip(), value
