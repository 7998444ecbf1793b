"""`make bench`: embedge and its peers on the same weights, threads and texts, interleaved.

Every contender is a process of its own (worker.py). For each piece of work they take turns, several
rounds of them, so that whatever else the machine does hits all alike; the best and the median of
each are told. Figures of different machines do not compare; ratios within one run do. Exits with 0
whatever the figures are: the verdicts are printed, and a person judges them.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.machine import facts
from bench.race import scaling
from bench.race.bars import BARS, SUBJECT, conclusion, verdict
from bench.race.command_line import listed, race_options
from bench.race.compete import Race, Result
from bench.race.peers import KINDS, Bench, Contender, LineUp, prepare, seeded_source
from bench.race.report import (
    bars_table,
    budgets_table,
    latency_table,
    left_out,
    speed_table,
    start_table,
    stream_table,
)
from bench.race.work import STREAMS, Work, parse
from bench.race.worker import BATCH

NAMES = [
    "embedge int8",
    "embedge fp32",
    "OpenVINO int8 f32",
    "OpenVINO int8 bf16",
    "OpenVINO bf16",
    "Optimum int8",
    "Optimum fp32",
    "torch fp32",
    "torch bf16",
]
SHAPES = "1x16,1x32,1x128,1x512,4x128,16x64,1x2048"
LATENCY = "8,16,32"
SCALING = "16x64,1x512"
LENGTHS = "8,32,128,512,2048,8192,32768"


def main() -> None:
    """Prepares, measures, writes results.md and results.json."""
    options = _options()
    here = facts.machine()
    shapes = [parse(name) for name in listed(options.shapes)]
    streams = [parse(name) for name in listed(options.streams)]
    queries = [parse(f"1x{tokens}") for tokens in listed(options.latency)]
    source = options.model or seeded_source(options.out, options.model_kind, options.size)
    line_up = prepare(Bench(options.out, source), options.peers, vnni=here["vnni"])
    race = Race(
        line_up.contenders,
        vocabulary=line_up.vocabulary,
        threads=options.threads,
        seconds=options.seconds,
        longest=options.longest,
    )
    # A short query may be one of the shapes, too.
    for work in {work.name: work for work in [*queries, *shapes, *streams]}.values():
        race.run(work, options.rounds)
    results = race.finish()
    text, record = report(options, here, results, line_up.absent, shapes, streams, queries)
    write(options.out, source.name, text, record)  # before what may still fail
    ours = [one for one in line_up.contenders if one.name == SUBJECT]
    if ours and not results[SUBJECT].failure:
        more, grown = alone(options, ours[0], line_up)
        text, record = text + more, record | grown
        write(options.out, source.name, text, record)
    print(text)


def write(folder: Path, name: str, text: str, record: dict[str, Any]) -> None:
    """Both forms of the results."""
    (folder / f"results-{name}.md").write_text(text, encoding="utf-8")
    (folder / f"results-{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def report(
    options: argparse.Namespace,
    here: dict[str, Any],
    results: dict[str, Result],
    absent: dict[str, str],
    shapes: list[Work],
    streams: list[Work],
    queries: list[Work],
) -> tuple[str, dict[str, Any]]:
    """What the contenders showed: Markdown, and the same with every time in it."""
    versions = {name: number for one in results.values() for name, number in one.versions.items()}
    works = [*shapes, *streams]
    title = options.model.name if options.model else f"{options.model_kind}, {options.size} size"
    parts = [f"# {title}", facts.sentence(here, options.threads, versions) + "."]
    if shapes:
        parts += [
            "## Shapes\n\nTexts x tokens: tokens a second, best (median).",
            speed_table(results, shapes),
        ]
    if streams:
        parts += [
            "## Mixed lengths\n\nOne call, best (median); padding is not counted. embedge cuts the "
            f"texts by its own plan, the others take them sorted by length, {BATCH} at a time.",
            stream_table(results, streams),
        ]
    if queries:
        parts += [
            "## One short text\n\nMilliseconds, p50 / p95 of all runs.",
            latency_table(results, queries),
        ]
    parts += ["## Start and memory", start_table(results)]
    parts += [
        "## Bars\n\nembedge int8's speed over the peer's best setting, ratio of the best runs (of "
        "the medians); met where both reach the bar.",
        bars_table(results, works),
    ]
    if budgets := budgets_table(results, works):
        parts.append(
            "## Token budgets\n\nSpeed with the default budget over another, ratio of the "
            f"best runs (of the medians).\n\n{budgets}"
        )
    missing = left_out(results, absent)
    parts += [missing] if missing else []
    record = {
        "machine": here,
        "threads": options.threads,
        "rounds": options.rounds,
        "versions": versions,
        "absent": absent,
        "verdicts": {
            bar.peer: {
                "bar": bar.least,
                "conclusion": conclusion(bar, found),
                "at": [asdict(one) for one in found if one is not None],
            }
            for bar in BARS
            for found in [[verdict(results, bar, work) for work in works]]
        },
        "contenders": {name: asdict(result) for name, result in results.items()},
    }
    return "\n\n".join(parts) + "\n", record


def alone(
    options: argparse.Namespace, contender: Contender, line_up: LineUp
) -> tuple[str, dict[str, Any]]:
    """What only embedge is asked: more threads, longer texts."""
    text = ""
    record: dict[str, Any] = {}
    shapes = listed(options.scaling)
    if shapes:
        times = scaling.over_threads(
            contender,
            vocabulary=line_up.vocabulary,
            shapes=shapes,
            counts=scaling.thread_counts(facts.usable_cores()),
            seconds=options.seconds,
            rounds=options.rounds,
        )
        told = f"## {SUBJECT} by threads\n\nTokens a second, best (median)."
        text += f"\n{told}\n\n{scaling.threads_table(times, shapes)}\n"
        record["threads_seconds"] = times
    lengths = [int(length) for length in listed(options.lengths)]
    if lengths:
        found = scaling.over_lengths(
            contender,
            vocabulary=line_up.vocabulary,
            threads=options.threads,
            lengths=lengths,
            limit=line_up.limit,
            seconds=options.seconds,
            longest=options.longest,
        )
        told = f"## {SUBJECT} by length\n\n{options.threads} threads; the best run."
        text += f"\n{told}\n\n{scaling.lengths_table(found)}\n"
        record["lengths"] = found
    return text, record


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-kind", choices=KINDS, default=KINDS[0], help="seeded weights of")
    parser.add_argument("--size", choices=("tiny", "demo", "full"), default="full")
    parser.add_argument("--model", type=Path, help="a model folder instead, with a retrieval task")
    parser.add_argument("--shapes", default=SHAPES, help=f"texts x tokens (default: {SHAPES})")
    parser.add_argument("--streams", default=",".join(STREAMS), help="of " + ", ".join(STREAMS))
    parser.add_argument("--latency", default=LATENCY, help=f"tokens (default: {LATENCY})")
    parser.add_argument("--scaling", default=SCALING, help=f"shapes (default: {SCALING})")
    parser.add_argument("--lengths", default=LENGTHS, help=f"tokens (default: {LENGTHS})")
    options = race_options(parser, NAMES, budgets=True)
    try:
        for name in (options.shapes, options.streams, options.scaling):
            list(map(parse, listed(name)))
        for number in (options.latency, options.lengths):
            list(map(int, listed(number)))
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    main()
