"""How a search index answers with many passages: time, memory, and what it misses.

Makes an index of records in PLACE, unless it is there: passages of the files of this Python and its
packages, embedded by the bundled pack, and above their number fillers. The vector of a filler is a
mixture of two of the others with some noise, its text that of one of them with a number. Then asks
in processes of their own, and compares the ten best with those of an exact search. Prints a table.
"""

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine.facts import machine, sentence
from bench.machine.smaps import read
from embedge import Embedder, SearchIndex
from embedge.search import nearest
from embedge.search.passages import split_text

SUFFIXES = frozenset({".py", ".pyi", ".md", ".rst", ".txt", ".h"})
LANGUAGES = ("en", "de", "fr", "pt")  # of nothing: a field to choose by
WAYS: dict[str, dict[str, Any]] = {
    "hybrid": {},
    "vectors": {"mode": "vectors"},
    "words": {"mode": "words"},
    "hybrid, a quarter of the records": {"where": {"language": "en"}},
    "hybrid, a thousandth of the records": {"where": {"shelf": 7}},
}


def main() -> None:
    """Makes the index, asks, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--real", type=int, default=20_000, help="passages that are embedded")
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--place", type=Path, help="folder of the index; default: temporary")
    parser.add_argument("--ask", action="store_true", help="only ask, and print JSON")
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(ask(options.place / "index.sqlite", options.queries)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        place = options.place or Path(temporary)
        if not (place / "index.sqlite").exists():
            make(place / "index.sqlite", options.passages, options.real)
        again = [sys.executable, "-m", "bench.search", "--ask", "--place", str(place)]
        again += ["--queries", str(options.queries)]
        done = subprocess.run(again, check=True, capture_output=True, text=True)
        figures = json.loads(done.stdout)
        print("\n" + sentence(machine(), figures["threads"], {}))
        print(table(figures))
        share, longest = recall(place / "index.sqlite", options.queries)
        print(f"| the ten best of an exact search that are found | {share:.2%} |")
        print(f"| one query by an exact search | {longest:.2f} s |")


# --- the index ----------------------------------------------------------------------------------


class Filling(Embedder):
    """Embeds real passages, and mixes the vectors of fillers from theirs."""

    real: np.ndarray[Any, Any]  # (n, D)

    def encode_document(self, texts: Any, **options: Any) -> Any:
        numbers = [int(text.rpartition(" #")[2]) for text in texts]
        return np.stack([self._row(number) for number in numbers])

    def _row(self, number: int) -> np.ndarray[Any, Any]:
        if number < len(self.real):
            return np.asarray(self.real[number])
        dice = np.random.default_rng(number)
        one, two = self.real[dice.integers(0, len(self.real), 2)]
        row = one + 0.5 * two + 0.3 * dice.standard_normal(len(one)) / len(one) ** 0.5
        return np.asarray(row / np.linalg.norm(row), np.float32)


def make(path: Path, count: int, real: int) -> None:
    """Makes an index of so many records, of one passage each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [text for text, _ in zip(real_passages(), range(real), strict=False)]
    # Left where it is until it is whole, so that what was interrupted is not asked.
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with Filling() as embedder, SearchIndex(part, embedder) as index:
        start = time.perf_counter()
        embedder.real = Embedder.encode_document(embedder, texts)
        seconds = time.perf_counter() - start
        print(f"{len(texts):,} passages embedded in {seconds:.0f} s", flush=True)
        start = time.perf_counter()
        index.add(
            {
                "id": number,
                "text": f"{texts[number % len(texts)]} #{number}",
                "metadata": {"language": LANGUAGES[number % 4], "shelf": number % 1000},
            }
            for number in range(count)
        )
        print(f"{count:,} records kept in {time.perf_counter() - start:.0f} s", flush=True)
    part.rename(path)


def real_passages() -> Iterator[str]:
    """Distinct passages of the files of this Python."""
    seen = set()
    for place in ("purelib", "stdlib"):
        for path in sorted(Path(sysconfig.get_path(place)).rglob("*")):
            if path.suffix not in SUFFIXES or not path.is_file():
                continue
            for _, text in split_text(path.read_text(encoding="utf-8", errors="replace")):
                text = text[:1100]  # and room for a number
                if len(text) > 80 and text not in seen:
                    seen.add(text)
                    yield text


# --- asked --------------------------------------------------------------------------------------


def ask(path: Path, count: int) -> dict[str, Any]:
    """Of one process: what the first search takes, each way of those after it, and memory."""
    texts = queries(count)
    start = time.perf_counter()
    with Embedder() as embedder:
        embedder.encode_query("warm")
        loaded, memory_before = time.perf_counter() - start, read()
        start = time.perf_counter()
        with SearchIndex(path, embedder) as index:
            index.search(texts[0])
            first = time.perf_counter() - start
            ways = {}
            for name, options in WAYS.items():
                taken = sorted(seconds(index, text, options) for text in texts)
                ways[name] = (taken[len(taken) // 2], taken[-1])
            return {
                "threads": embedder.threads,
                "passages": len(index.ids()),
                "bytes": path.stat().st_size,
                "load": loaded,
                "first": first,
                "ways": ways,
                "peak": read().peak,
                "peak_before": memory_before.peak,
            }


def seconds(index: SearchIndex, text: str, options: dict[str, Any]) -> float:
    """What one search takes."""
    start = time.perf_counter()
    index.search(text, **options)
    return time.perf_counter() - start


def queries(count: int) -> list[str]:
    """Nine words in a row of passages far from each other."""
    found = []
    for number, text in enumerate(real_passages()):
        words = text.split()
        if number % 97 == 50 and len(words) > 30:
            found.append(" ".join(words[10:19]))
            if len(found) == count:
                break
    return found


def recall(path: Path, count: int) -> tuple[float, float]:
    """The share of the ten best of an exact search that are found, and what one of those takes."""
    found = total = 0
    slowest = 0.0
    with Embedder() as embedder, SearchIndex(path, embedder) as index:
        for text in queries(count):
            best = {hit.id for hit in index.search(text, top_k=10, mode="vectors")}
            bound, nearest.EXACT = nearest.EXACT, sys.maxsize
            start = time.perf_counter()
            exact = {hit.id for hit in index.search(text, top_k=10, mode="vectors")}
            slowest = max(slowest, time.perf_counter() - start)
            nearest.EXACT = bound
            found, total = found + len(best & exact), total + len(exact)
    return found / total, slowest


def table(figures: dict[str, Any]) -> str:
    """The rows of a Markdown table."""
    rows = [
        (f"{figures['passages']:,} passages", f"{figures['bytes'] / 1e9:.2f} GB"),
        ("a fresh process: the model opened, one text embedded", f"{figures['load']:.2f} s"),
        ("a fresh process: the index opened, the first search", f"{figures['first'] * 1e3:.0f} ms"),
    ]
    rows += [
        (f"{name}: median, slowest", f"{median * 1e3:.0f} ms, {slowest * 1e3:.0f} ms")
        for name, (median, slowest) in figures["ways"].items()
    ]
    rows.append(
        (
            "peak memory of the process; of it before the index was opened",
            f"{figures['peak']:.0f} MiB; {figures['peak_before']:.0f} MiB",
        )
    )
    return "\n".join(["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)])


if __name__ == "__main__":
    main()
