"""The table of docs/search.md: `python -m bench.questions.run [--pack PACK] [--misses]`.

Indexes the folder once, in memory, asks each query in each mode, and counts the right files at the
first place and among five.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bench.questions.corpus import Query, read_queries, write_corpus
from embedge import Embedder, SearchIndex
from embedge.search.hits import Mode

FIRST_FEW = 5


def ranks(index: SearchIndex, folder: Path, queries: Sequence[Query], mode: Mode) -> list[int]:
    """The place of each query's right file, from 1; FIRST_FEW + 1 where it is further down.

    A file whose passage is equal to that of a hit counts as found with it.
    """
    places = []
    for query in queries:
        right = (folder / query.file).resolve()
        hits = index.search(query.text, top_k=FIRST_FEW, mode=mode)
        found = [right in {hit.path, *(path for path, _ in hit.also)} for hit in hits]
        places.append(found.index(True) + 1 if any(found) else FIRST_FEW + 1)
    return places


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description="33 queries on 200 files, in each mode.")
    parser.add_argument("--pack", help="a pack in place of the bundled one")
    parser.add_argument("--misses", action="store_true", help="list what is not first")
    options = parser.parse_args()
    queries = read_queries()
    with tempfile.TemporaryDirectory() as name, Embedder(options.pack) as embedder:
        folder = Path(name)
        count = write_corpus(folder)
        with SearchIndex(None, embedder) as index:
            start = time.perf_counter()
            index.update(folder)
            seconds = time.perf_counter() - start
            _, passages = index.count()
            print(f"{count} files, {passages} passages, indexed in {seconds:.1f} s\n")
            print(f"| {len(queries)} queries | right file first | in the first five |")
            print("|---|---:|---:|")
            misses = []
            for mode in get_args(Mode):
                places = ranks(index, folder, queries, mode)
                first = places.count(1)
                few = sum(place <= FIRST_FEW for place in places)
                print(f"| {mode} | {first} | {few} |")
                for query, place in zip(queries, places, strict=True):
                    if place > 1:
                        where = f"place {place}" if place <= FIRST_FEW else "not among five"
                        misses.append(f"{mode}: {query.text!r}, {where} ({query.file})")
    if options.misses:
        print("\n" + "\n".join(misses))


if __name__ == "__main__":
    main()
