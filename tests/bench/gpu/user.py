"""As a user: whole calls of `encode`, tokenizer included, beside Sentence Transformers.

Takes a pack and a plain folder of the same weights; gives texts a second of many sentences, each
with a number before it, and of passages.
"""

import itertools
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from bench import places
from bench.race.lengths import paragraphs, sentences
from bench.race.peers import Contender
from bench.race.report import NOTHING, markdown

OURS = "embedge fp16"
PROGRAM = ("-m", "bench.gpu.user_worker")
SENTENCES, PASSAGES = 20_000, 2_000
PARAGRAPHS = 3  # of a passage


def jobs(few: int, many: int) -> dict[str, list[str]]:
    """So many passages and so many sentences, no two the same."""
    prose = list(paragraphs(topics[name] for name in sorted(topics)))
    split = [sentence for whole in prose for sentence in sentences(whole)]
    joined = [" ".join(prose[at : at + PARAGRAPHS]) for at in range(len(prose) - PARAGRAPHS)]
    return {
        "sentences": [f"{n} {text}" for n, text in zip(range(many), itertools.cycle(split))],
        "passages": [f"{n} {text}" for n, text in zip(range(few), itertools.cycle(joined))],
    }


def measure(
    contenders: Sequence[Contender], texts: Path, device: str
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """What each contender says, and why others say nothing."""
    found, absent = dict[str, dict[str, Any]](), dict[str, str]()
    for contender in contenders:
        command = [contender.python, *PROGRAM, contender.kind, contender.path, texts, device]
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=places.environment(),
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            absent[contender.name] = (lines[-1] if lines else f"exit {done.returncode}")[:200]
        else:
            found[contender.name] = json.loads(done.stdout.splitlines()[-1])
    return found, absent


def table(found: dict[str, dict[str, Any]], counts: dict[str, int]) -> str:
    """Texts a second, best of the calls, and how near each is to ours."""
    head = ["", *(f"{count:,} {name}, texts/s" for name, count in counts.items()), "least cosine"]
    rows = []
    for name, jobs_ in found.items():
        cells = [name]
        for job, count in counts.items():
            batch = jobs_[job]["batch"]
            told = f" (batches of {batch})" if batch else ""
            cells.append(f"{count / min(jobs_[job]['seconds']):,.0f}{told}")
        cells.append(NOTHING if name == OURS or OURS not in found else least(found[OURS], jobs_))
        rows.append(cells)
    return markdown(head, rows)


def least(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The least cosine of the vectors that were kept; both are of length 1."""
    cosines = [
        np.sum(np.array(ours[job]["vectors"]) * np.array(theirs[job]["vectors"]), axis=1)
        for job in ours
    ]
    return f"{min(map(np.min, cosines)):.5f}"
