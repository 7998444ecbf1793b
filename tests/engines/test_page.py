"""The blocks of docs/bulk.md that need an engine do what they are printed for."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.doc_pages import Block, blocks

ENGINES = (
    "import pandas as pd\nimport polars",
    "import ray",
    "from datasets",
    "import SparkSession",
)
BLOCKS = [
    block
    for block in blocks("docs/bulk.md")
    if block.language == "python" and any(words in block.code for words in ENGINES)
]


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 4}')
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


def test_each_engine_has_a_block() -> None:
    assert len(BLOCKS) == len(ENGINES)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line {block.line}")
def test_a_block_runs(block: Block, capfd: pytest.CaptureFixture[str]) -> None:
    if "pyspark" in block.code and shutil.which("java") is None:
        pytest.skip("Java is not installed: Spark runs on it")
    values: dict[str, object] = {}
    exec(compile("\n" * (block.line - 1) + block.code, block.page, "exec"), values)
    said = capfd.readouterr().out
    if "datasets" in block.code:
        assert "List(Value('float32'), length=256)" in said
    elif "import ray" in block.code or "pyspark" in block.code:
        assert "Venus" in said
    else:
        assert Path("vectors.parquet").exists()
