"""What an export costs: time and peak memory of four tasks in fp16 and int8, at full size.

Runs the real command in a process of its own, into a folder that is removed in the end. Exits with
1 if it took more than it may: 5 minutes, 6 GB.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.race.peers import seeded_source

TASKS = "retrieval,text-matching,clustering,classification"
PRECISIONS = "fp16,int8"
MOST_SECONDS = 300
MOST_GB = 6.0


@dataclass(frozen=True, slots=True)
class Cost:
    """One export."""

    seconds: float  # by the clock
    cpu_seconds: float  # of all threads: far more than the clock's means a busy machine or many
    peak_gb: float  # largest resident set, 10^9 bytes
    pack_gb: float
    exit_code: int


def measure(source: Path, pack: Path) -> Cost:
    """Exports `source` into `pack`, which must not exist."""
    command = [sys.executable, "-m", "embedge", "export", str(source), "--out", str(pack)]
    command += ["--tasks", TASKS, "--precisions", PRECISIONS, "--no-progress"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)  # what this very process used
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    return Cost(
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_gb=usage.ru_maxrss * 1024 / 1e9,  # Linux counts KiB
        pack_gb=sum(file.stat().st_size for file in pack.glob("*") if file.is_file()) / 1e9,
        exit_code=process.returncode,
    )


def main() -> int:
    """Makes the source if need be, exports, writes export_cost.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a model folder (default: seeded, full size)")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where things are kept")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    source = options.model or seeded_source(options.out)
    pack = options.out / "export-cost"
    shutil.rmtree(pack, ignore_errors=True)
    try:
        cost = measure(source, pack)
    finally:
        shutil.rmtree(pack, ignore_errors=True)
    (options.out / "export_cost.json").write_text(json.dumps(asdict(cost), indent=1) + "\n")
    print(
        f"export of 4 tasks in {PRECISIONS}: {cost.seconds:.0f} s ({cost.cpu_seconds:.0f} s of "
        f"processor time), peak {cost.peak_gb:.2f} GB, pack {cost.pack_gb:.2f} GB"
    )
    within = cost.seconds <= MOST_SECONDS and cost.peak_gb <= MOST_GB
    if cost.exit_code or not within:
        print(f"exit code {cost.exit_code}; the bars are {MOST_SECONDS} s and {MOST_GB} GB")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
