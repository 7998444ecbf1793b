"""What the documentation takes from the code is that of the code as it is now."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from support.doc_pages import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: str(page.name))
def test_a_page_is_up_to_date(page: Path, generator: ModuleType) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == generator.render(text), f"docs/{page.name} is out of date; run `make docs`"


def test_every_block_stands_on_a_page(generator: ModuleType) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    for name in generator.BLOCKS:
        assert pages.count(f"<!-- generated: {name} -->") == 1
        assert pages.count(f"<!-- end: {name} -->") == 1


def test_the_columns_of_a_terminal_do_not_matter(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = generator.BLOCKS["commands"]()
    monkeypatch.setenv("COLUMNS", "40")
    assert generator.BLOCKS["commands"]() == wide


def test_the_changelog_states_the_formats_of_this_version(generator: ModuleType) -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = text.split("\n## ")[1]
    recipes = ", ".join(f"{name} {number}" for name, number in generator.RECIPES.items())
    assert f"| recipes | {recipes} |" in newest
    assert f"| pack | {generator.PACK_FORMAT} |" in newest
    assert f"| search index | {generator.INDEX_FORMAT} |" in newest
