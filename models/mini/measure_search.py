"""Measures `SearchIndex` on held-out questions: `python models/mini/measure_search.py WORK`.

Each set's documents become files of a folder; the pack, by default the bundled one, indexes it, and
each mode answers each query. Prints the share of the queries whose own document is the first hit,
and among ten; then how often the hint "no passage matches well" is given: wrongly, where the own
document is among five, and to queries of the other sets. Fetches the packages and collects the
corpus where WORK has none; trains nothing.
"""

import argparse
import random
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from embedge import Embedder, SearchIndex
from embedge.search import Hit
from embedge.search.hits import Mode
from mini import collect, corpus, packages
from mini.questions import Questions, questions

SAMPLE = 300  # queries of a set that are asked about another


def main() -> None:
    """Measures and prints two Markdown tables."""
    parser = argparse.ArgumentParser(description="Measure the modes of a search, and its hint.")
    parser.add_argument("work", type=Path, help="folder of the corpus")
    parser.add_argument("--pack", type=Path, help="a pack in place of the bundled one")
    options = parser.parse_args()
    work: Path = options.work
    if not (work / "corpus.jsonl").exists():
        collect.write(packages.fetch(work), work / "corpus.jsonl")
    held = [entry for entry in corpus.read(work / "corpus.jsonl") if entry.held_out]
    tests = questions(held)
    hints = ["| set | hint given wrongly | hint given to queries of other sets |\n|---|---:|---:|"]
    print("| set | queries | documents | mode | first | among ten |\n|---|---:|---:|---|---:|---:|")
    with Embedder(options.pack) as embedder:
        for name, test in tests.items():
            with tempfile.TemporaryDirectory() as folder, SearchIndex(None, embedder) as index:
                for number, text in enumerate(test.documents):
                    Path(folder, f"{number:05}.txt").write_text(text, encoding="utf-8")
                index.update(folder)
                wrongly = _modes(index, name, test)
                others = [other for key, other in tests.items() if key != name]
                given = _share(_hinted(index.search(query)) for query in _sample(others))
            hints.append(f"| {name} | {wrongly:.1f} | {given:.1f} |")
    print("\n" + "\n".join(hints))


def _modes(index: SearchIndex, name: str, test: Questions) -> float:
    """Prints how each mode does; gives how often the hint was wrong, in percent."""
    counts = f"{len(test.queries):,} | {len(test.documents):,}"
    wrongly = []
    for mode in get_args(Mode):
        ranks = []
        for number, query in enumerate(test.queries):
            hits = index.search(query, top_k=10, mode=mode)
            names = [int(hit.path.stem) for hit in hits if hit.path is not None]
            ranks.append(names.index(number) if number in names else 10)
            if mode == "hybrid" and ranks[-1] < 5:
                wrongly.append(_hinted(hits[:5]))
        first, ten = (_share(rank < at for rank in ranks) for at in (1, 10))
        print(f"| {name} | {counts} | {mode} | {first:.1f} | {ten:.1f} |", flush=True)
    return _share(wrongly)


def _hinted(hits: list[Hit]) -> bool:
    return all(hit.fit is not None and hit.fit < 0 for hit in hits)


def _sample(tests: list[Questions]) -> list[str]:
    dice = random.Random(0)
    return [query for test in tests for query in dice.sample(test.queries, SAMPLE)]


def _share(values: Iterable[bool]) -> float:
    """Of some truths, how many are true, in percent."""
    found = list(values)
    return 100 * sum(found) / len(found)


if __name__ == "__main__":
    main()
