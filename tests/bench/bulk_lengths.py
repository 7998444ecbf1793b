"""What a million texts cost by their length: minutes of one core, for `docs/bulk.md`.

Texts of just so many tokens, special ones and the task's prompt included, cut from the Python
language reference, through `Embedder.encode` with one thread. CPU time counts and not the clock:
other work on the machine lengthens it far less. Packs are folders or names; the bundled one by
default.

    PYTHONPATH=tests .venv/bin/python -m bench.bulk_lengths --packs bench/all-minilm-l6-v2.pack
"""

import argparse
import random
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics

from bench.machine import facts
from bench.race.lengths import paragraphs
from embedge import Embedder, OptionError
from embedge.texts.tokens import TruncationWarning

LENGTHS = (8, 32, 128, 512)
CHARACTERS = 8  # of prose for a token, with room to spare
TOKENS = 16_384  # of one call
MILLION = 1_000_000
BUNDLED = "bundled"


def main() -> None:
    """Measures; prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packs", nargs="*", default=[], help="besides the bundled one")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS), help="tokens")
    parser.add_argument("--rounds", type=int, default=3, help="the best counts (default: 3)")
    options = parser.parse_args()
    print(facts.sentence(facts.machine(), 1, {}) + "\n")
    print(f"| pack | {' | '.join(f'{length} tokens' for length in options.lengths)} |")
    print(f"|---|{'---:|' * len(options.lengths)}")
    for pack in [BUNDLED, *options.packs]:
        with Embedder(None if pack == BUNDLED else pack, threads=1) as embedder:
            name = f"{Path(pack).stem} {embedder.precision}"
            cells = [cell(embedder, length, options.rounds) for length in options.lengths]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def cell(embedder: Embedder, length: int, rounds: int) -> str:
    """Minutes of one core for a million texts; empty where the model takes no such text."""
    texts = texts_of(length, max(8, TOKENS // length))
    try:
        seconds = min(cpu_seconds(embedder, texts, length) for _ in range(rounds))
    except OptionError:
        return ""
    return f"{seconds / len(texts) * MILLION / 60:,.1f}"


def cpu_seconds(embedder: Embedder, texts: Sequence[str], length: int) -> float:
    """Of one call over texts that are cut to `length` tokens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        before, start = embedder.truncations, time.process_time()
        embedder.encode(list(texts), task=embedder.tasks[0], max_length=length)
        seconds = time.process_time() - start
    if (cut := embedder.truncations - before) < len(texts):
        raise SystemExit(f"{len(texts) - cut} texts have fewer than {length} tokens")
    return seconds


def texts_of(length: int, count: int) -> list[str]:
    """So many, no two the same, each of more tokens than `length`."""
    prose = " ".join(paragraphs(topics[name] for name in sorted(topics)))
    size = CHARACTERS * length
    chance = random.Random(length)
    return [prose[start : start + size] for start in chance.sample(range(len(prose) - size), count)]


if __name__ == "__main__":
    main()
