"""`make bench-minilm`: all-MiniLM-L6-v2's own weights, against the libraries that run it.

Two parts. Quality: vectors of the gate's texts and of STS-B's sentences against Sentence
Transformers' torch, and the rank correlation with people's scores. Speed: the same texts of mixed
lengths, tokenizing included, against Sentence Transformers (torch, ONNX, ONNX int8) and fastembed,
in turns. Prints Markdown and writes it; exits with 1 if a bar of quality is missed. The bar of
speed is printed, and a person judges it: other work on the machine counts there.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench import places
from bench.machine import facts
from bench.minilm.quality import BARS, Quality, judge, read_pairs
from bench.minilm.worker import beside
from bench.race.command_line import listed, race_options
from bench.race.compete import Race, Result
from bench.race.peers import Contender, PeerError, environment, once, run
from bench.race.work import STREAMS, parse
from embedge import Embedder
from embedge_export.corpus.texts import LONG_TEXTS, SHORT_TEXTS

MODEL = places.ROOT / "models" / "all-minilm-l6-v2"
NAMES = {  # contender -> kind of worker
    "embedge int8": "embedge-int8",
    "embedge fp32": "embedge-fp32",
    "fastembed": "fastembed",
    "Sentence Transformers torch": "torch",
    "Sentence Transformers ONNX": "onnx",
    "Sentence Transformers ONNX int8": "onnx-int8",
}
SUBJECT = "embedge int8"
FASTER = 1.5  # the bar: SUBJECT's speed over the best peer's
PARTS = ("quality", "speed")
PRECISIONS = ("fp32", "int8")


def main() -> None:
    """Prepares, measures, reports."""
    options = _options()
    try:
        parts, missed = measure(options)
    except PeerError as error:
        sys.exit(f"error: the peers cannot take part: {error}")
    text = "\n\n".join(parts) + "\n"
    (options.out / "results-minilm.md").write_text(text, encoding="utf-8")
    print(text)
    if missed:
        sys.exit("missed: " + "; ".join(missed))


def measure(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Both parts: paragraphs of Markdown, and what missed a bar of quality."""
    options.out.mkdir(exist_ok=True)
    python = environment(options.out, "minilm")
    model = prepare(options.model, options.out)
    here = facts.machine()
    parts, missed = [f"# {options.model.name}"], []
    if "quality" in options.parts:
        found = quality(model, python, options.sts)
        parts.append(quality_table(found))
        for precision, one in found.items():
            missed += [f"{precision}: {phrase}" for phrase in one.missed(BARS[precision])]
    if "speed" in options.parts:
        recipe = "avx512_vnni" if here["vnni"] else "avx2"
        program = ("-m", "bench.minilm.convert")
        once(beside(model, "onnx"), lambda out: [python, *program, model, recipe, out])
        race = Race(
            contenders(options.peers, model, python),
            vocabulary=json.loads((model / "config.json").read_text())["vocab_size"],
            threads=options.threads,
            seconds=options.seconds,
            longest=options.longest,
            program=("-m", "bench.minilm.worker"),
        )
        works = listed(options.works)
        for name in works:
            race.run(parse(name), options.rounds)
        results = race.finish()
        versions = {k: v for one in results.values() for k, v in one.versions.items()}
        parts += [
            facts.sentence(here, options.threads, versions) + ".",
            speed_table(results, works),
        ]
    return parts, missed


def prepare(source: Path, out: Path) -> Path:
    """The model's folder under `out`, and its pack beside it."""
    model = out / source.name
    if not model.exists():
        shutil.copytree(source, model)
    command: list[str | Path] = [sys.executable, "-m", "embedge", "export", model, "--no-progress"]
    run([*command, "--out", beside(model, "pack"), "--precisions", ",".join(PRECISIONS)])
    return model


def contenders(names: list[str], model: Path, peer: Path) -> list[Contender]:
    """In the order in which they were asked for."""
    here = Path(sys.executable)
    return [
        Contender(
            name, here if name.startswith("embedge ") else peer, NAMES[name], model.absolute()
        )
        for name in names
    ]


