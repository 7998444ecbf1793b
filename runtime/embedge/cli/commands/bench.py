"""`embedge bench`: how fast a pack runs here, by the shape of the work.

Makes texts of an exact token count, times `encode` as users call it (tokenizing included), and
prints one line a shape with everything that the figure depends on.
"""

import argparse
import platform
import statistics
import sys
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

from embedge.cli import arguments, screen
from embedge.cli.interrupt import cancellable
from embedge.errors import OptionError
from embedge.machine.resources import cpu_name
from embedge.options import shown
from embedge.progress import ProgressBar
from embedge.sizes import size_text

if TYPE_CHECKING:
    from embedge.embedder import Embedder

SUMMARY = "measure how fast a model pack runs here"
DESCRIPTION = """\
Measures the time to load, the time to the first vector, and tokens per second for each shape (texts
x tokens of each, prompt included): best and median of the repeats. Figures of different machines or
versions are not comparable; ratios within one run are."""
EXAMPLES = (
    "embedge bench",
    "embedge bench --shapes 1x16,4x128 --seconds 0.5",
    "embedge bench packs/v5-small --threads 1 --json",
)

SHAPES = "1x16,1x32,1x128,1x512,4x128,16x64"
LEAST_REPEATS = 3
MOST_TOKENS = 10_000_000  # of one shape, texts times tokens: minutes a run, and the texts in memory
# Short, frequent words: one token each in most vocabularies, so that counts can be met exactly.
WORDS = ("time", "people", "year", "way", "day", "man", "thing", "world", "life", "hand", "part")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    arguments.add_pack_argument(parser)
    parser.add_argument("--task", help="task of the vectors (default: the pack's default task)")
    arguments.add_engine_options(parser)
    parser.add_argument(
        "--shapes", default=SHAPES, metavar="NxT,...", help=f"shapes to measure (default: {SHAPES})"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="time for each shape (default: 2)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments.add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Measures and prints."""
    shapes = parse_shapes(options.shapes)
    if not 0 < options.seconds < 3600:
        raise OptionError(f"--seconds {options.seconds} must lie between 0 and 3600")
    start = time.perf_counter()
    with arguments.open_embedder(options) as embedder, ProgressBar(options.progress) as progress:
        task = options.task or embedder.manifest.default_task
        embedder.load(task)
        loaded = time.perf_counter()
        embedder.encode("first", task=task)
        first = time.perf_counter()
        lines = []
        for index, (count, tokens) in enumerate(shapes):
            progress.update(index / len(shapes), f"{count}x{tokens}")
            lines.append(_measure(embedder, task, count, tokens, options.seconds))
        report = {
            "model": embedder.manifest.model_id,
            "task": task,
            "precision": embedder.precision,
            "device": embedder.device,
            "threads": embedder.threads,
            "machine": machine(),
            "versions": versions(),
            "load_seconds": loaded - start,
            "first_vector_seconds": first - loaded,
            "peak_memory_bytes": peak_memory(),
            "shapes": lines,
        }
    if options.json:
        screen.show_json(report, indent=2)
    else:
        _print(report)
    return 0


def parse_shapes(text: str) -> list[tuple[int, int]]:
    """(texts, tokens) of each shape in "1x16,4x128"."""
    shapes = []
    for part in text.split(","):
        count, _, tokens = part.strip().partition("x")
        digits = all(number.isdecimal() and len(number) < 10 for number in (count, tokens))
        if not (digits and int(count) and int(tokens)):
            raise OptionError(
                f"--shapes: {shown(part)} is not a shape; write texts x tokens, like 4x128"
            )
        if int(count) * int(tokens) > MOST_TOKENS:
            raise OptionError(
                f"--shapes: {part} is {int(count) * int(tokens):,} tokens; at most "
                f"{MOST_TOKENS:,} are measured at a time"
            )
        shapes.append((int(count), int(tokens)))
    return shapes


def text_of(
    embedder: "Embedder", tokens: int, seed: int, *, task: str | None = None
) -> tuple[str, int]:
    """A text of so many tokens, prompt and special tokens included; and its true count.

    The count is exact where the vocabulary has common words whole; a prompt that is longer by
    itself cannot be met.
    """
    words = [WORDS[(seed + i * (seed + 1)) % len(WORDS)] for i in range(tokens)]
    for _ in range(8):  # each step closes the gap, but for words of several tokens
        count = int(embedder.count_tokens([" ".join(words)], task=task)[0])
        if count == tokens or (count > tokens and len(words) <= 1):
            break
        if count > tokens:
            words = words[: max(1, len(words) - (count - tokens))]
        else:
            words += [WORDS[(seed + i) % len(WORDS)] for i in range(tokens - count)]
    return " ".join(words), count


def _measure(
    embedder: "Embedder", task: str, count: int, tokens: int, seconds: float
) -> dict[str, Any]:
    """Times one shape."""
    made = [text_of(embedder, tokens, seed, task=task) for seed in range(count)]
    texts = [text for text, _ in made]
    total = sum(length for _, length in made)
    embedder.encode(texts, task=task)  # the first run of a shape plans its memory
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST_REPEATS or time.perf_counter() < end:
        start = time.perf_counter()
        cancellable(lambda cancel: embedder.encode(texts, task=task, cancel=cancel))
        times.append(time.perf_counter() - start)
    return {
        "shape": f"{count}x{tokens}",
        "tokens": total,
        "repeats": len(times),
        "threads": embedder.threads,
        "best_tokens_per_second": total / min(times),
        "median_tokens_per_second": total / statistics.median(times),
        "best_milliseconds": min(times) * 1000,
    }


def machine() -> str:
    """The processor and the system, in words."""
    return f"{cpu_name()}, {platform.system()} {platform.machine()}"


def versions() -> dict[str, str]:
    """What the figures depend on."""
    found = {"python": platform.python_version()}
    for name in ("embedge", "onnxruntime", "onnxruntime-gpu", "tokenizers", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def peak_memory() -> int | None:
    """The most memory this process held, in bytes; None where the system does not say."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts KiB


def _print(report: dict[str, Any]) -> None:
    screen.show(f"{report['model']}, {report['task']}, {report['precision']}, {report['device']}")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    screen.show(f"{report['machine']}; {versions}")
    peak = report["peak_memory_bytes"]
    screen.show(
        f"load {report['load_seconds']:.2f} s, first vector "
        f"{report['first_vector_seconds'] * 1000:.0f} ms, "
        f"peak memory {size_text(peak) if peak else 'unknown'}"
    )
    rows: list[tuple[str, ...]] = [
        ("shape", "threads", "tokens/s best", "median", "ms best", "repeats")
    ]
    rows += [
        (
            line["shape"],
            str(line["threads"]),
            f"{line['best_tokens_per_second']:,.0f}",
            f"{line['median_tokens_per_second']:,.0f}",
            f"{line['best_milliseconds']:.1f}",
            str(line["repeats"]),
        )
        for line in report["shapes"]
    ]
    screen.show_lines(screen.table(rows, right=(1, 2, 3, 4, 5)))
