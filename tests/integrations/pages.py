"""What is said of the frameworks: the blocks of docs/integrations.md, and docstrings' examples."""

import doctest
import importlib

from support.doc_pages import Block, blocks

WITH_TORCH = ("import mteb", "from txtai")  # in an environment of their own


def blocks_of_the_page(*, with_torch: bool) -> list[Block]:
    """The Python blocks of docs/integrations.md that run in one of the two environments."""
    found = [block for block in blocks("docs/integrations.md") if block.language == "python"]
    return [
        block for block in found if any(line in block.code for line in WITH_TORCH) == with_torch
    ]


def run_block(block: Block) -> dict[str, object]:
    """Runs it, and gives its names."""
    values: dict[str, object] = {}
    exec(compile("\n" * (block.line - 1) + block.code, block.page, "exec"), values)
    return values


def run_examples(module: str) -> None:
    """Runs the examples in the docstrings of an adapter."""
    result = doctest.testmod(importlib.import_module(f"embedge.integrations.{module}"))
    assert result.attempted > 0
    assert result.failed == 0, "see what was printed above"
