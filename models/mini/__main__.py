"""Makes embedge-mini: `python models/mini WORK OUT`, in an environment with torch.

Each step writes files of its own under WORK and is passed over when they are there; to do a step
again, remove its files. Interrupted, the same command goes on. Runs on a GPU where there is one.
"""

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from mini import (
    batches,
    checkpoint,
    collect,
    corpus,
    distill,
    further,
    packages,
    targets,
    teacher,
    vocabulary,
)
from mini.adapt import adapt, between, scaled
from mini.corpus import Entry
from mini.descent import Budget
from mini.device import DEVICE
from mini.distill import Lessons
from mini.material import Material, Pair
from mini.network import Shape, Student
from mini.objectives import KEEP, OBJECTIVES, SHARES, queries_of
from mini.questions import questions
from mini.readers import read_further
from mini.scores import read_pairs
from mini.watch import watch

WATCHED = 4096  # held-out texts whose nearness to the teacher is told
GENERAL = 512 if DEVICE.type == "cuda" else 96  # texts of all kinds beside an adapter's own


def main() -> None:
    """Runs the steps in order."""
    options = _options()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)

    print("1/6 packages and corpus", flush=True)
    if not (work / "corpus.jsonl").exists():
        collect.write(packages.fetch(work), work / "corpus.jsonl")
    entries = corpus.read(work / "corpus.jsonl")
    if not (work / "further.jsonl").exists():
        found = packages.fetch_further(work)
        further.write(read_further(found), found["wordnet-base"], entries, work / "further.jsonl")
    others = further.read(work / "further.jsonl")

    print("2/6 tokenizer", flush=True)
    vocabulary_file = work / "tokenizer.json"
    if not vocabulary_file.exists():
        vocabulary.train((e.text for e in entries if not e.held_out), vocabulary_file)
    tokenizer = Tokenizer.from_file(str(vocabulary_file))

    print(f"3/6 teacher, on {DEVICE}", flush=True)
    learnt = [entry for entry in entries if not entry.held_out]
    held = [entry for entry in entries if entry.held_out]
    pairs = _pairs(learnt, others)
    texts = [entry.text for entry in learnt] + [pair.query for pair in pairs]
    texts += [other.text for other in others]
    model = options.teacher or packages.fetch(work)["teacher"]
    pool = ThreadPoolExecutor(1)
    shown = pool.submit(distill.tokenized, texts, tokenizer)  # meanwhile
    taught = teacher.embed(texts, model, work / "teacher")
    watched = [entry.text for entry in held[:: max(1, len(held) // WATCHED)]]
    taught_watched = teacher.embed(watched, model, work / "teacher-watched")
    matrix = targets.projection(taught[: len(learnt)])
    lessons = Lessons.after(shown.result(), targets.project(taught, matrix), tokenizer)
    sts = read_pairs(options.sts) if options.sts else []
    tests = {name: (test.queries, test.documents) for name, test in questions(held).items()}
    tell = watch(tests, watched, targets.project(taught_watched, matrix), sts, tokenizer)

    print("4/6 base", flush=True)
    shape = Shape(tokenizer.get_vocab_size())
    static_budget = Budget(steps=options.static_steps)
    table = distill.static(lessons, shape.vocab, work / "static.pt", budget=static_budget)
    student = distill.new_student(shape, table.cpu()).to(DEVICE)
    budget = Budget(seconds=options.base_seconds)
    distill.train(student, lessons, work / "base.pt", budget=budget, watch=tell)

    print("5/6 adapters", flush=True)
    material = Material(learnt, pairs, lessons)
    adapters = {}
    for task, objective in OBJECTIVES.items():
        file = work / f"adapter-{task}.pt"
        if not file.exists():
            adapt(
                work / "base.pt", Student(shape).to(DEVICE), objective(material), file,
                budget=Budget(seconds=options.adapter_seconds), name=task,
                general=_general(material), keep=KEEP[task], watch=tell,
            )  # fmt: skip
        adapters[task] = torch.load(file, map_location="cpu")
    # What retrieval learns, to look past the words, serves matching too: their mean beats both.
    adapters["text-matching"] = between(adapters["text-matching"], adapters["retrieval"])
    adapters = {task: scaled(adapter, SHARES[task]) for task, adapter in adapters.items()}

    print("6/6 checkpoint", flush=True)
    weights = torch.load(work / "base.pt", map_location="cpu")["student"]
    card = (Path(__file__).parent / "CARD.md").read_text(encoding="utf-8")
    card = card.format(layers=shape.layers, tokens=batches.TOKENS_MOST)
    checkpoint.write(options.out, shape, weights, adapters, vocabulary_file, card)
    print(f"wrote {options.out}; measure it with python models/mini/measure.py")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train embedge-mini from packages' texts.")
    parser.add_argument("work", type=Path, help="folder for everything in between (6 GB)")
    parser.add_argument("out", type=Path, help="the model folder to write")
    parser.add_argument("--sts", type=Path, help="STS-B dev (CSV), watched and never learnt from")
    parser.add_argument("--teacher", type=Path, help="the teacher's folder; else it is fetched")
    parser.add_argument("--static-steps", type=int, default=3600, help="of the static table")
    parser.add_argument("--base-seconds", type=float, default=14_400, help="of the base")
    parser.add_argument("--adapter-seconds", type=float, default=900, help="of each adapter")
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


def _general(material: Material) -> Callable[[Student, np.random.Generator], torch.Tensor]:
    """Draws texts of all kinds, behind both prompts."""

    def draw(student: Student, generator: np.random.Generator) -> torch.Tensor:
        rows = generator.integers(len(material.lessons.lowered), size=GENERAL)
        queries = material.queries(student, rows[: GENERAL // 2], generator)
        return torch.cat([queries, material.documents(student, rows[GENERAL // 2 :], generator)])

    return draw


if __name__ == "__main__":
    main()
