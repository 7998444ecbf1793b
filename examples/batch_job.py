"""A file of texts, one per line, to a .npy file of vectors; bad lines are kept apart.

    python examples/batch_job.py texts.txt vectors.npy

Memory is bounded: a few thousand lines are read and embedded at a time. Row i of the array is line
i; the row of a bad line is NaN, and vectors.bad.tsv names it with the reason. `embedge embed` does
the same and more; this is for jobs that need steps of their own.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from embedge import Embedder

CHUNK = 4096  # lines in memory


def read_lines(path: Path) -> Iterator[str | None]:
    """The lines of a file; None for one that is not UTF-8."""
    with path.open("rb") as stream:
        for line in stream:
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                yield None


def embed_file(texts: Path, out: Path, *, pack: str | None = None) -> int:
    """Embeds a file; gives the number of bad lines."""
    total = sum(1 for _ in read_lines(texts))
    bad: list[tuple[int, str]] = []
    with Embedder(pack) as embedder:
        vectors = np.lib.format.open_memmap(
            out, mode="w+", dtype=np.float32, shape=(total, embedder.dimension)
        )
        lines = read_lines(texts)
        start = 0
        while chunk := list(itertools.islice(lines, CHUNK)):

            def note(index: int, reason: str, start: int = start) -> None:
                bad.append((start + index, reason))

            vectors[start : start + len(chunk)] = embedder.encode_document(
                chunk,  # type: ignore[arg-type]  # None is reported as a bad item
                on_error=note,
                on_overflow="error",  # a text that is too long is reported, not cut
            )
            start += len(chunk)
            print(f"{start:,} of {total:,}")
        vectors.flush()
    report = "".join(f"{line + 1}\t{reason}\n" for line, reason in sorted(bad))
    out.with_suffix(".bad.tsv").write_text(report, encoding="utf-8")
    return len(bad)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Embed a file of texts, one per line.")
    parser.add_argument("texts", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pack", help="folder of a model pack (default: the bundled one)")
    options = parser.parse_args()
    print(f"{embed_file(options.texts, options.out, pack=options.pack):,} bad lines")


if __name__ == "__main__":
    main()
