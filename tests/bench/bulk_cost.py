"""What `embedge bulk` costs beside `Embedder.encode`: texts a second, and memory by rows.

Speed: the same texts, sentences and paragraphs of the Python language reference, all in one call of
`encode`, and as a Parquet file through the command, in turn; the best of the rounds counts. Memory:
the command on Parquet files of more and more rows, with vectors that cost nothing, each in a
process of its own; its peak is what the rows need, the pack included.

    PYTHONPATH=tests .venv/bin/python -m bench.bulk_cost --texts 20000 --rows 100000 10000000
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet as pq

from bench.machine import smaps
from bench.places import environment
from bench.race.lengths import paragraphs, sentences
from embedge import Embedder
from embedge.cli import main as embedge

GROUP = 1_000_000  # rows of a row group of the input: larger than any that is common


def main() -> None:
    """Measures both, prints a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=20_000, help="for the speed; 0 for none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--place", type=Path, help="keep the input and the parts there")
    parser.add_argument("--simulate", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.simulate:
        simulate(options.simulate)
        return
    with tempfile.TemporaryDirectory() as scratch:
        place = options.place or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        if options.texts:
            compare(place, texts(options.texts), options.rounds)
        for rows in options.rows:
            peak = peak_of(place, rows)
            print(f"{rows:,} rows: peak of {peak:,.0f} MiB", flush=True)


def texts(count: int) -> list[str]:
    """So many, no two the same: paragraphs, and the sentences of paragraphs."""
    prose = list(paragraphs(topics[name] for name in sorted(topics)))
    mixed = [*prose, *(sentence for whole in prose for sentence in sentences(whole))]
    return [f"{number} {text}" for number, text in zip(range(count), itertools.cycle(mixed))]


def write_source(place: Path, found: list[str]) -> Path:
    """The input of the command."""
    source = place / "texts.parquet"
    pq.write_table(pa.table({"text": found}), source)
    return source


def compare(place: Path, found: list[str], rounds: int) -> None:
    """Texts a second of both, in turn."""
    source = write_source(place, found)
    memory, bulk = [], []
    with Embedder() as embedder:
        embedder.encode(found[:100], task="retrieval")
        for number in range(rounds):
            start = time.perf_counter()
            embedder.encode(found, task="retrieval")
            memory.append(time.perf_counter() - start)
            start = time.perf_counter()
            command = ["bulk", str(source), "--out", str(place / f"out-{number}")]
            if embedge([*command, "--task", "retrieval", "-q"]):
                raise SystemExit("embedge bulk failed")
            bulk.append(time.perf_counter() - start)
    rates = [len(found) / min(seconds) for seconds in (memory, bulk)]
    print(
        f"{len(found):,} texts: encode {rates[0]:,.0f} a second, bulk {rates[1]:,.0f} a second, "
        f"start included: {rates[1] / rates[0]:.3f} x"
    )


def peak_of(place: Path, rows: int) -> float:
    """MiB of memory that a run over so many rows takes at most."""
    folder = place / f"rows-{rows}"
    folder.mkdir()
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    with pq.ParquetWriter(folder / "texts.parquet", schema) as writer:
        for start in range(0, rows, GROUP):
            numbers = range(start, min(start + GROUP, rows))
            some = [f"row {number} of a data set with ordinary texts in it" for number in numbers]
            writer.write_table(pa.table({"id": numbers, "text": some}), row_group_size=GROUP)
    command = [sys.executable, "-m", "bench.bulk_cost", "--simulate", str(folder)]
    run = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    return float(run.stdout)


def simulate(folder: Path) -> None:
    """Runs the command with vectors of zeros; prints the peak in MiB."""

    def encode(self: Embedder, texts: list[str], **options: Any) -> np.ndarray[Any, Any]:
        return np.zeros((len(texts), self.dimension), np.float32)

    Embedder.encode = encode  # type: ignore[assignment]
    if embedge(["bulk", str(folder / "texts.parquet"), "--out", str(folder / "out"), "-q"]):
        raise SystemExit("embedge bulk failed")
    print(smaps.read().peak)  # getrusage gives that of the process that started this one, too


if __name__ == "__main__":
    main()
