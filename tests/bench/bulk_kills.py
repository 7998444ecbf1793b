"""`embedge bulk` killed again and again, and finished: are the parts those of an undisturbed run?

Runs the command once undisturbed, then once more with `kill -9` at random moments, each time
starting it again, until it ends by itself. Compares the SHA-256 of all parts, and the rows with the
input in order. Exits with 1 if anything differs.

    PYTHONPATH=tests .venv/bin/python -m bench.bulk_kills --texts 100000 --kills 20
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pyarrow import dataset

from bench.bulk_cost import texts, write_source
from bench.places import environment


def main() -> int:
    """Runs, kills, compares; prints what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--place", type=Path, help="a folder of bench.bulk_cost, whose run is the undisturbed one"
    )
    options = parser.parse_args()
    found = texts(options.texts)
    with tempfile.TemporaryDirectory() as scratch:
        place = options.place or Path(scratch)
        source, whole, killed = place / "texts.parquet", place / "out-0", Path(scratch, "killed")
        if not whole.is_dir():
            write_source(place, found)
            start = time.perf_counter()
            subprocess.run(command(source, whole), env=environment(), check=True)
            print(f"undisturbed: {time.perf_counter() - start:.0f} s", flush=True)
        parts = len(list((whole / "parts").iterdir()))
        seen = kill(command(source, killed), killed, options.kills, parts, options.seed)
        print(f"killed {len(seen)} times, when so many of {parts} parts were there: {seen}")
        start = time.perf_counter()
        subprocess.run(command(source, killed), env=environment(), check=True)
        print(f"then finished, in {time.perf_counter() - start:.0f} s")
        same = hashes(whole) == hashes(killed)
        print(f"SHA-256 of all parts: {'the same' if same else 'DIFFERENT'}")
        table = dataset.dataset(killed / "parts").to_table(columns=["text"])
        order = table["text"].to_pylist() == found
        print(f"{len(table):,} rows, in the order of the input: {'yes' if order else 'NO'}")
        return 0 if same and order else 1


def command(source: Path, out: Path) -> list[str]:
    """One run, which goes on where an earlier one was stopped."""
    run = [sys.executable, "-m", "embedge", "bulk", str(source), "--out", str(out)]
    return [*run, "--task", "retrieval", "-q"]


def kill(run: list[str], out: Path, kills: int, parts: int, seed: int) -> list[int]:
    """Starts the run and kills it so many times; how many parts there were each time.

    A moment is drawn within the next parts to come, so that the kills are spread over the run; it
    is a wait after such a part, so that any step of the work can be hit.
    """
    moments = random.Random(seed)
    seen: list[int] = []
    for number in range(1, kills + 1):
        wanted = parts * number // (kills + 1)
        process = subprocess.Popen(run, env=environment())
        start = time.monotonic()
        before = count(out)
        while process.poll() is None and count(out) < wanted:
            time.sleep(0.005)
        if process.poll() is not None:
            break  # it was quicker than the moments
        pace = (time.monotonic() - start) / max(1, count(out) - before)  # seconds a part
        time.sleep(moments.uniform(0, min(pace, 10)))
        process.kill()
        process.wait()
        seen.append(count(out))
    return seen


def count(out: Path) -> int:
    """Finished parts."""
    return len(list((out / "parts").glob("part-*.parquet"))) if out.is_dir() else 0


def hashes(out: Path) -> dict[str, str]:
    """SHA-256 of each part by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((out / "parts").iterdir())
    }


if __name__ == "__main__":
    sys.exit(main())