def quality(model: Path, python: Path, sts: Path) -> dict[str, Quality]:
    """Of each precision."""
    pairs = read_pairs(sts)
    sentences = [sentence for first, second, _ in pairs for sentence in (first, second)]
    texts = list(dict.fromkeys([*SHORT_TEXTS, *LONG_TEXTS, *sentences]))
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "texts.json", Path(folder) / "vectors.npy"
        asked.write_text(json.dumps(texts))
        run([python, "-m", "bench.minilm.encode", model, asked, answered])
        theirs = np.load(answered)
    found = {}
    for precision in PRECISIONS:
        with Embedder(beside(model, "pack"), precision=precision) as embedder:
            found[precision] = judge(embedder.encode(texts), theirs, texts, pairs)
    return found


def quality_table(found: Mapping[str, Quality]) -> str:
    """One row a precision."""
    rows = [
        "## Quality\n\nAgainst Sentence Transformers' torch in float32: cosines over all texts, "
        "and the Spearman correlation on STS-B x 100.\n",
        "| precision | least cosine | mean | STS-B | theirs |",
        "|---|---:|---:|---:|---:|",
    ]
    rows += [
        f"| {precision} | {one.least:.7f} | {one.mean:.7f} | {one.score:.2f} | {one.theirs:.2f} |"
        for precision, one in found.items()
    ]
    return "\n".join(rows)


def speed_table(results: Mapping[str, Result], works: list[str]) -> str:
    """Texts a second of each contender on each work, and the subject's lead over the best peer."""
    rows = [
        "## Speed\n\nTexts a second from text to vector, best (median) of the runs; the lowest "
        f"cosine to embedge fp32. The streams ({', '.join(STREAMS)}) have real texts' lengths.\n",
        f"| contender | {' | '.join(works)} | cosine |",
        f"|---|{'---:|' * (len(works) + 1)}",
    ]
    for name, one in results.items():
        cells = [_rates(one, work) or one.skipped.get(work) or one.failure for work in works]
        rows.append(f"| {name} | {' | '.join(cells)} | {one.cosine:.5f} |")
    rows.append("")
    for work in works:
        if lead := _lead(results, work):
            best, ratio = lead
            verdict = "met" if ratio >= FASTER else "missed"
            rows.append(
                f"{work}: {SUBJECT} is {ratio:.2f} x {best}, the best peer; bar {FASTER}: {verdict}"
            )
    return "\n".join(rows)


def _rates(result: Result, work: str) -> str | None:
    times = result.times.get(work)
    if not times:
        return None
    count = len(parse(work).lengths)
    return f"{count / min(times):,.0f} ({count / statistics.median(times):,.0f})"


def _lead(results: Mapping[str, Result], work: str) -> tuple[str, float] | None:
    """The best peer, and how many times as fast the subject is, by the medians."""
    medians = {
        name: statistics.median(one.times[work])
        for name, one in results.items()
        if one.times.get(work)
    }
    peers = {name: time for name, time in medians.items() if not name.startswith("embedge ")}
    if SUBJECT not in medians or not peers:
        return None
    best = min(peers, key=peers.__getitem__)
    return best, peers[best] / medians[SUBJECT]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL, help=f"default: {MODEL.name}")
    parser.add_argument("--sts", type=Path, help="STS-B's development set, for quality")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--works", default=",".join(STREAMS), help="streams, or texts x tokens")
    options = race_options(parser, list(NAMES))
    options.parts = listed(options.parts)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if "quality" in options.parts and (options.sts is None or not options.sts.is_file()):
        parser.error("quality needs STS-B: --sts stsb-dev.csv, or --parts speed")
    if not (options.model / "config.json").is_file():
        parser.error(f"{options.model} holds no model; `make minilm` writes it")
    return options


if __name__ == "__main__":
    main()
