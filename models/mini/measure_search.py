"""Measures `SearchIndex` on held-out questions: `python models/mini/measure_search.py WORK`.

Each set's documents become files of a folder; the bundled pack indexes it, and each mode answers
each query. Prints the share of the queries whose own document is the first hit, and among ten.
Fetches the packages and collects the corpus where WORK has none; trains nothing.
"""

import argparse
import tempfile
from pathlib import Path
from typing import get_args

from embedge import Embedder, SearchIndex
from embedge.search.hits import Mode
from mini import collect, corpus, packages
from mini.evaluate import Questions, questions


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description="Measure the modes of a search.")
    parser.add_argument("work", type=Path, help="folder of the corpus")
    work: Path = parser.parse_args().work
    if not (work / "corpus.jsonl").exists():
        collect.write(packages.fetch(work), work / "corpus.jsonl")
    held = [entry for entry in corpus.read(work / "corpus.jsonl") if entry.held_out]
    print("| set | queries | documents | mode | first | among ten |\n|---|---:|---:|---|---:|---:|")
    with Embedder() as embedder:
        for name, test in questions(held).items():
            counts = f"{len(test.queries):,} | {len(test.documents):,}"
            for mode, (first, ten) in _measure(embedder, test).items():
                print(f"| {name} | {counts} | {mode} | {first:.1f} | {ten:.1f} |", flush=True)


def _measure(embedder: Embedder, test: Questions) -> dict[str, tuple[float, float]]:
    """Mode -> the share of queries, in percent, whose document is first, and among ten."""
    with (
        tempfile.TemporaryDirectory() as folder,
        SearchIndex(None, embedder) as index,
    ):
        for number, text in enumerate(test.documents):
            Path(folder, f"{number:05}.txt").write_text(text, encoding="utf-8")
        index.update(folder)
        found = {}
        for mode in get_args(Mode):
            ranks = []
            for number, query in enumerate(test.queries):
                hits = index.search(query, top_k=10, mode=mode)
                names = [int(hit.path.stem) for hit in hits]
                ranks.append(names.index(number) if number in names else 10)
            found[mode] = (
                100 * sum(rank == 0 for rank in ranks) / len(ranks),
                100 * sum(rank < 10 for rank in ranks) / len(ranks),
            )
        return found


if __name__ == "__main__":
    main()
