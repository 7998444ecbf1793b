"""`make bench-memory`: what it takes to start, and to hold, one task and four, in int8.

Every reading is of a fresh process that uses the public `Embedder` with its default settings, after
the pack's files were read once, so that they are in the system's page cache; of the seconds, the
best of several processes is told. "prepared" is with Embedder(prepared=FOLDER), written before.
Writes memory-<model>.md and .json; exits with 0 whatever the figures are.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import places
from bench.machine import facts
from bench.race.peers import KINDS, Bench, seeded_source
from bench.race.report import markdown
from embedge.pack.manifest import Manifest
from embedge.pack.reading import read_manifest

TASKS = ("retrieval", "text-matching", "clustering", "classification")
PROCESS = ("-m", "bench.memory.process")
MIB = 2**20
SECONDS = ("import", "load", "first", "start")


def measure(
    pack: Path, tasks: tuple[str, ...], processes: int, prepared: Path | None = None
) -> dict[str, Any]:
    """Loads `tasks` in fresh processes: the least seconds, and the memory of the median peak."""
    answers = []
    for _ in range(processes):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *PROCESS, str(pack), str(prepared or "-"), *tasks],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=places.environment(),
        )
        answer = json.loads(done.stdout)
        answer["start"] = time.perf_counter() - start
        answers.append(answer)
        print(f"  {len(tasks)} task(s): {answer['load']:.2f} s", file=sys.stderr, flush=True)
    return combine(answers)


def combine(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """One reading of several: seconds as at best, memory as in the process of the median peak."""
    ordered = sorted(answers, key=lambda answer: answer["memory"]["peak"])
    typical = ordered[len(ordered) // 2]
    return typical | {name: min(answer[name] for answer in answers) for name in SECONDS}


def needed_files(manifest: Manifest, tasks: tuple[str, ...], precision: str) -> set[str]:
    """The files that these tasks take: graphs, their data (some shared), the tokenizer."""
    assert manifest.text is not None
    names = {manifest.text.tokenizer}
    for task in tasks:
        graph = manifest.graph(task=task, precision=precision)
        names |= {graph.file, *graph.data}
    return names


def table(readings: dict[str, dict[str, Any]]) -> str:
    """Markdown: a column each reading."""
    told: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("import embedge, s", lambda r: f"{r['import']:.2f}"),
        ("load, s", lambda r: f"{r['load']:.2f}"),
        ("first vector after that, s", lambda r: f"{r['first']:.3f}"),
        ("whole process, s", lambda r: f"{r['start']:.2f}"),
        ("peak resident, MiB", lambda r: f"{r['memory']['peak']:,.0f}"),
        ("resident, MiB", lambda r: f"{r['memory']['resident']:,.0f}"),
        ("of it anonymous", lambda r: f"{r['memory']['anonymous']:,.0f}"),
        ("of it pages of files", lambda r: f"{r['memory']['file']:,.0f}"),
        ("mapped by this process alone, MiB", lambda r: f"{r['memory']['private']:,.0f}"),
        ("mapped by others too, MiB", lambda r: f"{r['memory']['shared']:,.0f}"),
        ("proportional share, MiB", lambda r: f"{r['memory']['proportional']:,.0f}"),
        ("files of the tasks, MiB", lambda r: f"{r['files']:,.0f}"),
        ("peak resident / files", lambda r: f"{r['memory']['peak'] / r['files']:.2f}"),
    ]
    rows = [[name, *(show(reading) for reading in readings.values())] for name, show in told]
    return markdown(["", *readings], rows)


def summary(one: dict[str, Any], all_of_them: dict[str, Any], tasks: int, disk: float) -> str:
    """What several tasks cost beyond one, and on disk (in bytes)."""
    now, then = all_of_them["memory"], one["memory"]
    return (
        f"{tasks} tasks hold {now['anonymous'] / then['anonymous']:.2f} times the anonymous memory "
        f"of one, and {now['private'] / then['private']:.2f} times what one maps alone; the pack "
        f"takes {disk / 1e9:.2f} GB on disk."
    )


def main() -> None:
    """Makes the pack if need be, measures, writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-kind", choices=KINDS, default=KINDS[0], help="seeded weights of")
    parser.add_argument("--size", choices=("tiny", "demo", "full"), default="full")
    parser.add_argument("--processes", type=int, default=3, help="fresh ones for each reading")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where things are kept")
    options = parser.parse_args()
    here = facts.machine()
    bench = Bench(options.out, seeded_source(options.out, options.model_kind, options.size))
    pack = bench.pack("tasks-pack", tasks=",".join(TASKS), precisions="int8")
    manifest = read_manifest(pack)
    assert manifest.text is not None
    for name in manifest.files:
        (pack / name).read_bytes()  # into the page cache
    readings = {}
    prepared = options.out / f"{bench.source.name}.prepared"
    for label, tasks, folder in (
        ("one task", TASKS[:1], None),
        (f"{len(TASKS)} tasks at once", TASKS, None),
        ("one task, prepared", TASKS[:1], prepared),
        (f"{len(TASKS)} tasks, prepared", TASKS, prepared),
    ):
        if folder is not None:
            measure(pack, tasks, 1, folder)  # writes them
            os.sync()  # pages still to be written would count as this process's own
        reading = readings[label] = measure(pack, tasks, options.processes, folder)
        names = needed_files(manifest, tasks, reading["precision"])
        files = [pack / name for name in names]
        if folder is not None:
            files = [pack / manifest.text.tokenizer, *folder.glob("*/*")]
        reading["files"] = sum(file.stat().st_size for file in files) / MIB
    one, four, one_prepared, four_prepared = readings.values()
    disk = sum(file.stat().st_size for file in pack.iterdir())
    told = facts.sentence(here, one["threads"], one["versions"])
    text = (
        f"# Start and memory: {bench.source.name}, {one['precision']}\n\n{told}.\n\n"
        f"Seconds: the best of {options.processes} fresh processes, the files in the page cache.\n"
        f"\n{table(readings)}\n\n{summary(one, four, len(TASKS), disk)}\n"
        f"Prepared: {summary(one_prepared, four_prepared, len(TASKS), disk)}\n"
    )
    record = {"machine": here, "readings": readings, "disk_bytes": disk}
    stem = f"memory-{bench.source.name}"
    (options.out / f"{stem}.md").write_text(text, encoding="utf-8")
    (options.out / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
