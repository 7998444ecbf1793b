"""A static model through embedge, model2vec and Sentence Transformers: vectors, quality, speed.

    make bench-static [OPTIONS="--texts 20000 --rounds 5 --sts stsb-dev.csv"]

Takes a folder that Sentence Transformers can load; writes it in model2vec's layout too, with that
library's own code. All ways embed the same texts of mixed lengths in one process, one after another
in each round; the median of the rounds counts. Every way may use all cores.
"""

import argparse
import csv
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge import Embedder, TruncationWarning
from embedge.vectors import normalize
from embedge_export import export_pack
from embedge_export.corpus.texts import CALIBRATION_TEXTS, LONG_TEXTS, SHORT_TEXTS

Encode = Callable[[Sequence[str]], NDArray[Any]]


def mixed(count: int) -> list[str]:
    """Texts of 1 to 300 words, most of them short."""
    generator = np.random.default_rng(0)
    words = " ".join((*SHORT_TEXTS, *LONG_TEXTS, *CALIBRATION_TEXTS)).split()
    lengths = np.clip(generator.lognormal(2.8, 0.9, count), 1, 300).astype(int)
    return [" ".join(generator.choice(words, length)) for length in lengths]


def contenders(folder: Path, work: Path) -> dict[str, Encode]:
    """What is compared, by name; the vectors of the others are compared with the first's."""
    from model2vec import StaticModel
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(folder), device="cpu")
    module: Any = library[0]
    table = module.embedding.weight.detach().float().numpy()
    StaticModel(table, module.tokenizer, normalize=True, max_length=None).save_pretrained(
        work / "model2vec"
    )
    other = StaticModel.from_pretrained(work / "model2vec")
    ways: dict[str, Encode] = {
        "sentence-transformers": lambda texts: library.encode(list(texts), batch_size=256),
        "model2vec": lambda texts: other.encode(list(texts)),
    }
    for layout, source in (("", folder), (" (model2vec's folder)", work / "model2vec")):
        pack = work / f"pack{len(ways)}"
        export_pack(source, out=pack, precisions=("fp32", "int8"))
        for precision in ("fp32", "int8"):
            embedder = Embedder(pack, precision=precision)
            ways[f"embedge {precision}{layout}"] = embedder.encode
    return ways


def spearman(encode: Encode, path: Path) -> float:
    """Rank correlation with the scores of STS-B: a CSV of sentence, sentence, score."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    left, right = (normalize(encode([row[place] for row in rows])) for place in (0, 1))
    ranks = []
    for values in ((left * right).sum(axis=1), np.array([float(row[2]) for row in rows])):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[place])
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="make bench-static", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sts", type=Path, help="STS-B: a CSV of sentence, sentence, score")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", TruncationWarning)
    texts = mixed(arguments.texts)
    with tempfile.TemporaryDirectory() as work:
        ways = contenders(arguments.folder, Path(work))
        vectors = {name: encode(texts[:2000]) for name, encode in ways.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, encode in ways.items():
                start = time.perf_counter()
                encode(texts)
                seconds[name].append(time.perf_counter() - start)
        want = normalize(next(iter(vectors.values())).astype(np.float32))
        print(f"{'way':36} {'texts/s':>9}  least cosine{'  STS-B' if arguments.sts else ''}")
        for name, encode in ways.items():
            speed = len(texts) / statistics.median(seconds[name])
            least = (normalize(vectors[name].astype(np.float32)) * want).sum(axis=1).min()
            score = f"  {100 * spearman(encode, arguments.sts):.2f}" if arguments.sts else ""
            print(f"{name:36} {speed:9,.0f}  {least:.7f}{score}")


if __name__ == "__main__":
    main()
