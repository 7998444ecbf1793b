"""`make bench-gpu`: the fp16 pack on ONNX Runtime's CUDA against torch (SDPA), bf16 and fp16.

Batches of 1 to 256 texts, lengths of 32 to 8,192 tokens, each one run of a network. A contender is
alone on the GPU, since each keeps what memory it once took: in every round all of them come in
turn, a fresh process each, and go through the whole grid. A shape that does not fit is told, and
what is larger in both ways is not tried. Exits with 2 where there is no CUDA device.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from bench.machine import cuda, facts
from bench.race.bars import rates
from bench.race.compete import Race, Result
from bench.race.peers import KINDS, Bench, Contender, PeerError, environment, seeded_source
from bench.race.report import NOTHING, left_out, markdown
from bench.race.work import Work, parse
from embedge.engine.providers.cuda import cuda_problem

BATCHES = "1,4,16,64,256"
LENGTHS = "32,128,512,2048,8192"
NAMES = {  # contender -> the worker's kind
    "embedge fp16": "embedge-fp16-cuda",
    "torch bf16": "torch-bfloat16-cuda",
    "torch fp16": "torch-float16-cuda",
}
NO_MEMORY = ("llocate", "bad_alloc", "out of memory", "no memory")
SMALLER = "a smaller one did not fit"


def grid(batches: Iterable[int], lengths: Iterable[int]) -> list[Work]:
    """Every batch at every length, the smallest runs first."""
    lengths = list(lengths)
    works = [parse(f"{batch}x{length}") for batch in batches for length in lengths]
    return sorted(works, key=lambda work: (work.tokens, work.lengths[0]))


def covers(larger: Work, smaller: Work) -> bool:
    """Whether one has no fewer texts and no fewer tokens a text than the other."""
    return len(larger.lengths) >= len(smaller.lengths) and larger.lengths[0] >= smaller.lengths[0]


def mark_larger(result: Result, works: Iterable[Work]) -> None:
    """After a shape that did not fit: what covers it is skipped, too."""
    works = list(works)
    full = [
        work
        for work in works
        if any(word in result.skipped.get(work.name, "") for word in NO_MEMORY)
    ]
    for work in works:
        if work.name not in result.times and any(covers(work, one) for one in full):
            result.skipped.setdefault(work.name, SMALLER)


def merge(rounds: list[dict[str, Result]]) -> dict[str, Result]:
    """One result a contender of several rounds: all times; what failed once has no figure."""
    merged: dict[str, Result] = {}
    for results in rounds:
        for name, result in results.items():
            into = merged.setdefault(name, result)
            if into is result:
                continue
            for work, times in result.times.items():
                into.times.setdefault(work, []).extend(times)
            into.skipped |= result.skipped
            into.failure = into.failure or result.failure
    for result in merged.values():
        for work in result.skipped:
            result.times.pop(work, None)
    return merged


def table(results: dict[str, Result], works: list[Work]) -> str:
    """Tokens a second, best (median), and the ratio of the bests to torch's better one."""
    subject, *peers = NAMES
    rows = []
    for work in works:
        row, best = [work.name], {}
        for name in NAMES:
            result = results.get(name, Result(failure="not run"))
            found = rates(result, work)
            if found is not None:
                row.append(f"{found[0]:,.0f} ({found[1]:,.0f})")
                best[name] = found[0]
            elif any(word in result.skipped.get(work.name, "") for word in (*NO_MEMORY, SMALLER)):
                row.append("no memory")
            else:
                row.append(NOTHING)
        others = [best[name] for name in peers if name in best]
        row.append(f"{best[subject] / max(others):.2f}" if subject in best and others else NOTHING)
        rows.append(row)
    return markdown(["texts x tokens", *NAMES, f"{subject} / torch's better"], rows)


def compete(
    contenders: list[Contender], works: list[Work], options: argparse.Namespace, vocabulary: int
) -> dict[str, Result]:
    """All rounds; each contender alone on the GPU."""
    rounds = []
    for _ in range(options.rounds):
        results: dict[str, Result] = {}
        for contender in contenders:
            race = Race(
                [contender],
                vocabulary=vocabulary,
                threads=facts.usable_cores(),
                seconds=options.seconds,
                longest=options.longest,
            )
            for work in works:
                race.run(work, rounds=1)
                mark_larger(race.results[contender.name], works)
            results |= race.finish()
        rounds.append(results)
    return merge(rounds)


def line_up(bench: Bench) -> tuple[list[Contender], dict[str, str]]:
    """Makes what is missing; gives the contenders, and why others are absent."""
    pack = bench.pack("gpu-pack", precisions="fp16")
    name, *peers = NAMES
    contenders = [Contender(name, Path(sys.executable), NAMES[name], pack)]
    try:
        python = environment(bench.folder, "torch")
    except PeerError as error:
        return contenders, dict.fromkeys(peers, str(error))
    contenders += [Contender(peer, python, NAMES[peer], bench.merged()) for peer in peers]
    return contenders, {}


def main() -> int:
    """Prepares, measures, writes gpu-<model>.md and .json."""
    options = _options()
    if missing := cuda.problem() or cuda_problem():
        print(f"bench-gpu: {missing}", file=sys.stderr)
        return cuda.NO_DEVICE
    bench = Bench(options.out, seeded_source(options.out, options.model_kind, options.size))
    contenders, absent = line_up(bench)
    works = grid(
        *([int(n) for n in text.split(",")] for text in (options.batches, options.lengths))
    )
    results = compete(contenders, works, options, bench.config["vocab_size"])
    here = facts.machine() | {"gpu": cuda.device_name()}
    versions = {name: number for one in results.values() for name, number in one.versions.items()}
    text = (
        f"# {bench.source.name} on {here['gpu']}\n\n"
        f"{facts.sentence(here, facts.usable_cores(), versions)}.\n\n"
        "Texts x tokens, one run of the network each: tokens a second, best (median).\n\n"
        f"{table(results, works)}\n\n{left_out(results, absent)}\n"
    )
    stem = f"gpu-{bench.source.name}"
    (options.out / f"{stem}.md").write_text(text, encoding="utf-8")
    record = {
        "machine": here,
        "versions": versions,
        "absent": absent,
        "contenders": {name: asdict(one) for name, one in results.items()},
    }
    (options.out / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-kind", choices=KINDS, default=KINDS[0], help="seeded weights of")
    parser.add_argument("--size", choices=("tiny", "demo", "full"), default="full")
    parser.add_argument("--batches", default=BATCHES, help=f"texts (default: {BATCHES})")
    parser.add_argument("--lengths", default=LENGTHS, help=f"tokens (default: {LENGTHS})")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--longest", type=float, default=30.0, help="seconds one run may take")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where things are kept")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
