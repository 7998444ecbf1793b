"""What an export costs: time and peak memory in fp16 and int8, of full-size models.

jina-embeddings-v5-text-small with four tasks, and jina-clip-v2 with its two towers, seeded. Each is
made by the real command in a process of its own, in a folder that is removed in the end. Exits with
1 if one took more than it may: see `BARS`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.machine import facts
from bench.race.peers import seeded_source

PRECISIONS = "fp16,int8"


@dataclass(frozen=True, slots=True)
class Bar:
    """The most that an export may take, on two cores."""

    seconds: float
    gigabytes: float


# Kinds of seeded models, all tasks of each; None: stated alone.
BARS: Mapping[str, Bar | None] = {"v5-text-small": Bar(120, 4.0), "jina-clip-v2": None}


@dataclass(frozen=True, slots=True)
class Cost:
    """One export."""

    seconds: float  # by the clock
    cpu_seconds: float  # of all threads: far more than the clock's means a busy machine or many
    peak_gb: float  # largest resident set, 10^9 bytes
    pack_gb: float
    exit_code: int

    def within(self, bar: Bar | None) -> bool:
        """Whether it succeeded, and took no more than it may."""
        if self.exit_code:
            return False
        return bar is None or (self.seconds <= bar.seconds and self.peak_gb <= bar.gigabytes)


def measure(source: Path, pack: Path) -> Cost:
    """Exports `source` into `pack`, which must not exist."""
    command = [sys.executable, "-m", "embedge", "export", str(source), "--out", str(pack)]
    command += ["--precisions", PRECISIONS, "--no-progress"]
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
    """Makes the sources if need be, exports each, writes export_cost.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a model folder, in place of the seeded models")
    parser.add_argument("--kinds", default=",".join(BARS), help="of seeded models, full size")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where things are kept")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pack = options.out / "export-cost"
    costs: dict[str, Cost] = {}
    for kind in [options.model.name] if options.model else options.kinds.split(","):
        source = options.model or seeded_source(options.out, kind)
        shutil.rmtree(pack, ignore_errors=True)
        try:
            costs[kind] = cost = measure(source, pack)
        finally:
            shutil.rmtree(pack, ignore_errors=True)
        print(
            f"export of {kind} in {PRECISIONS}: {cost.seconds:.0f} s ({cost.cpu_seconds:.0f} s of "
            f"processor time), peak {cost.peak_gb:.2f} GB, pack {cost.pack_gb:.2f} GB",
            flush=True,
        )
    here = facts.machine()
    print(f"{here['cpu']}, {here['usable_cores']} cores, load {here['load']}, {here['date']}")
    found = {kind: asdict(cost) for kind, cost in costs.items()}
    (options.out / "export_cost.json").write_text(json.dumps(found | {"machine": here}, indent=1))
    missed = [kind for kind, cost in costs.items() if not cost.within(BARS.get(kind))]
    for kind in missed:
        print(f"{kind}: exit code {costs[kind].exit_code}; the bar is {BARS.get(kind)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
