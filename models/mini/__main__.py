"""Makes embedge-mini: `python models/mini WORK OUT`, in an environment with torch.

Each step writes files of its own under WORK and is passed over when they are there; to do a step
anew, remove its files. Interrupted, the same command goes on.
"""

import argparse
import json
from collections.abc import Callable
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
    packages,
    targets,
    teacher,
    vocabulary,
)
from mini.adapt import adapt, between
from mini.network import Shape, Student
from mini.objectives import OBJECTIVES, Material
from mini.scores import read_pairs, spearman


def main() -> None:
    """Runs the steps in order."""
    parser = argparse.ArgumentParser(description="Train embedge-mini from Debian's texts.")
    parser.add_argument("work", type=Path, help="folder for everything in between (2 GB)")
    parser.add_argument("out", type=Path, help="the model folder to write")
    parser.add_argument("--sts", type=Path, help="STS-B dev (CSV), watched and never learnt from")
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)

    print("1/6 packages and corpus", flush=True)
    found = packages.fetch(work)
    if not (work / "corpus.jsonl").exists():
        collect.write(found, work / "corpus.jsonl")
    entries = corpus.read(work / "corpus.jsonl")

    print("2/6 tokenizer", flush=True)
    vocabulary_file = work / "tokenizer.json"
    if not vocabulary_file.exists():
        vocabulary.train((e.text for e in entries if not e.held_out), vocabulary_file)
    tokenizer = Tokenizer.from_file(str(vocabulary_file))

    print("3/6 teacher", flush=True)
    asked = list(corpus.queries(entries))
    texts = [entry.text for entry in entries]
    taught = teacher.embed(texts, found["teacher"], work / "teacher-texts")
    taught_queries = teacher.embed(
        [query for _, query in asked], found["teacher"], work / "teacher-queries"
    )
    kept = np.array([row for row, entry in enumerate(entries) if not entry.held_out])
    kept_queries = [n for n, (row, _) in enumerate(asked) if not entries[row].held_out]
    matrix = targets.projection(taught[kept])
    aims = targets.project(taught[kept], matrix)
    learnt = [texts[row] for row in kept] + [asked[n][1] for n in kept_queries]
    all_aims = np.concatenate([aims, targets.project(taught_queries[kept_queries], matrix)])

    print("4/6 base", flush=True)
    shape = Shape(tokenizer.get_vocab_size())
    table = distill.static(learnt, all_aims, tokenizer, work / "static.pt")
    student = distill.new_student(shape, table)
    distill.train(
        student, learnt, all_aims, tokenizer, work / "base.pt",
        watch=_watch(options.sts, tokenizer),
    )  # fmt: skip

    print("5/6 adapters", flush=True)
    material = Material([entries[row] for row in kept], aims, tokenizer)
    adapters = {}
    for task, objective in OBJECTIVES.items():
        file = work / f"adapter-{task}.pt"
        if not file.exists():
            adapt(work / "base.pt", Student(shape), objective(material), file, name=task)
        adapters[task] = torch.load(file)
    # What retrieval learns, to look past the words, serves matching too: their mean beats both.
    adapters["text-matching"] = between(adapters["text-matching"], adapters["retrieval"])

    print("6/6 checkpoint", flush=True)
    weights = torch.load(work / "base.pt")["student"]
    card = (Path(__file__).parent / "CARD.md").read_text(encoding="utf-8")
    checkpoint.write(options.out, shape, weights, adapters, vocabulary_file, card)
    print(f"wrote {options.out}; measure it with python models/mini/measure.py")


def _watch(file: Path | None, tokenizer: Tokenizer) -> Callable[[Student], str]:
    """What is told of a student during training: rank correlation on STS-B's development set."""
    if file is None:
        return lambda _: ""
    pairs = read_pairs(file)
    texts = [batches.DOCUMENT + text for text in [*(p[0] for p in pairs), *(p[1] for p in pairs)]]
    tokens = batches.tokenize(tokenizer, texts)
    grades = np.array([pair[2] for pair in pairs])

    @torch.inference_mode()
    def tell(student: Student) -> str:
        vectors = student(*tokens.batch(np.arange(len(texts)))).numpy()
        told = []
        for name, shown in (
            ("256", vectors), ("64", vectors[:, :64]), ("binary", np.sign(vectors)),
        ):  # fmt: skip
            near = shown / np.linalg.norm(shown, axis=1, keepdims=True)
            cosines = (near[: len(pairs)] * near[len(pairs) :]).sum(1)
            told.append(f"{name}: {spearman(cosines, grades):.4f}")
        return json.dumps(told)

    return tell


if __name__ == "__main__":
    main()
