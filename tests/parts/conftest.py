"""What the tests of `embedge bulk` share: a data set, and the command on a tiny pack."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from embedge.cli import main

TEXTS = [f"text {number} {'x' * (number * 7 % 23)}" for number in range(500)]


def read_parts(out: Path) -> Any:
    """All rows of a run, in order."""
    return pa.concat_tables([pq.read_table(path) for path in sorted(out.glob("parts/*.parquet"))])


def part_bytes(out: Path) -> dict[str, bytes]:
    """The bytes of each part, by name; whatever else lies there too."""
    return {path.name: path.read_bytes() for path in (out / "parts").iterdir()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A Parquet file of 500 rows in row groups of 70: id, text, tags."""
    path = tmp_path / "data.parquet"
    table = pa.table({"id": range(500), "text": TEXTS, "tags": [["a", "b"]] * 500})
    pq.write_table(table, path, row_group_size=70)
    return path


@pytest.fixture
def bulk(pack: Path, tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    """`bulk(INPUT…, "--flag", out="out")` runs the command: its exit code and the folder."""

    def run(*arguments: Any, out: str = "out", pack: Path = pack) -> tuple[int, Path]:
        folder = tmp_path / out
        words = [str(argument) for argument in arguments]
        return main(["bulk", *words, "-p", str(pack), "--out", str(folder)]), folder

    return run
