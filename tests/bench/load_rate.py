"""Rows a second of `embedge bulk --to`: seeded vectors in parts, loaded into each store.

    make bench-load OPTIONS="--rows 100000 --stores lance,sqlite-vec"

Nothing is embedded: the parts hold vectors of length 1 in 256 dimensions, an id and a text of about
100 characters. The stores are a folder or a file in a temporary folder, as in tests/stores.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet as pq

from embedge.cli.screen import show
from embedge.parts.columns import TextColumn
from embedge.parts.folder import RunFolder
from embedge.parts.inputs import find_inputs
from embedge.parts.part import Form
from embedge.parts.plan import Plan, Shard, look_at, make_plan
from embedge.parts.run import run_parts
from embedge.stores.layout import make_layout
from embedge.stores.load import load_parts
from embedge.stores.opening import open_store
from embedge.stores.target import STORES, parse_target

WIDTH = 256


class Quiet:
    """Reports nothing."""

    def found(self, **counts: Any) -> None:
        """How much there is to do."""

    def step(self, *counts: Any) -> None:
        """How far it is."""

    def refused(self, where: str, reason: str) -> None:
        """A row without a vector; there is none."""
        raise AssertionError(f"{where}: {reason}")


def encode(texts: Sequence[str | bytes], /, **options: Any) -> NDArray[np.float32]:
    """Seeded rows of length 1 in place of the texts' vectors."""
    rows = np.random.default_rng(len(texts)).standard_normal((len(texts), WIDTH), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def make_parts(folder: Path, rows: int) -> tuple[Plan, RunFolder]:
    """The parts of a run, in a folder."""
    source = folder / "texts.parquet"
    texts = [f"{number} " + "a note on nothing in particular, " * 3 for number in range(rows)]
    pq.write_table(pa.table({"id": range(rows), "text": texts}), source)
    out = folder / "out"
    inputs = find_inputs([str(source)], out=out)
    plan = make_plan(
        [look_at(one, "text") for one in inputs], column=TextColumn("text"), into="embedding"
    )
    run = RunFolder(out, Shard())
    form = Form(plan.schema, "embedding", np.dtype(np.float32), WIDTH, {})
    job: dict[str, Any] = {"inputs": []}
    run_parts(plan, run, encode, form, job, Quiet(), shard=Shard())
    return plan, run


def measure(rows: int, stores: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Each store, and the seconds that a load of all rows takes."""
    with tempfile.TemporaryDirectory() as name:
        plan, run = make_parts(Path(name), rows)
        layout = make_layout(plan.schema, vectors="embedding", kind="float32", width=WIDTH)
        for store in stores:
            target = parse_target(f"{store}:{name}/{store}")
            start = time.perf_counter()
            with open_store(target, layout) as table:
                loaded = load_parts(plan, run, table, target, layout, Quiet())
            assert loaded.count == rows
            yield store, time.perf_counter() - start


def main() -> None:
    """Prints a line for each store."""
    parser = argparse.ArgumentParser(description="Rows a second of embedge bulk --to.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--stores", default=",".join(STORES))
    options = parser.parse_args()
    for store, seconds in measure(options.rows, options.stores.split(",")):
        show(f"{store}: {options.rows:,} rows in {seconds:.1f} s, {options.rows / seconds:,.0f}/s")


if __name__ == "__main__":
    main()
