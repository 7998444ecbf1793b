"""What the commands share: the pack and engine options, opening an embedder, talking to people.

Results go to stdout, everything said about the work goes to stderr. Knows argparse and the
`Embedder`'s arguments; imports the runtime only when an embedder is opened.
"""

import argparse
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from embedge.cli.streams import write_if_possible
from embedge.errors import OptionError
from embedge.options import MOST, shown
from embedge.pack.manifest import PRECISIONS
from embedge.printable import printable

if TYPE_CHECKING:
    from embedge.embedder import Embedder

PACK_VARIABLE = "EMBEDGE_PACK"
PACK_HELP = (
    f"the model pack, a folder (default: the environment variable {PACK_VARIABLE}, else the pack "
    "that embedge bundles)"
)

INTERRUPTED = 130  # exit code of Ctrl-C
PATIENCE = 5.0  # seconds that cancelled work may take to end; it takes some 20 ms

Result = TypeVar("Result")


def add_pack_option(parser: argparse.ArgumentParser) -> None:
    """`-p/--pack PACK`, for the commands whose positions belong to texts."""
    parser.add_argument("-p", "--pack", metavar="PACK", help=PACK_HELP)


def add_pack_argument(parser: argparse.ArgumentParser) -> None:
    """`PACK`, for the commands that are about a pack; `-p/--pack` does the same."""
    parser.add_argument("pack_position", nargs="?", metavar="PACK", help=PACK_HELP)
    parser.add_argument("-p", "--pack", metavar="PACK", help="the same")


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """How the network runs: precision, device, threads."""
    parser.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="which graphs to run (default: auto, by the device)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu or cuda; one that cannot be had is an error (default: auto)",
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads (default: by this process's share)"
    )
    parser.add_argument(
        "--prepared",
        metavar="FOLDER",
        help="keep weights there in this machine's own form, mapped and shared (CPU, Linux)",
    )


def positive(text: str) -> int:
    """An argparse type: a whole number of at least 1, as large as any that can be meant."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    if value > MOST:
        raise argparse.ArgumentTypeError(f"{shown(text)} is more than 64 bits hold")
    return value


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

    return Embedder(
        path,
        precision=precision or options.precision,
        device=device or options.device,
        threads=options.threads,
        prepared=options.prepared,
    )


def cancellable(work: Callable[[threading.Event], Result]) -> Result:
    """Runs `work(cancel)` in a thread, so that Ctrl-C is seen while the network runs.

    Python delivers Ctrl-C to the main thread only, between two steps of Python code; one run of
    the network is a single step. Here the main thread waits, sets `cancel`, and waits for the
    work to end. To leave while the network runs would abort the process, so a further Ctrl-C
    counts only after PATIENCE seconds.
    """
    cancel = threading.Event()
    results: list[Result] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(work(cancel))
        except BaseException as error:  # carried over to the main thread below
            errors.append(error)
        finally:
            done.set()

    # Not Thread.join: interrupted by Ctrl-C, Python 3.11 then takes the thread for ended.
    done = threading.Event()
    threading.Thread(target=target, name="embedge-work", daemon=True).start()
    try:
        while not done.wait(0.2):  # seconds; Windows sees Ctrl-C only between two waits
            pass
    except KeyboardInterrupt:
        cancel.set()
        end = time.monotonic() + PATIENCE
        while not done.is_set():
            try:
                done.wait(0.2)
            except KeyboardInterrupt:
                if time.monotonic() > end:
                    os._exit(INTERRUPTED)
        raise
    if errors:
        raise errors[0]
    return results[0]


# All that the commands print goes through these four, so that nothing that a file, a pack, a server
# or a name holds steers the terminal.


def say(line: str) -> None:
    """Prints one line on stderr, whatever it holds and whatever the encoding can show."""
    write_if_possible(sys.stderr, encodable(printable(line), sys.stderr.encoding) + "\n")


def show(line: str = "") -> None:
    """Prints one line on stdout, whatever it holds and whatever the encoding can show."""
    with naming_stdout():
        print(encodable(printable(line), sys.stdout.encoding))


@contextlib.contextmanager
def naming_stdout() -> Iterator[None]:
    """Writes to stdout within it fail with its name: a full disk is one of several."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or "stdout"
        raise


def show_lines(text: str) -> None:
    """Prints lines that were put together here, such as a table's."""
    for line in text.split("\n"):
        show(line)


def show_json(value: Any, *, indent: int | None = None) -> None:
    """Prints a value as JSON, exactly; ASCII alone, and no control characters."""
    # DEL is the one that JSON lets through as it is.
    with naming_stdout():
        print(json.dumps(value, indent=indent).replace("\x7f", "\\u007f"))


def encodable(text: str, encoding: str | None) -> str:
    """The text with `?` for what the encoding lacks: a small console is no reason to fail."""
    name = encoding or "utf-8"
    return text.encode(name, "replace").decode(name)


def sentence(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())


def table(rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows as aligned columns; the columns in `right` are aligned to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    count = max((len(row) for row in cells), default=0)
    widths = [max((len(row[i]) for row in cells if i < len(row)), default=0) for i in range(count)]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(widths[i]) if i in right else cell.ljust(widths[i])
            for i, cell in enumerate(row)
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def size_text(size: float) -> str:
    """Bytes for people: 1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def time_text(seconds: float) -> str:
    """Seconds for people: 75 -> "1:15", 3.2 -> "3 s"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
