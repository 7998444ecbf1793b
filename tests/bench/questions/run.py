"""The table of docs/search.md: `python -m bench.questions.run [--pack PACK] [--misses]`.

Indexes the folder in memory, with this repository's pages and without, asks each query in each
mode, and counts the right files at the first place and among five.
"""

import argparse
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bench.questions.corpus import Query, read_queries, write_corpus
from embedge import Embedder, LanguageWarning, SearchIndex
from embedge.search.hits import Mode

FIRST_FEW = 5
QUERIES = read_queries()


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
    parser = argparse.ArgumentParser(description="33 queries on about 200 files, in each mode.")
    parser.add_argument("--pack", help="a pack in place of the bundled one")
    parser.add_argument("--misses", action="store_true", help="list what is not first")
    options = parser.parse_args()
    warnings.simplefilter("ignore", LanguageWarning)  # nine queries are not English
    rows: dict[Mode, str] = {mode: f"| {mode} |" for mode in get_args(Mode)}
    misses = []
    with Embedder(options.pack) as embedder:
        for pages in (True, False):
            with tempfile.TemporaryDirectory() as name, SearchIndex(None, embedder) as index:
                folder = Path(name)
                write_corpus(folder, pages=pages)
                index.update(folder)
                files, passages = index.count()
                print(f"{'with' if pages else 'without'} pages: {files} files, {passages} passages")
                for mode in rows:
                    places = ranks(index, folder, QUERIES, mode)
                    few = sum(place <= FIRST_FEW for place in places)
                    rows[mode] += f" {places.count(1)} | {few} |"
                    if pages:
                        misses += [
                            _miss(mode, *found) for found in zip(QUERIES, places, strict=True)
                        ]
    print(f"\n| {len(QUERIES)} queries | first | in five | without pages: first | in five |")
    print("|---|---:|---:|---:|---:|")
    print("\n".join(rows.values()))
    if options.misses:
        print("\n" + "\n".join(filter(None, misses)))


def _miss(mode: Mode, query: Query, place: int) -> str:
    where = f"place {place}" if place <= FIRST_FEW else "not among five"
    return f"{mode}: {query.text!r}, {where} ({query.file})" if place > 1 else ""


if __name__ == "__main__":
    main()
