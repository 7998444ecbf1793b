"""The blocks of docs/integrations.md do what they are printed for, and docstrings' examples run."""

from pathlib import Path

import dspy
import numpy as np
import pytest

from embedge import Embedder
from integrations.pages import blocks_of_the_page, run_block, run_examples
from integrations.texts import QUERY
from support.adapters import LIBRARIES
from support.doc_pages import Block

BLOCKS = blocks_of_the_page(with_torch=False)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line {block.line}")
def test_a_block_runs(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    run_block(block)
    said = capsys.readouterr().out
    assert ("animal" in said) if "GridSearchCV" in block.code else ("Red Planet" in said)


def test_each_adapter_has_a_block() -> None:
    both = [*BLOCKS, *blocks_of_the_page(with_torch=True)]
    text = "".join(block.code for block in both)
    assert all(f"from embedge.integrations.{name} import" in text for name in LIBRARIES)


@pytest.mark.parametrize("module", sorted(set(LIBRARIES) - {"mteb"}))
def test_examples_of_docstrings(module: str) -> None:
    run_examples(module)


def test_dspy_embeds_queries_as_queries(library: Embedder) -> None:
    (block,) = [block for block in BLOCKS if "import dspy" in block.code]
    search = run_block(block)["search"]
    assert isinstance(search, dspy.retrievers.Embeddings)
    corpus = library.encode_document(search.corpus)
    assert np.allclose(search.corpus_embeddings, corpus, atol=1e-6)
    assert np.array_equal(search.embedder([QUERY]), library.encode_query([QUERY]))
