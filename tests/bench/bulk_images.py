"""What memory `embedge bulk` takes over photographs, by their number: as files, and as bytes.

JPEG files of 12 megapixels, made here, through a pack whose image tower costs nothing: the peak of
the process is what reading, decoding and resizing need. A few photographs stand under many names.

    PYTHONPATH=tests .venv/bin/python -m bench.bulk_images --images 100 2000
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet as pq

from bench.machine import smaps
from bench.places import environment
from embedge.cli import main as embedge
from support.tiny import IMAGE, write_pack

EDGES = (4000, 3000)  # pixels
SIZE = 512  # of the squares, as in jina-clip-v2
DISTINCT = 8
_RUN = "--run"  # in a process of its own
GROUP = 100  # rows of a row group, as `datasets` writes them


def main() -> None:
    """Prints a line for each number of images and each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="*", default=[100, 2000])
    if sys.argv[1:2] == [_RUN]:
        if embedge(["bulk", *sys.argv[2:], "-q"]):
            raise SystemExit("embedge bulk failed")
        print(smaps.read().peak)  # getrusage gives that of the process that started this one, too
        return
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        pack = write_pack(place / "pack", image=replace(IMAGE, size=SIZE))
        photos = [photograph(place / f"{seed}.jpg", seed) for seed in range(DISTINCT)]
        sizes = [photo.stat().st_size / 2**20 for photo in photos]
        print(f"photographs of {min(sizes):.1f} to {max(sizes):.1f} MiB", flush=True)
        for count in options.images:
            folder = place / f"{count}-files"
            folder.mkdir()
            for number in range(count):
                os.link(photos[number % DISTINCT], folder / f"{number:06}.jpg")
            report("files", count, pack, place, ["--images", str(folder)])
            table = place / f"{count}.parquet"
            schema = pa.schema([("id", pa.int64()), ("photo", pa.binary())])
            with pq.ParquetWriter(table, schema, use_dictionary=False) as writer:
                for start in range(0, count, GROUP):
                    numbers = range(start, min(start + GROUP, count))
                    # Bytes behind its end make each another file: equal ones are embedded once.
                    held = [
                        photos[number % DISTINCT].read_bytes() + number.to_bytes(8)
                        for number in numbers
                    ]
                    writer.write_table(pa.table({"id": numbers, "photo": held}, schema=schema))
            report("bytes in Parquet", count, pack, place, [str(table), "--image-column", "photo"])
            table.unlink()


def photograph(path: Path, seed: int) -> Path:
    """A JPEG file with detail of every size, as photographs have it."""
    noise = np.random.default_rng(seed)
    pixels = np.zeros((EDGES[1], EDGES[0], 3), np.float32)
    for scale, strength in ((8, 60), (40, 90), (400, 110)):
        coarse = noise.integers(0, 255, (EDGES[1] // scale, EDGES[0] // scale, 3), np.uint8)
        pixels += np.asarray(Image.fromarray(coarse).resize(EDGES, Image.Resampling.BICUBIC)) * (
            strength / 260
        )
    pixels += noise.normal(0, 3, (EDGES[1], EDGES[0], 1)).astype(np.float32)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def report(what: str, count: int, pack: Path, place: Path, inputs: list[str]) -> None:
    """Runs the command in a process of its own, and prints its peak."""
    out = place / f"{count}-{what.split()[0]}-out"
    command = [sys.executable, "-m", "bench.bulk_images", _RUN, *inputs]
    command += ["-p", str(pack), "--out", str(out)]
    start = time.perf_counter()
    run = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE, text=True)
    rate = count / (time.perf_counter() - start)
    rows = sum(pq.read_metadata(path).num_rows for path in (out / "parts").iterdir())
    print(
        f"{rows:,} images as {what}: peak of {float(run.stdout):,.0f} MiB, {rate:.1f} images/s",
        flush=True,
    )


if __name__ == "__main__":
    main()
