"""`embedge search`: the passages of a file or folder that answer a query best.

Embeds every passage anew at each call, as a stream: no index is kept. Passages come from
`passages.py`; only the best and one chunk of them are held.
"""

import argparse
import heapq
import json
import textwrap
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.cli import common
from embedge.cli.passages import Passage, read_passages
from embedge.cli.progress import Progress, add_progress_option
from embedge.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from embedge.embedder import Embedder

SUMMARY = "find the passages of a folder that answer a query"
DESCRIPTION = """\
Splits the texts under PATH (a file or a folder; UTF-8, binary files are passed over) into
passages, embeds them and the query, and prints the best with score, file and line. Everything is
embedded anew at each call."""

CHUNK = 512  # passages embedded at a time
SNIPPET = 240  # characters of a passage that are shown
TOLD = 5  # files passed over that are named one by one


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("query", metavar="QUERY", help="what to look for, in words")
    parser.add_argument("path", metavar="PATH", type=Path, help="a file or folder of texts")
    common.add_pack_option(parser)
    parser.add_argument(
        "-k", "--top-k", type=common.positive, default=5, metavar="N", help="results (default: 5)"
    )
    parser.add_argument("--task", help="default: retrieval where the pack has it, else its own")
    common.add_engine_options(parser)
    parser.add_argument("--json", action="store_true", help="a JSON line for each result")
    add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the best passages; 1 if there was nothing to search."""
    if not options.query.strip():
        raise InputError("the query is empty; say in words what to look for")
    with Progress(options.progress) as progress:
        refusals = _Refusals(progress)
        passages = read_passages(options.path, refuse=refusals)
        chunk = list(islice(passages, CHUNK))  # before the model: a wrong path shows at once
        if not chunk:
            refusals.report()
            common.say(f"embedge: {options.path} holds no text to search")
            return 1
        best: list[tuple[float, int, Passage]] = []  # the earlier passage wins a tie
        count = 0
        with common.open_embedder(options) as embedder:
            query = embedder.encode_query(options.query, task=options.task)  # (D,)
            while chunk:
                scores = _scores(embedder, options.task, query, chunk, count, progress)
                places = range(-count, -count - len(chunk), -1)
                best = heapq.nlargest(
                    options.top_k, [*best, *zip(scores, places, chunk, strict=True)]
                )
                count += len(chunk)
                chunk = list(islice(passages, CHUNK))
        refusals.report()
    for score, _, passage in best:
        _print(score, passage, as_json=options.json)
    common.say(f"embedge: searched {count:,} passages")
    return 0


def _scores(
    embedder: "Embedder",
    task: str | None,
    query: "np.ndarray[Any, Any]",
    chunk: list[Passage],
    before: int,
    progress: Progress,
) -> list[float]:
    """The cosine of each passage to the query."""
    texts = [passage.text for passage in chunk]

    def tell(done: int, _: int) -> None:
        progress.update(None, f"{before + done:,} passages, {chunk[0].path.name}")

    vectors = common.cancellable(
        lambda cancel: embedder.encode_document(texts, task=task, progress=tell, cancel=cancel)
    )
    scores: list[float] = (vectors @ query).tolist()  # (B, D) @ (D,) -> (B,)
    return scores


class _Refusals:
    """Tells of the first few files that were passed over, and counts the others."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._count = 0

    def __call__(self, file: Path, reason: str) -> None:
        self._count += 1
        if self._count <= TOLD:
            self._progress.say(f"embedge: {file}: passed over ({reason})")

    def report(self) -> None:
        if self._count > TOLD:
            self._progress.say(f"embedge: {self._count - TOLD} more files were passed over")


def _print(score: float, passage: Passage, *, as_json: bool) -> None:
    if as_json:
        result = {
            "score": round(score, 6),
            "file": str(passage.path),
            "line": passage.line,
            "text": passage.text,
        }
        common.show(json.dumps(result))
        return
    # Control characters of a file must not reach the terminal.
    text = " ".join("".join(c if c.isprintable() else " " for c in passage.text).split())
    if len(text) > SNIPPET:
        text = text[: SNIPPET - 1] + "…"
    common.show(f"{score:.4f}  {passage.path}:{passage.line}")
    common.show(textwrap.indent(textwrap.fill(text, width=88), "        "))
