"""What the library itself does with the same texts, in one call: texts a second, as JSON.

Started as `python -m bench.server.encode PACK THREADS SECONDS TEXTS`.
"""

import json
import sys
import time
from pathlib import Path

from bench.server.texts import short_texts
from embedge import Embedder


def main() -> None:
    """Repeats the call until the seconds are over; prints the best and the median."""
    pack, threads, seconds, count = Path(sys.argv[1]), *sys.argv[2:5]
    texts = short_texts(int(count))
    rates: list[float] = []
    with Embedder(pack, precision="int8", threads=int(threads)) as embedder:
        embedder.encode(texts[:64])
        end = time.perf_counter() + float(seconds)
        while not rates or time.perf_counter() < end:
            began = time.perf_counter()
            embedder.encode(texts)
            rates.append(len(texts) / (time.perf_counter() - began))
    print(json.dumps({"best": max(rates), "median": sorted(rates)[len(rates) // 2]}))


if __name__ == "__main__":
    main()
