"""`make bench-desktop`: examples/desktop/ on 100,000 passages, by key presses under Xvfb.

Makes a folder of files and its index in PLACE, unless they are there: passages of the files of this
Python, embedded by the bundled pack, and above their number fillers, as `bench.search` makes them.
Then opens the window and types. Prints milliseconds from a key to the answer in the window, and of
the search alone; the CPU time of ten idle seconds; and memory.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.machine.facts import machine, sentence
from bench.race.report import markdown
from bench.search import Filling, queries, real_passages
from desk_search.indexer import place_of
from desktop.driven import Driven, missing_programs, screen
from embedge import Embedder, SearchIndex

A_FILE = 50  # passages
INDEXED = 20  # files that are indexed while somebody searches


def main() -> None:
    """Makes, types, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--real", type=int, default=5_000, help="passages that are embedded")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--place", type=Path, help="folder of all; default: temporary")
    options = parser.parse_args()
    if missing := missing_programs():
        parser.exit(2, missing + "\n")
    with tempfile.TemporaryDirectory() as temporary:
        place = (options.place or Path(temporary)).resolve()
        if not (place / "data").exists():
            make(place, options.passages, options.real)
        # Without a space at the end, which would ask for nothing new.
        texts = [query[:40].strip() for query in queries(options.queries)]
        with screen() as display:
            print(f"\n{sentence(machine(), Embedder().threads, {})}\n")
            print(markdown(["", ""], measure(display, place, texts) + indexing(place)))


def make(place: Path, count: int, real: int) -> None:
    """A folder of texts and its index."""
    texts = [text for text, _ in zip(real_passages(), range(real), strict=False)]
    folder = place / "texts"
    for first in range(0, count, A_FILE):
        numbers = range(first, min(first + A_FILE, count))
        passages = [" ".join(f"{texts[n % len(texts)]} #{n}".split()) for n in numbers]
        path = folder / f"{first // 10_000}" / f"{first}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(padded(text) for text in passages), encoding="utf-8")
    part = place / "part"
    part.mkdir()
    with Filling() as embedder, SearchIndex(place_of(embedder, part), embedder) as index:
        embedder.real = Embedder.encode_document(embedder, texts)
        index.update(folder)
        print(f"{index.count()[1]:,} passages in {index.count()[0]:,} files", flush=True)
    part.rename(place / "data")


def padded(text: str) -> str:
    """A text so long that it shares no passage with the next; its number stays at the end."""
    words, _, number = text.rpartition(" #")
    return f"{words} {'. ' * ((1150 - len(text)) // 2)}#{number}"


def measure(display: str, place: Path, texts: list[str]) -> list[list[str]]:
    """The rows of the table."""
    keys, searches = [], []
    begin = time.perf_counter()
    with Driven(display, place / "data", place / "texts") as window:
        window.wait_for(r"passages in [\d,]+ files$")
        start = time.perf_counter() - begin
        loaded = window.resident()
        used = window.cpu_seconds()
        for text in texts:
            window.type(text[:-1])
            window.wait_for(re.escape(text[:-1].strip()) + "$")
            begin = time.perf_counter()
            window.type(text[-1])
            window.wait_for(re.escape(text.strip()) + "$")
            keys.append(time.perf_counter() - begin)
            window.press("Escape")
            window.wait_for(r"passages in [\d,]+ files$")
        searches = [
            int(found[1]) / 1e3 for found in re.finditer(r" in (\d+) ms", str(window.lines))
        ]
        used = (window.cpu_seconds() - used) / sum(len(text) for text in texts)
        time.sleep(13)  # the cursor blinks for ten
        before = window.cpu_seconds()
        time.sleep(10)
        idle, resident = window.cpu_seconds() - before, window.resident()
        begin = time.perf_counter()
        window.press("ctrl+q")
        window.process.wait(30)
        closed = time.perf_counter() - begin
    return [
        ["from the start to a folder that was compared and is ready", f"{start:.1f} s"],
        ["from a key to the answer in the window: median, slowest", pair(keys)],
        [f"the search alone, {len(searches)} of them: median, slowest", pair(searches)],
        [
            "CPU time of a key, with its search and what is drawn, in the mean",
            f"{used * 1e3:.0f} ms",
        ],
        ["CPU time of ten idle seconds", f"{idle * 1e3:.0f} ms"],
        ["memory before the first query, and at the end", f"{loaded:.0f} MiB, {resident:.0f} MiB"],
        ["from Ctrl+Q to the end of the process", f"{closed:.1f} s"],
    ]


def indexing(place: Path) -> list[list[str]]:
    """The rows about what is noticed while a few of the files are indexed."""
    with tempfile.TemporaryDirectory() as some:
        for path in sorted((place / "texts" / "0").iterdir())[:INDEXED]:
            shutil.copy(path, some)
        command = [sys.executable, "-m", "bench.desktop_indexing", some]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    middle, slow = np.percentile(np.array(found["seconds"]) * 1e3, [50, 95])
    before, peak, after = found["memory"]
    what = f"{found['passages']:,} passages are indexed, in {found['taken']:.0f} s"
    return [
        [f"a search while {what}: median, 95th percentile", f"{middle:.0f} ms, {slow:.0f} ms"],
        [
            "memory before that, at most, and after it",
            f"{before:.0f} MiB, {peak:.0f} MiB, {after:.0f} MiB",
        ],
    ]


def pair(seconds: list[float]) -> str:
    """The median and the largest, in milliseconds."""
    return f"{np.median(seconds) * 1e3:.0f} ms, {max(seconds) * 1e3:.0f} ms"


if __name__ == "__main__":
    main()
