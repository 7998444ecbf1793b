"""`make bench-bulk-peers`: a job of many texts, in one process or several, beside other libraries.

The same texts, sentences and paragraphs of the Python language reference, through all-MiniLM-L6-v2:
fastembed in one process and with `parallel=`, Sentence Transformers in one process and with its
multi-process pool, `Embedder.encode` and `embedge bulk`. Each turn is a fresh process that does the
whole job once, and the contenders take turns. Texts a second with the start of the process and
without; the peak of memory of all its processes together (the sum of their PSS, read every 0.1 s,
the start included); cosines of all vectors to Sentence Transformers in float32, and, with STS-B,
the Spearman correlation. Prints a Markdown table and writes it. Other work on the machine counts.

    PYTHONPATH=tests .venv/bin/python -m bench.minilm.bulk_peers --texts 1000 --rounds 1
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet as pq

from bench import places
from bench.bulk_cost import texts
from bench.machine import facts
from bench.machine.tree import Watch
from bench.minilm.quality import Quality, judge, read_pairs
from bench.minilm.run import MODEL, prepare
from bench.minilm.worker import beside
from bench.race.command_line import listed
from bench.race.peers import PeerError, environment, once

NAMES = {  # contender -> kind of worker
    "embedge bulk int8": "bulk-int8",
    "Embedder.encode int8": "embedge-int8",
    "embedge bulk fp32": "bulk-fp32",
    "Embedder.encode fp32": "embedge-fp32",
    "fastembed": "fastembed",
    "fastembed parallel": "fastembed-pool",
    "Sentence Transformers": "torch",
    "Sentence Transformers pool": "torch-pool",
}
TRUTH = "Sentence Transformers"  # whose vectors the others' are compared with
OURS = ("embedge ", "Embedder.")
WORKER = ("-m", "bench.minilm.bulk_worker")


@dataclass
class Turns:
    """What a contender showed."""

    whole: list[float] = field(default_factory=list)  # seconds from the start of the process
    work: list[float] = field(default_factory=list)  # seconds of them for the texts
    peak: float = 0.0  # MiB of all its processes
    versions: dict[str, str] = field(default_factory=dict)
    failure: str = ""


def main() -> None:
    """Prepares, measures, reports."""
    options = _options()
    try:
        text = measure(options)
    except PeerError as error:
        sys.exit(f"error: the peers cannot take part: {error}")
    (options.out / "results-bulk-peers.md").write_text(text, encoding="utf-8")
    print(text)


def measure(options: argparse.Namespace) -> str:
    """Everything: Markdown."""
    options.out.mkdir(exist_ok=True)
    peer = environment(options.out, "minilm")
    model = prepare(options.model, options.out)
    program = ("-m", "bench.minilm.convert")
    here = facts.machine()
    recipe = "avx512_vnni" if here["vnni"] else "avx2"
    once(beside(model, "onnx"), lambda out: [peer, *program, model, recipe, out])
    flat = beside(model, "fastembed")
    if not flat.exists():  # the folder of the graph, as fastembed's own download has it
        part = flat.with_name(flat.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(beside(model, "onnx"), part, ignore=shutil.ignore_patterns("onnx"))
        shutil.copy2(beside(model, "onnx") / "onnx" / "model.onnx", part)
        part.rename(flat)
    pairs = read_pairs(options.sts) if options.sts else []
    found = texts(options.texts)
    sentences = list(dict.fromkeys(text for first, second, _ in pairs for text in (first, second)))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_texts(place / "texts", found)
        write_texts(place / "pairs", sentences or found[:1])
        numbers = [options.threads, options.processes, options.batch]
        names = list(dict.fromkeys([TRUTH, *options.peers]))
        turns = {name: Turns() for name in names}
        for number in range(options.rounds):
            # Another first one each round: a machine that slows down slows all alike.
            first = number % len(names)
            for name in [*names[first:], *names[:first]]:
                python = Path(sys.executable) if name.startswith(OURS) else peer
                command = [python, *WORKER, NAMES[name], model.absolute()]
                command += [place / "texts.json", place / "pairs.json", place / name, *numbers]
                take_turn([str(part) for part in command], turns[name])
                last = turns[name].whole[-1:] or [float("nan")]
                line = turns[name].failure or f"{last[0]:.1f} s"
                print(f"  round {number + 1}: {name}: {line}", file=sys.stderr, flush=True)
        qualities = compare(place, turns, found, sentences, pairs)
    versions = {k: v for one in turns.values() for k, v in one.versions.items()}
    head = (
        f"# {options.model.name}, {options.texts:,} texts\n\n"
        f"{facts.sentence(here, options.threads, versions)}. Best of {options.rounds}; those with "
        f"several processes have {options.processes}, which share the threads; batches of "
        f"{options.batch} where a number has to be given.\n"
    )
    return head + "\n" + table(turns, qualities, options.texts, scored=bool(pairs)) + "\n"


def write_texts(path: Path, found: Sequence[str]) -> None:
    """A JSON list, and a Parquet file of the column "text"."""
    path.with_suffix(".json").write_text(json.dumps(found))
    pq.write_table(pa.table({"text": found}), path.with_suffix(".parquet"))


def take_turn(command: Sequence[str], turns: Turns) -> None:
    """Runs a worker and notes what it shows; one that failed before is left out."""
    if turns.failure:
        return
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+", errors="replace") as words:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=words, text=True, env=places.environment()
        ) as worker:
            assert worker.stdout is not None
            with Watch(worker.pid) as watch:
                answers = [json.loads(line) for line in (worker.stdout.readline(),) if line]
                answers += [json.loads(line) for line in (worker.stdout.readline(),) if line]
            whole = time.perf_counter() - start
        if worker.returncode or len(answers) < 2:
            words.seek(0)
            lines = words.read().strip().splitlines()
            turns.failure = (lines[-1] if lines else f"exit code {worker.returncode}")[:200]
            return
    turns.versions = answers[0]["versions"]
    turns.whole.append(whole)
    turns.work.append(answers[1]["seconds"])
    turns.peak = max(turns.peak, watch.peak)


def compare(
    place: Path,
    turns: Mapping[str, Turns],
    found: Sequence[str],
    sentences: Sequence[str],
    pairs: Sequence[tuple[str, str, float]],
) -> dict[str, Quality]:
    """Of each contender that left vectors; the score is NaN without pairs."""
    kept = {name: one for name, one in turns.items() if one.whole and not one.failure}
    if TRUTH not in kept:
        return {}

    def vectors(name: str) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        both = [np.load(f"{place / name}-{what}.npy") for what in ("texts", "pairs")]
        return np.concatenate(both if sentences else both[:1])

    everything = [*found, *sentences]
    return {name: judge(vectors(name), vectors(TRUTH), everything, pairs) for name in kept}


def table(
    turns: Mapping[str, Turns], qualities: Mapping[str, Quality], count: int, *, scored: bool
) -> str:
    """A row for each contender."""
    rows = [
        "| contender | texts/s | without its start | peak MiB | least cosine | mean |"
        + (" STS-B |" if scored else ""),
        f"|---|{'---:|' * (6 if scored else 5)}",
    ]
    for name, one in turns.items():
        if one.failure:
            rows.append(f"| {name} | {one.failure} |{' |' * (5 if scored else 4)}")
            continue
        cells = [rates(one.whole, count), rates(one.work, count), f"{one.peak:,.0f}"]
        if (quality := qualities.get(name)) is not None:
            cells += [f"{quality.least:.5f}", f"{quality.mean:.5f}"]
            cells += [f"{quality.score:.2f}"] if scored else []
        else:
            cells += [""] * (3 if scored else 2)
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def rates(seconds: Sequence[float], count: int) -> str:
    """Texts a second: of the best turn, and of the median where there are several."""
    best = f"{count / min(seconds):,.0f}"
    return best if len(seconds) == 1 else f"{best} ({count / statistics.median(seconds):,.0f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[1], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL, help=f"default: {MODEL.name}")
    parser.add_argument("--sts", type=Path, help="STS-B's development set, for Spearman")
    parser.add_argument("--texts", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default: 3)")
    parser.add_argument("--peers", default=",".join(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument(
        "--threads", type=int, default=facts.usable_cores(), help="of a contender (default: cores)"
    )
    parser.add_argument(
        "--processes", type=int, default=2, help="of fastembed's parallel and the pool (default: 2)"
    )
    parser.add_argument(
        "--batch", type=int, default=32, help="texts of a batch, for both peers (default: 32)"
    )
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where things are kept")
    options = parser.parse_args()
    options.peers = listed(options.peers)
    if unknown := set(options.peers) - set(NAMES):
        parser.error(f"no such contender: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if not (options.model / "config.json").is_file():
        parser.error(f"{options.model} holds no model; `make minilm` writes it")
    return options


if __name__ == "__main__":
    main()
