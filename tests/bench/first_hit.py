"""`make measure-first-hit`: what a first search costs, by this code and by that of an older commit.

Runs `embedge search QUERY FOLDER` in a terminal of its own, each time with an empty cache: seconds
until the first hit is printed, seconds until it ends, and the most memory that the process held
(resident, pages of files included). Each commit exports its own bundled pack. They take turns, and
the medians are printed. The folder is by default what the last of them holds, as a clone has it.
Linux and macOS.
"""

import argparse
import io
import os
import pty
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import facts
from bench.places import ROOT

QUERY = "how do I make a pack?"
# A score and a place, at the start of a line or of a terminal's line that was cleared.
HIT = re.compile(rb"(?:^|[\r\n]|\x1b\[K)-?[01]\.\d{2,}\S*  \S+:\d+", re.MULTILINE)
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Reading:
    """One search."""

    first: float  # seconds until the first hit was printed
    whole: float  # seconds until the process ended
    cpu: float  # seconds of all its threads, which other work on the machine changes little
    peak: int  # bytes; at least what this process held when it started the search


def search(code: Path, folder: Path, query: str) -> Reading:
    """Searches with the code of `installed`, from nothing.

    Raises:
        ValueError: the search failed, or printed no hit; with what it printed.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = _environment() | {
            "PYTHONPATH": str(code / "runtime"),
            "XDG_CACHE_HOME": cache,
            "TERM": "xterm",
            "COLUMNS": "100",
        }
        command = [sys.executable, "-m", "embedge", "search", query, str(folder)]
        here, there = pty.openpty()
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=there,
            stderr=there,
            env=environment,
            cwd=cache,
        )
        os.close(there)
        printed, first = read_terminal(here, start)
        os.close(here)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        whole = time.perf_counter() - start
    if process.returncode != 0 or first is None:
        shown = printed[-2000:].decode(errors="replace")
        raise ValueError(f"the search with {code} printed no hit or failed:\n{shown}")
    unit = 1 if sys.platform == "darwin" else 1024
    cpu = usage.ru_utime + usage.ru_stime
    return Reading(first, whole, cpu, usage.ru_maxrss * unit)


def _environment() -> dict[str, str]:
    """This process's variables but for those that set how embedge works."""
    return {name: value for name, value in os.environ.items() if not name.startswith("EMBEDGE_")}


def read_terminal(descriptor: int, start: float) -> tuple[bytes, float | None]:
    """All that is printed until its writers are gone, and the seconds until the first hit."""
    printed, first = b"", None
    while True:
        try:
            some = os.read(descriptor, 65536)
        except OSError:  # Linux: the last writer has gone
            some = b""
        if not some:
            return printed, first
        printed += some
        if first is None and HIT.search(printed):
            first = time.perf_counter() - start


def files_of(commit: str, folder: Path, *paths: str) -> Path:
    """Writes the files of a commit of this repository, all or those at `paths`."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit, *paths]
    archive = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def installed(commit: str, folder: Path) -> Path:
    """The code of a commit with its bundled pack, which its own exporter makes."""
    files_of(commit, folder, "runtime", "export", "models/embedge-mini")
    environment = _environment() | {
        "PYTHONPATH": f"{folder / 'runtime'}{os.pathsep}{folder / 'export'}"
    }
    out = folder / "runtime" / "embedge" / "default"
    command = [sys.executable, "-m", "embedge", "export", "models/embedge-mini", "--out", str(out)]
    subprocess.run(
        [*command, "--precisions", "int8"],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return folder


def table(readings: dict[str, list[Reading]]) -> list[str]:
    """A Markdown table of medians, a row for each commit."""
    lines = ["| code | first hit, s | whole, s | CPU, s | peak, MiB |", "|---|---:|---:|---:|---:|"]
    for commit, some in readings.items():
        columns = zip(*((r.first, r.whole, r.cpu, r.peak / MIB) for r in some), strict=True)
        first, whole, cpu, peak = map(statistics.median, columns)
        lines.append(f"| {commit} | {first:.1f} | {whole:.1f} | {cpu:.1f} | {peak:.0f} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="The first search of a folder, then and now.")
    parser.add_argument("commits", nargs="*", default=["HEAD"], help="of this repository")
    parser.add_argument("--folder", type=Path, help="default: the files of the last commit")
    parser.add_argument("--query", default=QUERY)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folder = options.folder or files_of(options.commits[-1], place / "tree")
        codes = {
            commit: installed(commit, place / f"code{number}")
            for number, commit in enumerate(options.commits)
        }
        readings: dict[str, list[Reading]] = {commit: [] for commit in codes}
        for _ in range(options.rounds):
            for commit, code in codes.items():
                reading = search(code, folder.resolve(), options.query)
                readings[commit].append(reading)
                print(f"  {commit}: {reading}", file=sys.stderr, flush=True)
    here = facts.machine()
    print("\n".join(table(readings)))
    print(f"\nmedian of {options.rounds}; {facts.sentence(here, here['usable_cores'], {})}")


if __name__ == "__main__":
    main()
