"""docs/architecture.md names the rooms that there are."""

import re
from pathlib import Path

import pytest

import embedge
import embedge_export
from embedge_export.families.register import FAMILIES
from support.doc_pages import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("heading", "package"),
    [("Rooms of the runtime", embedge), ("Rooms of the exporter", embedge_export)],
)
def test_the_rooms_are_those_of_the_page(heading: str, package: object) -> None:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`(\w+)/`", " ".join(cells)))
    folder = Path(str(package.__file__)).parent
    rooms = {path.parent.name for path in folder.glob("[a-z]*/__init__.py")}
    assert named == rooms
    modules = set(re.findall(r"`(\w+)`", " ".join(cells)))
    assert {name for name in modules if not (folder / f"{name}.py").exists()} == set()


def test_the_folders_of_tests_are_in_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = {path.name for path in (ROOT / "tests").iterdir() if list(path.glob("*.py"))}
    assert folders == set(re.findall(r"`tests/(\w+)`", text))


@pytest.mark.parametrize("page", ["README.md", "docs/export.md"])
def test_every_model_type_is_on_the_page(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [name for name in FAMILIES if f"`{name}`" not in text] == []
