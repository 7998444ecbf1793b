"""One screen for all tests here, and folders that a person might search in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from desktop.driven import missing_programs, screen

NOTES = {
    "passport.txt": "The passport office opens at nine. Bring two photographs and the old one.",
    "coffee.md": "Descale the coffee machine every two months, with vinegar and then water twice.",
    "bike.txt": "Lock the frame and the back wheel of a bicycle to what cannot be lifted.",
    "garden/beans.txt": "Beans are sown in May, after the last frost, two centimeters deep.",
}


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    if missing := missing_programs():
        pytest.fail(missing)
    with screen() as name:
        yield name


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    for name, text in NOTES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A folder with an xdg-open that notes what it is to open, in the file `names`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "xdg-open"
    program.write_text(f'#!/bin/sh\necho "$1" >> {folder}/names\n')
    program.chmod(0o755)
    return folder
